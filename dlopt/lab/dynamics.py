"""What an optimizer does when the gradient is given by hand: its path, and its rate on a quadratic."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch

__all__ = ["iterates", "rate", "step_map"]

Factory = Callable[[list[torch.Tensor]], torch.optim.Optimizer]


def iterates(
    optimizer: Factory,
    gradient: Callable[[torch.Tensor], Any],
    start: Any,
    steps: int,
    before: Callable[[torch.optim.Optimizer, int], Any] | None = None,
) -> np.ndarray:
    """The points an optimizer visits when its gradient is ``gradient(point)``, in float64.

    Args:
        optimizer: factory from a list of one float64 parameter of the shape of `start`.
        gradient: point, a detached tensor → its gradient, of the same shape.
        start: a number or an array of any shape.
        steps: number of steps.
        before: called with the optimizer and the step number (from 0) before each step: a schedule, say.

    Returns:
        float64 array of shape ``(steps + 1, *shape)``.

    Example:
        >>> import dlopt
        >>> iterates(lambda ps: dlopt.SGD(ps, lr=0.5), lambda x: x, 1.0, 3).tolist()
        [1.0, 0.5, 0.25, 0.125]
    """
    w = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    method = optimizer([w])
    points = np.empty((steps + 1, *w.shape))
    points[0] = w.detach()
    for t in range(steps):
        if before is not None:
            before(method, t)
        w.grad = torch.as_tensor(gradient(w.detach()), dtype=torch.float64).reshape(w.shape).clone()
        method.step()
        points[t + 1] = w.detach()
    return points


def step_map(optimizer: Factory, h: float) -> np.ndarray:
    """The matrix of one step on ``f(p) = h p^2 / 2``, from (p, state) before to (p, state) after.

    Every optimizer whose step is linear in the parameter, the gradient and its tensors of state has one:
    gradient descent, heavy ball, Nesterov. The matrix is found by stepping from each unit vector.

    Args:
        optimizer: factory from a list of one float64 parameter of shape ``(1,)``.
        h: the curvature.

    Returns:
        float64 array of shape ``(1 + s, 1 + s)`` for s tensors of state.

    Raises:
        ValueError: if the optimizer keeps a step count, so that its map changes from step to step.

    Example:
        >>> import dlopt
        >>> step_map(lambda ps: dlopt.SGD(ps, lr=0.5, momentum=0.5), 1.0).tolist()
        [[0.5, -0.25], [1.0, 0.5]]
    """
    w = torch.ones(1, dtype=torch.float64, requires_grad=True)
    method = optimizer([w])
    w.grad = torch.ones_like(w)
    method.step()
    state = method.state[w] if w in method.state else {}
    if "step" in state:
        raise ValueError(f"{type(method).__name__} counts its steps: its map is not the same at every step")
    vectors: list[torch.Tensor] = [w, *state.values()]
    columns = []
    for unit in np.eye(len(vectors)):
        with torch.no_grad():
            for vector, value in zip(vectors, unit, strict=True):
                vector.fill_(value)
        w.grad = h * w.detach()
        method.step()
        columns.append([vector.item() for vector in vectors])
    return np.array(columns).T


def rate(optimizer: Factory, curvatures: float | Iterable[float]) -> float:
    """The factor by which the error shrinks a step in the long run: the largest spectral radius.

    Args:
        optimizer: as for :func:`step_map`.
        curvatures: the eigenvalues of the Hessian, one or many; the slowest decides.

    Example:
        >>> import dlopt
        >>> gradient_descent = lambda ps: dlopt.SGD(ps, lr=2 / 101)
        >>> round(rate(gradient_descent, [1.0, 10.0, 100.0]), 6)
        0.980198
    """
    spectrum: Any = [curvatures] if isinstance(curvatures, (int, float)) else curvatures
    return max(float(abs(np.linalg.eigvals(step_map(optimizer, float(h)))).max()) for h in spectrum)
