"""Early stopping: end a training when what is validated has not improved for a while (Prechelt 1998)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn

from dlopt.engine.checks import number
from dlopt.sgd.weights import buffers_of, check_alike, copies, parameters_of, write

_SETTINGS = ("patience", "mode", "min_delta")
_COUNTS = ("checks", "best", "best_step", "waited")


class EarlyStopping:
    """Says when to stop: after `patience` checks in a row without an improvement.

    An improvement is a value that beats the best one so far by more than `min_delta`; a tie is none. So a value that
    never changes stops the training at check ``1 + patience``. This is how Keras and Lightning count. torch's
    ``ReduceLROnPlateau`` waits one check longer for the same number.

    Args:
        patience: number of checks, at least 1.
        mode: ``"min"`` for a loss, ``"max"`` for an accuracy.
        min_delta: in units of the value, at least 0. What does not exceed it adds up: slow progress counts as soon as
            its sum since the best value does.

    Attributes:
        best: the best value so far; inf (-inf for ``"max"``) before there is one.
        best_step: the number of the check it came from, counted from 1; 0 before there is one.
        checks: how many checks there have been.
        waited: how many of them since the best.

    With a model given to :meth:`update` it keeps one copy of the best weights and buffers. The optimizer's state is
    not kept: save that of the best step yourself if training is to go on from there.

    Raises:
        ValueError: a setting out of its range or of the wrong type.

    Example:
        >>> stopping = EarlyStopping(patience=2)
        >>> [stopping.update(loss) for loss in (1.0, 0.8, 0.8, 0.9)]
        [False, False, False, True]
        >>> stopping.best, stopping.best_step
        (0.8, 2)
    """

    def __init__(self, patience: int, mode: Literal["min", "max"] = "min", min_delta: float = 0.0) -> None:
        if isinstance(patience, bool) or not isinstance(patience, Integral):
            raise ValueError(f"patience is a whole number of checks, not {patience!r}")
        if patience < 1:
            raise ValueError(
                f"patience must be at least 1, got {patience}: 1 stops at the first check that is no better"
            )
        if mode not in ("min", "max"):
            raise ValueError(f"mode must be 'min' or 'max', got {mode!r}")
        number("min_delta", min_delta, low=0)
        self.patience: int = int(patience)
        self.mode: str = mode
        self.min_delta: float = float(min_delta)
        self.best: float = math.inf if mode == "min" else -math.inf
        self.best_step: int = 0
        self.checks: int = 0
        self.waited: int = 0
        self._kept: dict[str, dict[str, Tensor]] | None = None

    def update(self, value: float | Tensor, model: nn.Module | None = None) -> bool:
        """Take note of one check, and say whether to stop.

        Args:
            value: what was validated; a number, or a tensor or array with one element. Infinitely bad counts as a
                check without improvement.
            model: whose weights and buffers to keep if this is the best value so far.

        Returns:
            True from the `patience`-th check in a row without an improvement on.

        Raises:
            ValueError: the value is NaN, infinitely good or no real number.
            TypeError: `model` is no module. Nothing has changed then, nor after any error while the weights are copied.
        """
        value = self._checked(value)
        tensors = None if model is None else _tensors(model)
        gain = self.best - value if self.mode == "min" else value - self.best
        if gain > self.min_delta:  # NaN, the first value being infinitely bad, is no gain
            self._kept = None if tensors is None else {part: copies(found) for part, found in tensors.items()}
            self.checks += 1
            self.best, self.best_step, self.waited = value, self.checks, 0
        else:
            self.checks += 1
            self.waited += 1
        return self.waited >= self.patience

    def _checked(self, value: Any) -> float:
        if isinstance(value, Tensor | np.ndarray):
            if math.prod(value.shape) != 1:
                raise ValueError(f"one value a check, not a {type(value).__name__} of shape {tuple(value.shape)}")
            value = value.item()
        if isinstance(value, bool) or not isinstance(value, Real):
            raise ValueError(f"the value of a check is a real number, not {value!r}")
        try:
            value = float(value)
        except OverflowError:
            raise ValueError("the value of a check is too large for a float: did training diverge?") from None
        if math.isnan(value):
            raise ValueError("the value is NaN: it is neither better nor worse than any other; did training diverge?")
        if value == (-math.inf if self.mode == "min" else math.inf):
            raise ValueError(f"the value is {value}, which nothing could ever beat: something is wrong with it")
        return value

    def restore(self, model: nn.Module) -> None:
        """Write the best weights and buffers back into `model`, in place.

        Raises:
            ValueError: nothing was kept, because the check that was best came without a model or there was none; or
                `model` has other names or shapes. Nothing has changed then.
        """
        if self._kept is None:
            reason = "there has been none" if self.best_step == 0 else f"check {self.best_step} came without a model"
            raise ValueError(f"no weights of the best check are kept: {reason}")
        mine = _tensors(model)
        for part, kept in self._kept.items():
            check_alike("what was kept", kept, mine[part])
        for part, kept in self._kept.items():
            write(kept, mine[part])

    def state_dict(self) -> dict[str, Any]:
        """Settings, counts and the weights kept: numbers and tensors, for ``torch.load(weights_only=True)``."""
        return {name: getattr(self, name) for name in _SETTINGS + _COUNTS} | {"kept": self._kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the object that returned `state` stood, with its settings.

        Raises:
            ValueError: missing or surplus keys; settings, counts, a best value or weights that cannot be. Nothing has
                changed then.
        """
        if set(state) != {*_SETTINGS, *_COUNTS, "kept"}:
            raise ValueError(f"not a state of {type(self).__name__}: its keys are {sorted(map(str, state))}")
        new = EarlyStopping(*(state[name] for name in _SETTINGS))
        new._take_counts(*(state[name] for name in ("checks", "best_step", "waited")))
        new._take_best(state["best"])
        new._take_kept(state["kept"])
        vars(self).update(vars(new))

    def _take_counts(self, checks: Any, best_step: Any, waited: Any) -> None:
        for count in (checks, best_step, waited):
            if isinstance(count, bool) or not isinstance(count, Integral):
                raise ValueError(f"checks, best_step and waited are whole numbers, not {count!r}")
        if not 0 <= best_step <= checks or waited != checks - best_step:
            raise ValueError("the counts of the state contradict each other")
        self.checks, self.best_step, self.waited = int(checks), int(best_step), int(waited)

    def _take_best(self, best: Any) -> None:
        if self.best_step == 0:
            if best != self.best:
                raise ValueError(f"the best value of the state is {best!r}, but there has been no best check")
            return
        self.best = self._checked(best)
        if math.isinf(self.best):
            raise ValueError(f"the best value of the state is {best}, which is no improvement on anything")

    def _take_kept(self, kept: Any) -> None:
        if kept is None:
            return
        if self.best_step == 0:
            raise ValueError("the state has weights of a best check, but there has been none")
        if not isinstance(kept, Mapping) or set(kept) != {"parameters", "buffers"}:
            raise ValueError("the kept weights of the state are not the two parts 'parameters' and 'buffers'")
        for part, tensors in kept.items():
            if not isinstance(tensors, Mapping) or not all(isinstance(t, Tensor) for t in tensors.values()):
                raise ValueError(f"the kept {part} of the state are not tensors by name")
        self._kept = {part: copies(tensors) for part, tensors in kept.items()}


def _tensors(model: nn.Module) -> dict[str, dict[str, Tensor]]:
    if not isinstance(model, nn.Module):
        raise TypeError(f"expected a module, not a {type(model).__name__}")
    return {"parameters": parameters_of(model), "buffers": buffers_of(model)}
