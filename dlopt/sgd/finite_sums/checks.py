"""What a finite-sum solver is given, looked at before it does any work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from dlopt.engine.checks import HyperparameterTypeError, number

LossI = Callable[[Tensor, Tensor], Tensor]
CHUNK = 1024  # examples at a time in a pass over the data, fewer where w is large


def rate(lr: Any) -> float:
    """The learning rate as a float, refused unless finite and above 0."""
    number("learning rate", lr, low=0)
    if float(lr) == 0:
        raise ValueError("Invalid learning rate: 0 (the solver would never move)")
    return float(lr)


def order(indices: Any, n: int, steps: int, seed: int) -> list[int]:
    """The examples to visit, one a step: the first `steps` of `indices`, or drawn with replacement.

    Raises:
        ValueError: indices that are no integers, too few of them, or one outside 0 to n − 1.

    Example:
        >>> order([2, 0, 1, 1], n=3, steps=3, seed=0), order(None, n=3, steps=4, seed=0)
        ([2, 0, 1], [2, 1, 1, 0])
    """
    if indices is None:
        return np.random.default_rng(seed).integers(n, size=steps).tolist()
    given = np.asarray(indices.cpu() if isinstance(indices, Tensor) else indices)
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        raise HyperparameterTypeError(f"indices must be a sequence of integers, got {indices!r:.80}")
    if len(given) < steps:
        raise ValueError(f"indices must hold one index a step: {steps} steps, {len(given)} indices")
    if given.size and not (0 <= given.min() and given.max() < n):
        raise ValueError(f"indices must lie in 0 to {n - 1}, got {given.min()} to {given.max()}")
    return given[:steps].tolist()


def start(w0: Any) -> Tensor:
    """A copy of `w0` to work on, refused unless it is a finite float32 or float64 tensor with elements."""
    if not isinstance(w0, Tensor):
        raise HyperparameterTypeError(f"w0 must be one tensor, got a {type(w0).__name__}")
    if w0.dtype not in (torch.float32, torch.float64):
        raise HyperparameterTypeError(f"w0 must be float32 or float64, got {w0.dtype}: corrections get very small")
    if w0.numel() == 0 or not bool(w0.isfinite().all()):
        raise ValueError("w0 must have elements, and all of them finite")
    return w0.detach().clone()


def proximal(prox: Any, w: Tensor, lr: float) -> None:
    """Refuse a `prox` that is not None and does not map w to a finite tensor of its shape and dtype."""
    if prox is None:
        return
    if not callable(prox):
        raise HyperparameterTypeError(f"prox must be a function (w, lr) -> w, got {prox!r}")
    moved = prox(w.clone(), lr)
    if not isinstance(moved, Tensor) or moved.shape != w.shape or moved.dtype != w.dtype:
        got = f"{moved.dtype} of shape {tuple(moved.shape)}" if isinstance(moved, Tensor) else repr(moved)
        raise ValueError(f"prox must return {w.dtype} of shape {tuple(w.shape)} as w0 is, got {got}")
    if not bool(moved.isfinite().all()):
        raise ValueError("prox must return finite values, at w0 it does not")


class _Watch(TorchFunctionMode):
    """Notices whether a tensor takes part in any torch function."""

    def __init__(self, watched: Tensor) -> None:
        super().__init__()
        self.watched, self.seen = watched, False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen = self.seen or _holds([args, kwargs or {}], self.watched)
        return func(*args, **(kwargs or {}))


def _holds(thing: Any, watched: Tensor) -> bool:
    if isinstance(thing, dict):
        thing = list(thing.values())
    return any(_holds(part, watched) for part in thing) if isinstance(thing, (list, tuple)) else thing is watched


def loss(loss_i: Any, w: Tensor, n: int) -> None:
    """Refuse a loss that is not one of n differentiable numbers; costs n losses and gradients at w.

    A loss that takes i in and then makes nothing of it is n equal losses, as n equal examples are: it passes.

    Raises:
        ValueError: not callable, no tensor, no scalar, not real, does not depend on w in a way that can be
            differentiated, does not use i, does not run under ``torch.vmap`` for all i below n (so none that draws
            random numbers), or it or its gradient is not finite at w for some i; inference mode.
    """
    if not callable(loss_i):
        raise HyperparameterTypeError(f"loss_i must be a function (w, i) -> scalar tensor, got {loss_i!r}")
    if torch.is_inference_mode_enabled():
        raise ValueError("nothing can be differentiated under torch.inference_mode: leave it, or use torch.no_grad")
    first = torch.zeros((), dtype=torch.int64, device=w.device)
    with torch.enable_grad(), _Watch(first) as watch:
        out = loss_i(w.clone().requires_grad_(), first)
    if not isinstance(out, Tensor):
        raise HyperparameterTypeError(f"loss_i must return a tensor, got a {type(out).__name__}")
    if out.dim() != 0:
        raise ValueError(f"loss_i must return the loss of one example, a tensor of shape (), got {tuple(out.shape)}")
    if not out.is_floating_point():
        raise ValueError(f"loss_i must return a real number, got {out.dtype}")
    if not out.requires_grad:
        raise ValueError("loss_i is not differentiable: its result does not carry a gradient to w")
    if n > 1 and not watch.seen:
        raise ValueError("loss_i does not depend on i: it must be the loss of example i alone")
    with torch.enable_grad():
        for ids in torch.arange(n, device=w.device).split(chunk(w)):
            here = w.clone().requires_grad_()
            try:
                losses = torch.vmap(loss_i, (None, 0))(here, ids)
            except (RuntimeError, IndexError) as error:
                reason = f"loss_i fails under torch.vmap for i in {int(ids[0])} to {int(ids[-1])}: {error}"
                raise ValueError(f"{reason} (index tensors with i itself, draw nothing at random)") from error
            if not bool(losses.isfinite().all()):
                bad = int(ids[int((~losses.isfinite()).nonzero()[0])])
                raise ValueError(f"loss_i must be finite: at w0 and i = {bad} it is not")
            if not bool(torch.autograd.grad(losses.sum(), here)[0].isfinite().all()):
                span = f"{int(ids[0])} to {int(ids[-1])}"
                raise ValueError(f"the gradient of loss_i must be finite: at w0 and some i in {span} it is not")


def chunk(w: Tensor) -> int:
    """How many examples a pass over the data takes at a time."""
    return max(1, min(CHUNK, 2**24 // w.numel()))
