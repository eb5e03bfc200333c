"""Conjugate gradients (Hestenes & Stiefel 1952; with a preconditioner, Nocedal & Wright 2006, algorithm 5.3)."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dlopt.engine.checks import integer, number

Product = Callable[[Tensor], Tensor]


class Solution(NamedTuple):
    """What :func:`cg` found.

    Attributes:
        x: the last point, of the shape and dtype of b.
        iterations: steps taken, which is also the number of products that moved x.
        residual: the norm of b - A x as the recurrence carries it along. Where the condition number times the
            dtype's epsilon is not small, the true one can be larger.
            With a product that is noisy it can say converged where the true one has not come down.
        converged: whether the residual met the tolerance.
        negative_curvature: the direction p at which the method stopped because p'Ap <= 0, so that A is not
            positive definite; else None. Along it the quadratic x'Ax/2 - b'x falls without end, or is flat.
    """

    x: Tensor
    iterations: int
    residual: float
    converged: bool
    negative_curvature: Tensor | None


def cg(
    matvec: Product | Tensor,
    b: Tensor,
    x0: Tensor | None = None,
    *,
    tol: float = 1e-5,
    atol: float = 0.0,
    max_iter: int | None = None,
    preconditioner: Product | Tensor | None = None,
    callback: Callable[[Tensor], Any] | None = None,
) -> Solution:
    r"""Solve A x = b for a symmetric positive definite A that need only be known by its products.

    In exact arithmetic it ends after as many steps as A has distinct eigenvalues. Memory: four tensors of the
    size of b. Inner products are taken in float64.

    Args:
        matvec: v -> A v on tensors of the shape of b, or A itself, of shape ``(b.numel(), b.numel())``, which
            then acts on the elements of b in their order. Symmetry of a function is not checked.
        b: float32 or float64 tensor of any shape.
        x0: where to start, of the shape of b; zero by default.
        tol, atol: stop when :math:`\lVert b - Ax \rVert \le \max(\mathrm{tol}\,\lVert b \rVert, \mathrm{atol})`.
        max_iter: most steps; by default ten times the elements of b.
        preconditioner: r -> M r (or M itself) for a symmetric positive definite M that resembles the inverse of A.
        callback: called with x after each step; a tensor of its own, which may be kept. If it returns True, the
            method stops there.

    Returns:
        A :class:`Solution`. Running out of steps is no error, nor is negative curvature: see its fields.

    Raises:
        ValueError: b, x0 or a tolerance is no finite number, shapes or dtypes differ, a matrix is not symmetric,
            a product is not finite, or the preconditioner is not positive definite.

    Example:
        >>> A = torch.tensor([[4.0, 1.0], [1.0, 3.0]])
        >>> found = cg(A, torch.tensor([1.0, 2.0]))
        >>> found.iterations, found.converged, [round(v, 4) for v in found.x.tolist()]
        (2, True, [0.0909, 0.6364])
    """
    b, x = _start(b, x0)
    product, precondition = _product("matvec", matvec, b), _product("preconditioner", preconditioner, b)
    number("tol", tol, low=0)
    number("atol", atol, low=0)
    max_iter = 10 * b.numel() if max_iter is None else integer("max_iter", max_iter, 0)
    r = b if x0 is None else b - product(x)
    if not b.any():  # then 0 solves it, and no relative tolerance can be met on the way there
        x, r = torch.zeros_like(b), b
    scale = _scale(max(float(b.abs().max()), float(r.abs().max())))
    b, x, r = b / scale, x / scale, r / scale
    goal = max(float(tol) * _dot(b, b) ** 0.5, float(atol) / scale)
    residual, p, rz, done = _dot(r, r) ** 0.5, r, 1.0, 0
    while residual > goal and done < max_iter:
        z = precondition(r)
        before, rz = rz, _dot(r, z)
        if not rz > 0:
            raise ValueError("the preconditioner is not positive definite")
        p = z if done == 0 else z + (rz / before) * p
        q = product(p)
        curvature = _dot(p, q)
        if curvature <= 0:
            return Solution(scale * x, done, scale * residual, False, scale * p)
        alpha = rz / curvature
        x, r, done = x + alpha * p, r - alpha * q, done + 1
        residual = _dot(r, r) ** 0.5
        if callback is not None and callback(scale * x) is True:
            break
    return Solution(scale * x, done, scale * residual, residual <= goal, None)


def _dot(u: Tensor, v: Tensor) -> float:
    """In float64, so that the squares of large and small float32 numbers stay in range."""
    return torch.dot(u.flatten().double(), v.flatten().double()).item()


def _scale(largest: float) -> float:
    """What to divide by, so that squares stay in range of float64: a power of 2, so that nothing is rounded."""
    return 1.0 if largest == 0 or 1e-100 < largest < 1e100 else 2.0 ** (math.frexp(largest)[1] - 1)


def _start(b: Tensor, x0: Tensor | None) -> tuple[Tensor, Tensor]:
    """Both detached; x0 in memory of its own."""
    _check("b", b, b)
    if b.dtype not in (torch.float32, torch.float64) or not b.numel():
        raise ValueError(f"b must be float32 or float64 and not empty, got {b.dtype} of shape {tuple(b.shape)}")
    if x0 is None:
        return b.detach(), torch.zeros_like(b)
    _check("x0", x0, b)
    return b.detach(), x0.detach().clone()


def _product(what: str, given: Product | Tensor | None, b: Tensor) -> Product:
    if given is None:
        return lambda v: v
    if not isinstance(given, Tensor):
        if not callable(given):
            raise ValueError(f"{what} must be a function or a matrix, got a {type(given).__name__}")
        return lambda v: _check(f"the product by {what}", given(v), v).detach()
    matrix = given.detach()
    _check(what, matrix, matrix.new_empty((b.numel(), b.numel()), dtype=b.dtype))
    if (matrix - matrix.T).abs().max() > torch.finfo(b.dtype).eps ** 0.5 * matrix.abs().max():
        raise ValueError(f"{what} is not symmetric")
    return lambda v: _check(f"the product by {what}", (matrix @ v.flatten()).view(v.shape), v)


def _check(what: str, given: Tensor, like: Tensor) -> Tensor:
    if not isinstance(given, Tensor):
        raise ValueError(f"{what} must be a tensor, got a {type(given).__name__}")
    if given.shape != like.shape or given.dtype != like.dtype:
        wanted, got = (f"{t.dtype} of shape {tuple(t.shape)}" for t in (like, given))
        raise ValueError(f"{what} must be {wanted}, got {got}")
    if not given.isfinite().all():
        raise ValueError(f"{what} is not finite")
    return given
