"""Extreme eigenvalues of a symmetric matrix that is known by its products only.

Lanczos 1950, J. Res. Nat. Bur. Standards 45(4), in the form of Golub & Van Loan, Matrix Computations, 4th ed.,
section 10.1, algorithm 10.1.1, with full reorthogonalization (section 10.3): in floating point the basis loses its
orthogonality just when an eigenvalue has converged, and would find it again and again.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from dlopt.engine.checks import integer

__all__ = ["Eigenpairs", "Krylov", "lanczos", "top_eigenvalues"]

Product = Callable[[Tensor], Tensor]


class Krylov(NamedTuple):
    """The matrix seen from m vectors: ``A Q = Q T``, up to one column.

    Attributes:
        diagonal, off_diagonal: of the tridiagonal T, float64, shapes ``(m,)`` and ``(m - 1,)``.
        basis: Q's columns as rows, shape ``(m, n)``, orthonormal.
        residual: what is left over in the last column, its length; 0 where the space is invariant.
    """

    diagonal: Tensor
    off_diagonal: Tensor
    basis: Tensor
    residual: float


class Eigenpairs(NamedTuple):
    """Some eigenvalues, the one asked for first, with unit eigenvectors.

    Attributes:
        values: float64, shape ``(k,)``.
        vectors: shape ``(k, n)``, a row each.
        residuals: ``|A v - value v|`` as the recurrence has it, shape ``(k,)``, but never below what rounding may
            hide: ``10 eps |A| sqrt(m)``, with the dtype's epsilon, the longest of the m products for ``|A|``. Each
            value is at most about so far from an eigenvalue.
        products: how many products with the matrix it took.
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    products: int


def lanczos(
    matvec: Product, size: int, steps: int, *, start: Tensor | None = None, seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> Krylov:  # fmt: skip
    """At most `steps` steps of the Lanczos iteration; fewer when the space becomes invariant before.

    Args:
        matvec: ``(n,)`` → A v of the same shape and dtype, A symmetric.
        size: n.
        steps: at least 1, at most n; memory is `steps` vectors.
        start: first vector, of any length but 0; random from `seed` by default. Its dtype and device are used.
        seed, dtype: of a random start, made on the CPU.

    Raises:
        ValueError: a size or a number of steps out of range, a start of another shape, zero or not finite, a product
            of another shape or not finite.

    Example:
        >>> krylov = lanczos(lambda v: torch.tensor([1.0, 2.0, 3.0]) * v, 3, 3, start=torch.ones(3))
        >>> krylov.diagonal.round(decimals=3), krylov.off_diagonal.square()
        (tensor([2., 2., 2.], dtype=torch.float64), tensor([0.6667, 0.3333], dtype=torch.float64))
    """
    if integer("steps", steps, 1) > size:
        raise ValueError(f"steps must be from 1 to the size {size}, got {steps}")
    process = _Process(matvec, _first(size, start, seed, dtype))
    while len(process.alpha) < steps:
        process.step()
        if process.invariant:
            break
    return Krylov(*process.tridiagonal(), torch.stack(process.basis), process.residual)


def top_eigenvalues(
    matvec: Product, size: int, k: int = 1, *, which: Literal["largest", "smallest"] = "largest", tol: float = 1e-4,
    steps: int = 200, start: Tensor | None = None, seed: int = 0, dtype: torch.dtype = torch.float64,
) -> Eigenpairs:  # fmt: skip
    """The k algebraically largest, or smallest, eigenvalues of a symmetric matrix, with eigenvectors.

    Stops when every residual of the recurrence is at most `tol` times the largest Ritz value in modulus. A nearby
    eigenvector as `start` saves products. A repeated eigenvalue may be found once only.

    Args:
        matvec, size, start, seed, dtype: as for :func:`lanczos`. A given start is mixed with a tenth of a random
            vector: from an exact eigenvector the iteration would never see any other.
        k: how many, from 1 to `size`.
        which: ``"largest"`` (3 before -5) or ``"smallest"`` (-5 before 3); not by modulus.
        tol: relative, positive.
        steps: most products to spend; memory is as many vectors.

    Raises:
        ValueError: as for :func:`lanczos`, or `k`, `which`, `tol` or `steps` is out of range.
        RuntimeError: not converged after so many products.

    Example:
        >>> matrix = torch.tensor([[2.0, 1.0], [1.0, 2.0]])
        >>> top_eigenvalues(lambda v: matrix @ v, 2, 2, dtype=torch.float32).values
        tensor([3.0000, 1.0000], dtype=torch.float64)
    """
    if not (isinstance(k, int) and 1 <= k <= size):
        raise ValueError(f"k must be from 1 to the size {size}, got {k}")
    if which not in ("largest", "smallest"):
        raise ValueError(f"which must be 'largest' or 'smallest', got {which!r}")
    if not (0 < tol < 1 and integer("steps", steps, 0) >= k):
        raise ValueError(f"tol must be in (0, 1) and steps at least k, got {tol} and {steps}")
    first = _first(size, start, seed, dtype)
    if start is not None:
        first = _unit(first + 0.1 * _first(size, None, seed, first.dtype).to(first.device))
    process = _Process(matvec, first)
    for _ in range(min(steps, size)):
        if process.invariant:
            process.restart(seed)
        process.step()
        values, small = process.eigen(which)
        residuals = process.residual * small[-1, :k].abs()
        scale = values.abs().max().clamp(min=torch.finfo(torch.float64).tiny)
        if len(values) == size or (len(values) >= k and (residuals <= tol * scale).all()):
            vectors = small[:, :k].T.to(first) @ torch.stack(process.basis)
            return Eigenpairs(values[:k], vectors, residuals.clamp(min=process.rounding()), len(process.basis))
    raise RuntimeError(f"not converged after {steps} products: residuals {residuals.tolist()}; raise steps or tol")


class _Process:
    """Basis and tridiagonal matrix, one vector longer with each step."""

    def __init__(self, matvec: Product, first: Tensor) -> None:
        self.matvec = matvec
        self.basis: list[Tensor] = []
        self.alpha: list[float] = []
        self.beta: list[float] = []  # beta[j] couples basis[j] and basis[j - 1]; beta[0] is 0
        self.next, self.residual, self.invariant, self.scale = first, 0.0, False, 0.0

    def step(self) -> None:
        q = self.next
        product = self.matvec(q.clone())  # which may write into it
        if product.shape != q.shape or product.dtype != q.dtype or not torch.isfinite(product).all():
            raise ValueError(f"the product is not finite, or not of shape {tuple(q.shape)} and {q.dtype}")
        self.scale = max(self.scale, float(product.norm()))
        self.basis.append(q)
        self.alpha.append(float(q @ product))
        self.beta.append(self.residual)
        rest = self._orthogonal(product)
        self.residual = float(rest.norm())
        self.invariant = self.residual <= self.rounding()
        if self.invariant:
            self.residual = 0.0
        else:
            self.next = rest / self.residual

    def rounding(self) -> float:
        """How long a residual may be and yet be nothing but rounding."""
        return 10 * torch.finfo(self.next.dtype).eps * self.scale * len(self.basis) ** 0.5

    def restart(self, seed: int) -> None:
        """Go on in what is orthogonal to an invariant space."""
        fresh = _first(len(self.next), None, seed + len(self.basis), self.next.dtype).to(self.next.device)
        self.next, self.invariant = _unit(self._orthogonal(fresh)), False

    def _orthogonal(self, vector: Tensor) -> Tensor:
        basis = torch.stack(self.basis)
        for _ in range(2):  # twice is enough (Parlett 1998, section 6.9)
            vector = vector - (basis @ vector) @ basis
        return vector

    def tridiagonal(self) -> tuple[Tensor, Tensor]:
        return torch.tensor(self.alpha, dtype=torch.float64), torch.tensor(self.beta[1:], dtype=torch.float64)

    def eigen(self, which: str) -> tuple[Tensor, Tensor]:
        """Ritz values, those asked for first, and their coordinates in the basis, one column each."""
        diagonal, off = self.tridiagonal()
        values, vectors = torch.linalg.eigh(torch.diag(diagonal) + torch.diag(off, -1))  # reads the lower half
        return (values.flip(0), vectors.flip(1)) if which == "largest" else (values, vectors)


def _first(size: int, start: Tensor | None, seed: int, dtype: torch.dtype) -> Tensor:
    if not (isinstance(size, int) and size >= 1):
        raise ValueError(f"the size must be a whole number from 1 on, got {size}")
    if start is None:
        return _unit(torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=dtype))
    if start.shape != (size,) or not start.is_floating_point():
        raise ValueError(f"the start must be a real tensor of shape ({size},), got {tuple(start.shape)}")
    return _unit(start.detach())


def _unit(vector: Tensor) -> Tensor:
    length = float(vector.norm())
    if not 0 < length < float("inf"):
        raise ValueError(f"the start must have a finite length above 0, got {length}")
    return vector / length
