"""The two variables that decide what gradient descent does at the edge of stability.

Damian, Nichani & Lee 2023 (arXiv:2209.15594), section 4: x, how far the point stands from the floor of the valley along
the top eigenvector, and y, by how much the sharpness exceeds 2 / lr.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dlopt.curvature import hessian_operator, top_eigenvalues

__all__ = ["Valley", "valley"]


@dataclass(frozen=True)
class Valley:
    """A loss around one point, as the top eigenvector v of its Hessian sees it.

    Attributes:
        sharpness: S, the largest eigenvalue.
        offset: x, the distance from the floor along v: the slope there divided by S.
        alpha: how fast S rises per unit of gradient flow, ``-<gradient, gradient of S>``, without their parts along v.
        beta: the squared length of the gradient of S without its part along v.
        vector: v, shape ``(n,)``.
    """

    sharpness: float
    offset: float
    alpha: float
    beta: float
    vector: Tensor

    def predict(self, lr: float, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """x and the sharpness over the next steps of gradient descent, with alpha, beta and v held fixed.

        Args:
            lr: learning rate, positive.
            steps: how many.

        Returns:
            Two float64 arrays of shape ``(steps + 1,)``, which begin with the present values.

        Raises:
            ValueError: `lr` is not positive or `steps` is negative.

        Example:
            >>> here = Valley(sharpness=5.0, offset=0.1, alpha=1.0, beta=200.0, vector=torch.ones(1))
            >>> here.predict(lr=0.4, steps=1)  # at the fixed point x² = 2 alpha / beta the point only changes sides
            (array([ 0.1, -0.1]), array([5., 5.]))
        """
        if not (0 < lr < float("inf") and steps >= 0):
            raise ValueError(f"lr must be positive and steps at least 0, got {lr} and {steps}")
        x, y = [self.offset], [self.sharpness - 2 / lr]
        for _ in range(steps):
            old = x[-1]
            x.append(-(1 + lr * y[-1]) * old)
            y.append(y[-1] + lr * (self.alpha - self.beta * old * old / 2))
        return np.array(x), 2 / lr + np.array(y)


def valley(
    loss: Callable[[], Tensor], parameters: Iterable[Tensor], *, start: Tensor | None = None, tol: float = 1e-4
) -> Valley:
    """Measure the valley at the present point: an eigenvector search, and one derivative of third order.

    The gradient of S is that of ``<v, H v>`` with v held fixed, which is exact where S is a simple eigenvalue.

    Args:
        loss: called twice; returns a scalar that can be differentiated three times.
        parameters: as for :func:`dlopt.curvature.hessian_operator`.
        start: a vector near v, such as that of the step before; the sign of v follows it.
        tol: relative error of the sharpness, an upper bound.

    Raises:
        ValueError: as for :func:`dlopt.curvature.hessian_operator`.

    Example:
        >>> w = torch.tensor([0.0, 0.1], requires_grad=True)
        >>> here = valley(lambda: (2 - 3 * w[0]) * w[1] ** 2 / 2 + 0.5 * w[0], [w])  # S = 2 - 3 w0, falling along w0
        >>> round(here.sharpness, 1), round(abs(here.offset), 1), round(here.alpha, 1), round(here.beta)
        (2.0, 0.1, 1.4, 8)
    """
    chosen = [p for p in parameters if not isinstance(p, Tensor) or p.requires_grad]
    hessian = hessian_operator(loss, chosen)
    top = top_eigenvalues(hessian, hessian.size, tol=tol, start=start, dtype=hessian.gradient.dtype)
    v = top.vectors[0] if start is None or top.vectors[0] @ start > 0 else -top.vectors[0]
    with torch.enable_grad():
        gradient = _flat(torch.autograd.grad(loss(), chosen, create_graph=True))
        product = _flat(torch.autograd.grad(gradient @ v, chosen, create_graph=True))
        steeper = _flat(torch.autograd.grad(product @ v, chosen))
    slope, sharpness = float(hessian.gradient @ v), float(top.values[0])
    across, steeper = hessian.gradient - slope * v, steeper - (steeper @ v) * v
    return Valley(sharpness, slope / sharpness, -float(across @ steeper), float(steeper @ steeper), v)


def _flat(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([t.reshape(-1) for t in tensors])
