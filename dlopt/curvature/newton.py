"""Newton's method with a line search (Nocedal & Wright 2006, algorithms 3.1 to 3.3), by automatic derivatives."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dlopt.engine.checks import integer, number

Function = Callable[[Tensor], Tensor]
_SUFFICIENT = 1e-4  # c of the Armijo condition, Nocedal & Wright eq. 3.4


class Minimum(NamedTuple):
    """What :func:`newton` found.

    Attributes:
        x: the last point, of the shape and dtype of the start.
        value: the function there.
        gradient_norm: the Euclidean norm of the gradient there.
        iterations: steps taken, each with one gradient, one Hessian and one factorization.
        converged: whether the gradient met the tolerance.
        shift: the multiple of the identity that has to be added to the Hessian at x to make it positive
            definite: 0 at a strict minimum, positive at a saddle.
    """

    x: Tensor
    value: float
    gradient_norm: float
    iterations: int
    converged: bool
    shift: float


def newton_step(f: Function, x: Tensor) -> Tensor:
    """The pure Newton step: minus the inverse Hessian times the gradient. It leads to the quadratic model's
    stationary point, be that a minimum, a saddle or a maximum.

    Args:
        f: tensor of the shape of x -> scalar tensor, twice differentiable by ``torch.func``.
        x: float32 or float64 tensor of any shape, d elements. Memory d^2, time d^3 and d gradients.

    Raises:
        ValueError: x or what f makes of it is not finite, f is no scalar, or the Hessian is singular.

    Example:
        >>> newton_step(lambda x: (x[0] - 3) ** 2 + 50 * x[1] ** 2, torch.tensor([1.0, 1.0]))
        tensor([ 2., -1.])
    """
    _, g, hessian = _derivatives(f, x)
    step, info = torch.linalg.solve_ex(hessian, -g)
    if info.item() or not step.isfinite().all():
        raise ValueError("the Hessian is singular: there is no Newton step")
    return step.view(x.shape)


def newton(
    f: Function,
    x0: Tensor,
    *,
    tol: float = 1e-8,
    max_iter: int = 100,
    callback: Callable[[Tensor], Any] | None = None,
) -> Minimum:
    r"""Minimize f by Newton steps, halved until they descend.

    Where the Hessian is not positive definite, the smallest sufficient of a doubling sequence of multiples of the
    identity is added to it (algorithm 3.3), so that every step descends: unlike the pure method, this one leaves
    saddles, unless it starts on one. Steps are halved until
    :math:`f(x + ts) \le f(x) + 10^{-4}\, t\, g^\top s` (eq. 3.4).

    Args:
        f, x0: as for :func:`newton_step`.
        tol: stop when the gradient's norm is at most this, at least 0. A float32 gradient is rarely below 1e-6.
        max_iter: most steps.
        callback: called with x after each step; a tensor of its own, which may be kept.

    Returns:
        A :class:`Minimum`. It has not converged if it ran out of steps, or if no step descends any more.

    Raises:
        ValueError: a bad argument, f is no scalar, or f or its derivatives are not finite at a point reached.

    Example:
        >>> found = newton(lambda x: (x**4).sum() / 4 - x.sum(), torch.tensor([3.0, 0.5], dtype=torch.float64))
        >>> found.x, found.iterations, found.shift
        (tensor([1.0000, 1.0000], dtype=torch.float64), 7, 0.0)
    """
    number("tol", tol, low=0)
    max_iter = integer("max_iter", max_iter, 0)
    x, done = x0, 0
    while True:
        value, g, hessian = _derivatives(f, x)
        x = x.detach()
        norm = float(torch.linalg.vector_norm(g))
        factor, shift = _factor(hessian)
        if norm <= tol or done == max_iter:
            break
        step = -torch.cholesky_solve(g[:, None], factor)[:, 0]
        t = _backtrack(f, x, step.view(x.shape), value, float(g @ step))
        if t == 0:
            break
        x, done = x + t * step.view(x.shape), done + 1
        if callback is not None:
            callback(x.clone())
    return Minimum(x.clone(), value, norm, done, norm <= tol, shift)


def _derivatives(f: Function, x: Tensor) -> tuple[float, Tensor, Tensor]:
    """Value, gradient of shape (d,) and Hessian of shape (d, d), checked."""
    if not isinstance(x, Tensor) or x.dtype not in (torch.float32, torch.float64) or not x.numel():
        raise ValueError("the point must be a tensor of float32 or float64, and not empty")
    flat, shape = x.detach().flatten(), x.shape
    value = f(x.detach())
    if not isinstance(value, Tensor) or value.numel() != 1 or value.dim():
        raise ValueError("f must return a scalar tensor")
    gradient = torch.func.grad(lambda v: f(v.view(shape)))
    # reverse over reverse: torch's forward mode warns when it is first used
    g, hessian = gradient(flat), torch.func.jacrev(gradient)(flat)
    for what, part in (("the point", flat), ("f", value), ("its gradient", g), ("its Hessian", hessian)):
        if not part.isfinite().all():
            raise ValueError(f"{what} is not finite")
    return value.item(), g.detach(), (hessian + hessian.T).detach() / 2


def _factor(hessian: Tensor) -> tuple[Tensor, float]:
    """The Cholesky factor of the Hessian plus the first shift that allows one: algorithm 3.3."""
    least = float(hessian.diagonal().min())
    size = float(torch.linalg.matrix_norm(hessian)) or 1.0
    beta = 1e-3 * size
    shift = 0.0 if least > 0 else beta - least
    while True:
        factor, info = torch.linalg.cholesky_ex(hessian + shift * torch.eye(len(hessian)).to(hessian))
        if info.item() == 0:
            return factor, shift
        shift = max(2 * shift, beta)


def _backtrack(f: Function, x: Tensor, step: Tensor, value: float, slope: float) -> float:
    """The first of 1, 1/2, 1/4, ... that satisfies the Armijo condition up to rounding; 0 if none does."""
    rounding = 4 * torch.finfo(x.dtype).eps * abs(value)
    t = 1.0
    while t > torch.finfo(x.dtype).eps:
        if f(x + t * step).item() <= value + _SUFFICIENT * t * slope + rounding:
            return t
        t /= 2
    return 0.0
