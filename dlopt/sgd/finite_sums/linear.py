"""Losses of linear models, whose gradient is one number times the input: tables of n numbers, and no autograd."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dlopt.engine.checks import HyperparameterTypeError

Phi = Callable[[Tensor, Tensor], Tensor]


def _logistic(z: Tensor, y: Tensor) -> Tensor:
    return (1 - y) * z - F.logsigmoid(z)


def _squared(z: Tensor, y: Tensor) -> Tensor:
    return (z - y).square() / 2


_BUILT_IN: dict[str, Phi] = {"logistic": _logistic, "squared": _squared}


class LinearLoss:
    """What :func:`linear_loss` returns: ``loss(w, i)`` is phi(x_i · w, y_i), for any w with d elements."""

    def __init__(self, inputs: Tensor, targets: Tensor, phi: Phi, name: str) -> None:
        self.inputs, self.targets, self.phi, self.name = inputs, targets, phi, name

    def __call__(self, w: Tensor, i: Tensor) -> Tensor:
        x, y = self.inputs[i].to(w), self.targets[i].to(w)
        return self.phi(x @ w.reshape(-1), y)

    def check(self, w: Tensor, n: int) -> None:
        """Refuse a w of the wrong size, or an n that is not the number of rows."""
        rows, features = self.inputs.shape
        if w.numel() != features:
            raise ValueError(f"w0 must have {features} elements, as the inputs have features; got {w.numel()}")
        if n != rows:
            raise ValueError(f"n must be the number of inputs, {rows}; got {n}")


def linear_loss(inputs: Any, targets: Any, loss: str | Phi = "logistic") -> LinearLoss:
    """The loss of example i under a linear model, phi(x_i · w, y_i), in a form the solvers recognise.

    They then keep n numbers where they would keep n gradients, and work in NumPy, on the CPU, without autograd
    (with a `loss` of your own: autograd of one number a step). For speed they hold the targets as Python floats too.

    Args:
        inputs: real, shape ``(n, d)``, tensor or array; a column of ones makes an intercept.
        targets: shape ``(n,)`` or ``(n, 1)``: 0 and 1, or −1 and 1, for ``"logistic"``; else any real numbers.
        loss: ``"logistic"``: log(1 + eᶻ) − y z in nats, y in {0, 1}; ``"squared"``: (z − y)²/2;
            or phi(z, y), torch code from two 0-dim tensors to one.

    Returns:
        A function (w, i) → 0-dim tensor of w's dtype, for any w with d elements and a 0-dim int64 tensor i.

    Raises:
        ValueError: wrong shapes, values that are not finite, labels that are not of two kinds, an unknown loss.

    Example:
        >>> loss_i = linear_loss([[1.0, 2.0], [3.0, 4.0]], [0, 1])
        >>> round(float(loss_i(torch.zeros(2), torch.tensor(0))), 4)  # log 2
        0.6931
    """
    x, y = _real("inputs", inputs), _real("targets", targets)
    if x.dim() != 2 or 0 in x.shape:
        raise ValueError(f"inputs must have shape (n, d), got {tuple(x.shape)}")
    if y.shape not in ((len(x),), (len(x), 1)):
        raise ValueError(f"targets must be one for each of the {len(x)} inputs, got shape {tuple(y.shape)}")
    y = y.reshape(-1)
    if not callable(loss) and loss not in _BUILT_IN:
        raise ValueError(f"loss must be 'logistic', 'squared' or a function phi(z, y), got {loss!r}")
    if loss == "logistic":
        low = -1 if bool((y == -1).any()) else 0
        if not bool(((y == low) | (y == 1)).all()):
            raise ValueError("targets of the logistic loss must be 0 and 1, or -1 and 1")
        y = (y == 1).to(y)
    return LinearLoss(x, y, loss, "phi") if callable(loss) else LinearLoss(x, y, _BUILT_IN[loss], loss)


def _real(what: str, values: Any) -> Tensor:
    try:
        tensor = torch.as_tensor(values).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise HyperparameterTypeError(f"{what} must be numbers: {error}") from error
    if tensor.is_complex():
        raise HyperparameterTypeError(f"{what} must be real numbers, got {tensor.dtype}")
    tensor = tensor if tensor.is_floating_point() else tensor.to(torch.get_default_dtype())
    if not bool(tensor.isfinite().all()):
        raise ValueError(f"{what} must be finite")
    return tensor


class Slopes:
    """phi'(x_i · w, y_i) of a :class:`LinearLoss`, one by one and all at once, on the CPU."""

    def __init__(self, loss: LinearLoss, dtype: Any) -> None:
        self.inputs = np.ascontiguousarray(loss.inputs.cpu().numpy(), dtype)
        self.targets = loss.targets.cpu().numpy().astype(dtype)
        self.y, self.phi, self.code = self.targets.tolist(), loss.phi, self.targets.dtype.char
        self.one = {"logistic": self._logistic, "squared": self._squared}.get(loss.name, self._phi)

    def table(self, values: np.ndarray) -> array:
        """Numbers in their own dtype; an array of Python's is read and written four times as fast as NumPy's."""
        return array(self.code, values.astype(self.targets.dtype).tobytes())

    def all(self, w: np.ndarray, rows: list[int] | None = None) -> np.ndarray:
        x, y = (self.inputs, self.targets) if rows is None else (self.inputs[rows], self.targets[rows])
        with torch.enable_grad():
            z = torch.from_numpy(x @ w).requires_grad_()
            return torch.autograd.grad(torch.vmap(self.phi)(z, torch.from_numpy(y)).sum(), z)[0].numpy()

    def _logistic(self, w: np.ndarray, i: int) -> float:
        z = float(self.inputs[i].dot(w))
        return 1 / (1 + math.exp(min(-z, 700.0))) - self.y[i]  # beyond 709 exp would raise

    def _squared(self, w: np.ndarray, i: int) -> float:
        return float(self.inputs[i].dot(w)) - self.y[i]

    def _phi(self, w: np.ndarray, i: int) -> float:
        with torch.enable_grad():
            z = torch.tensor(self.inputs[i].dot(w), requires_grad=True)
            return float(torch.autograd.grad(self.phi(z, torch.tensor(self.targets[i])), z)[0])
