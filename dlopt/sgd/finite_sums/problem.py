"""A finite sum as the solvers see it, so that each algorithm is written once for tensors and for linear models.

A gradient of one example has a short form: the tensor itself in general, one number for a linear model,
whose gradient is that number times the input. Tables hold short forms; ``lift`` gives the gradient itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlopt.engine.checks import HyperparameterTypeError, integer, number

from . import checks
from .linear import LinearLoss, Slopes

Prox = Callable[[Tensor, float], Tensor]
Callback = Callable[[int, Tensor], Any]


class FiniteSum(ABC):
    """(1/n) Σ_i loss_i(w, i) + l2/2 ‖w‖², the step of a solver, and whom to tell about it.

    What a solver moves, ``w``, is the tensor in general and a NumPy vector for a linear model.
    """

    w: Any

    def __init__(self, w0: Tensor, n: int, lr: float, l2: float, prox: Prox | None, callback: Callback | None) -> None:
        self.n, self.lr, self.shrink, self.prox, self.callback = n, lr, 1 - lr * l2, prox, callback

    @abstractmethod
    def gradient(self, w: Any, i: int) -> Any:
        """Short form of ∇loss_i(w), without l2."""

    @abstractmethod
    def change(self, w: Any, anchor: Any, i: int) -> Any:
        """∇loss_i(w) − ∇loss_i(anchor), in full: two gradients."""

    @abstractmethod
    def lift(self, short: Any, i: int) -> Any:
        """The gradient of which `short` is the short form."""

    @abstractmethod
    def table(self) -> Any:
        """n short forms, all zero."""

    @abstractmethod
    def gradients(self, w: Any) -> tuple[Any, Any]:
        """The n short forms at w, and the sum of the gradients: n gradients."""

    @abstractmethod
    def mean(self, w: Any, rows: list[int] | None = None) -> Any:
        """Mean gradient over the examples `rows`, or over all n."""

    @abstractmethod
    def tensor(self, w: Any) -> Tensor:
        """w as a tensor like w0; it may share memory."""

    def step(self, w: Any, direction: Any) -> Any:
        """w − lr (direction + l2 w), then the proximal operator."""
        w = self.shrink * w - self.lr * direction
        return w if self.prox is None else self.after_prox(w)

    def after_prox(self, w: Any) -> Any:
        assert self.prox is not None
        return self.prox(w, self.lr).detach()

    def stop(self, step: int, w: Any) -> bool:
        """Tell the callback; whether it wants to stop."""
        return self.callback is not None and bool(self.callback(step, self.tensor(w).clone()))


class General(FiniteSum):
    """Any loss_i: gradients by autograd, one example at a time, or a chunk at a time under vmap."""

    def __init__(self, loss_i: checks.LossI, w0: Tensor, n: int, *rest: Any) -> None:
        super().__init__(w0, n, *rest)
        self.w, self.loss_i, self.ids = w0, loss_i, torch.arange(n, device=w0.device)

    def gradient(self, w: Tensor, i: int) -> Tensor:
        with torch.enable_grad():
            here = w.detach().requires_grad_()
            return torch.autograd.grad(self.loss_i(here, self.ids[i]), here)[0]

    def change(self, w: Tensor, anchor: Tensor, i: int) -> Tensor:
        with torch.enable_grad():
            here, there, index = w.detach().requires_grad_(), anchor.detach().requires_grad_(), self.ids[i]
            # one call for both is a third cheaper than two
            both = torch.autograd.grad(self.loss_i(here, index) + self.loss_i(there, index), (here, there))
        return both[0] - both[1]

    def lift(self, short: Tensor, i: int) -> Tensor:
        return short

    def table(self) -> Tensor:
        return self.w.new_zeros((self.n, *self.w.shape))

    def gradients(self, w: Tensor) -> tuple[Tensor, Tensor]:
        each, size = self.table(), checks.chunk(w)
        for part, rows in zip(self.ids.split(size), each.split(size), strict=True):
            # a copy of w for each example: vmap over torch.func.grad cannot index with i
            with torch.enable_grad():
                copies = w.expand(len(part), *w.shape).clone().requires_grad_()
                rows.copy_(torch.autograd.grad(torch.vmap(self.loss_i)(copies, part).sum(), copies)[0])
        return each, each.sum(0)

    def mean(self, w: Tensor, rows: list[int] | None = None) -> Tensor:
        ids = self.ids if rows is None else self.ids[rows]
        total = torch.zeros_like(w)
        for part in ids.split(checks.chunk(w)):
            with torch.enable_grad():
                here = w.detach().requires_grad_()
                total += torch.autograd.grad(torch.vmap(self.loss_i, (None, 0))(here, part).sum(), here)[0]
        return total / len(ids)

    def tensor(self, w: Tensor) -> Tensor:
        return w


class Linear(FiniteSum):
    """A :class:`LinearLoss`: NumPy on the CPU, and one number for a gradient."""

    def __init__(self, loss_i: LinearLoss, w0: Tensor, n: int, *rest: Any) -> None:
        super().__init__(w0, n, *rest)
        self.like, self.w = w0, w0.cpu().reshape(-1).numpy()
        self.slopes = Slopes(loss_i, self.w.dtype)
        self.inputs = self.slopes.inputs

    def gradient(self, w: np.ndarray, i: int) -> float:
        return self.slopes.one(w, i)

    def change(self, w: np.ndarray, anchor: np.ndarray, i: int) -> np.ndarray:
        return (self.slopes.one(w, i) - self.slopes.one(anchor, i)) * self.inputs[i]

    def lift(self, short: float, i: int) -> np.ndarray:
        return short * self.inputs[i]

    def table(self) -> Any:
        return self.slopes.table(np.zeros(self.n))

    def gradients(self, w: np.ndarray) -> tuple[Any, np.ndarray]:
        each = self.slopes.all(w)
        return self.slopes.table(each), each @ self.inputs

    def mean(self, w: np.ndarray, rows: list[int] | None = None) -> np.ndarray:
        each = self.slopes.all(w, rows)
        return each @ (self.inputs if rows is None else self.inputs[rows]) / len(each)

    def after_prox(self, w: np.ndarray) -> np.ndarray:
        assert self.prox is not None
        return self.prox(self.tensor(w), self.lr).detach().cpu().reshape(-1).numpy()

    def tensor(self, w: np.ndarray) -> Tensor:
        return torch.from_numpy(w).view(self.like.shape).to(self.like.device)


def begin(
    loss_i: Any, w0: Any, n: Any, lr: Any, steps: Any, indices: Any, l2: Any, prox: Any, callback: Any, seed: Any
) -> tuple[FiniteSum, list[int]]:
    """Check everything, then give the sum to minimize and the examples to visit."""
    w, n, steps, seed = checks.start(w0), integer("n", n, 1), integer("steps", steps, 0), _seed(seed)
    lr = checks.rate(lr)
    number("l2 value", l2, low=0)
    if callback is not None and not callable(callback):
        raise HyperparameterTypeError(f"callback must be a function (step, w), got {callback!r}")
    order = checks.order(indices, n, steps, seed)
    checks.proximal(prox, w, lr)
    kind: type[General] | type[Linear] = General
    if isinstance(loss_i, LinearLoss):
        loss_i.check(w, n)
        kind = Linear
    checks.loss(loss_i, w, n)
    return kind(loss_i, w, n, lr, float(l2), prox, callback), order


def _seed(seed: Any) -> int:
    return integer("seed", seed, 0)


class HandOn:
    """Which iterate of an inner loop the next one starts from: the last, their average, or one at random."""

    def __init__(self, option: str, seed: int) -> None:
        if option not in ("last", "average", "random"):
            raise ValueError(f"option must be 'last', 'average' or 'random', got {option!r}")
        self.option, self.random = option, np.random.default_rng([seed, 1])
        self.count, self.kept = 0, None

    def add(self, w: Any) -> None:
        """Note one iterate, in order."""
        self.count += 1
        if self.option == "average":
            self.kept = w if self.kept is None else self.kept + (w - self.kept) / self.count
        elif self.option == "random" and self.random.integers(self.count) == 0:
            self.kept = w

    def take(self, last: Any) -> Any:
        """The iterate to go on from; begins a new loop."""
        kept = last if self.option == "last" else self.kept
        self.count, self.kept = 0, None
        return kept


def table_bytes(loss_i: Any, w0: Tensor, n: int) -> int:
    """Bytes of the table that :func:`sag` and :func:`saga` keep: n gradients, or n numbers for a linear model.

    The sum of the table comes on top, as large as w0. :func:`svrg`, :func:`sarah` and :func:`scsg` keep no
    table, only two further tensors of the size of w0. All of them keep the order of the steps as a list, and for a
    linear model a copy of the inputs where w0's dtype is another, and the n targets as Python floats.

    Args:
        loss_i, w0, n: as for the solvers.

    Raises:
        ValueError: as the solvers do, for w0 and n.

    Example:
        >>> from dlopt.sgd.finite_sums import linear_loss
        >>> scores = linear_loss(torch.ones(1000, 30), torch.zeros(1000))
        >>> table_bytes(scores, torch.zeros(30), 1000)
        4000
        >>> table_bytes(lambda w, i: scores(w, i), torch.zeros(30), 1000)
        120000
    """
    w, n = checks.start(w0), integer("n", n, 1)
    return n * w.element_size() * (1 if isinstance(loss_i, LinearLoss) else w.numel())
