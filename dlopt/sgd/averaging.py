"""Averages of the weights along a training run.

Uniform: Polyak & Juditsky 1992, eq. 2; stochastic weight averaging where it is updated once a cycle (Izmailov et al.
2018, algorithm 1). Exponential: a mean that forgets, with Adam's correction of the start if wanted (Kingma & Ba 2015,
section 3).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from numbers import Integral
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dlopt.engine.checks import number
from dlopt.sgd.weights import Source, buffers_of, check_alike, copies, parameters_of, write

_SETTINGS = ("decay", "start", "corrected")


class WeightAverage:
    r"""A running mean of a model's weights, kept beside the training, which it does not touch.

    The k-th weights that count enter as :math:`\bar\theta \leftarrow \bar\theta + w_k(\theta - \bar\theta)` with
    :math:`w_k = 1/k` for the uniform mean. For an exponential one :math:`w_k = 1 - \beta`, but :math:`w_1 = 1`: the
    mean starts at the first weights, which keep the weight :math:`\beta^{k-1}`. With ``corrected=True``
    :math:`w_k = (1-\beta)/(1-\beta^k)`, so that all weights from the first on stand in the proportion of their age.

    Args:
        model: a module, or an iterable of tensors. All parameters of a module are averaged, frozen ones too, so that
            they may thaw; a shared one once.
        decay: None for the uniform mean, or :math:`\beta` in [0, 1). The half-life is log 2 / -log β updates.
        start: so many first calls of :meth:`update` do not count: until the next one the average is the weights
            themselves. Use it to leave out the way from the start.
        corrected: see above; needs a decay.
        buffers: ``"keep"`` leaves a model's buffers as they are (see :func:`update_bn` for batch norm), ``"average"``
            averages those of floating point along with the weights and takes the latest of the others.

    Attributes:
        updates: how often :meth:`update` was called.

    Memory: one copy of the parameters, in float32 or wider even for bfloat16 weights, and one more of the parameters
    while they are swapped. Time: one pass over both an update.

    Raises:
        ValueError: a setting out of its range; no parameters.
        TypeError: `model` is neither a module nor an iterable of tensors.

    Example:
        >>> w = torch.tensor([0.0])
        >>> average = WeightAverage([w])
        >>> for value in (1.0, 2.0, 6.0):
        ...     _ = w.fill_(value)
        ...     average.update()
        >>> with average.swapped():
        ...     print(w)
        tensor([3.])
        >>> w
        tensor([6.])
    """

    def __init__(
        self,
        model: Source,
        decay: float | None = None,
        start: int = 0,
        *,
        corrected: bool = False,
        buffers: Literal["keep", "average"] = "keep",
    ) -> None:
        self.decay, self.start, self.corrected = _settings(decay, start, corrected)
        self.updates = 0
        if buffers not in ("keep", "average"):
            raise ValueError(f"buffers must be 'keep' or 'average', got {buffers!r}")
        if buffers == "average" and not isinstance(model, nn.Module):
            raise ValueError("buffers='average' needs a module: a list of tensors has no buffers")
        self._source: Source = model if isinstance(model, nn.Module) else list(parameters_of(model).values())
        self._average_buffers = buffers == "average"
        self._mean = {name: torch.empty_like(p, dtype=wide(p.dtype), requires_grad=False) for name, p in self._live()}
        self._swapped = False

    def _live(self, source: Source | None = None) -> Any:
        """The names and tensors that are averaged, as they are now."""
        source = self._source if source is None else source
        found = parameters_of(source)
        if self._average_buffers:
            found |= buffers_of(source)
        return found.items()

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights as they are now into the average.

        Raises:
            RuntimeError: the averages are swapped in.
            ValueError: the model has other parameters, or other shapes, than when this was made. Nothing has changed.
        """
        self._refuse_swapped("update")
        live = dict(self._live())
        check_alike("the average", self._mean, live)
        self.updates += 1
        share = self._share(self.updates - self.start)
        for name, tensor in live.items():
            mean = self._mean[name]
            if share == 1 or not (mean.is_floating_point() or mean.is_complex()):
                mean.copy_(tensor)
            else:
                mean.lerp_(tensor.to(mean), share)

    def _share(self, k: int) -> float:
        """How far the mean moves to the k-th weights that count; all the way before the first of them."""
        if k <= 1:
            return 1.0
        if self.decay is None:
            return 1 / k
        return (1 - self.decay) / (1 - self.decay**k) if self.corrected else 1 - self.decay

    def averages(self) -> dict[str, Tensor]:
        """A copy of the averages by name, in float32 or wider.

        Raises:
            RuntimeError: nothing has been averaged yet.
        """
        self._refuse_empty()
        return copies(self._mean)

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Inside ``with``, the model holds the averages; after it, whatever happens, what it held before.

        Buffers are put back as well, so that batch-norm statistics may be recomputed inside (:func:`update_bn`).

        Raises:
            RuntimeError: on entry, nothing has been averaged yet, or they are swapped already. On leaving, a parameter
                was changed: an optimizer stepped, and its step is lost with the averages it was made from.
            ValueError: the model has changed shape; see :meth:`update`.
        """
        self._refuse_swapped("swap again")
        self._refuse_empty()
        live = dict(self._live())
        check_alike("the average", self._mean, live)
        before = live | buffers_of(self._source)
        kept, weights = copies(before), parameters_of(self._source)
        self._swapped = True
        try:
            write(self._mean, live)
            versions = {name: p._version for name, p in weights.items()}
            yield
            written = [name for name, p in weights.items() if p._version != versions[name]]
            # The averages of another object over the same model may have been here and gone: then nothing is lost.
            touched = [name for name in written if not weights[name].equal(self._mean[name].to(weights[name]))]
        finally:
            try:
                write(kept, before)
            finally:
                self._swapped = False
        if touched:
            raise RuntimeError(f"{touched} were written to while the averages were swapped in: the change is lost")

    def copy_to(self, model: Source) -> None:
        """Write the averages into another model, or the same, in place and for good, rounded to its dtypes.

        Its buffers are overwritten too: by the averaged ones, or by those of the averaged model.

        Raises:
            RuntimeError: nothing has been averaged yet, or the averages are swapped in.
            ValueError: other names or shapes. Nothing has changed then.
        """
        self._refuse_swapped("copy")
        self._refuse_empty()
        model = model if isinstance(model, nn.Module) else list(parameters_of(model).values())
        live = dict(self._live(model))
        check_alike("the average", self._mean, live)
        source, target = buffers_of(self._source), buffers_of(model)
        if target and source:
            check_alike("the averaged model", source, target)
            write(source, target)
        write(self._mean, live)

    def state_dict(self) -> dict[str, Any]:
        """Settings, count and a copy of the averages: numbers and tensors, for ``torch.load(weights_only=True)``."""
        self._refuse_swapped("save")
        mean = copies(self._mean) if self.updates else {}
        return {name: getattr(self, name) for name in _SETTINGS} | {"updates": self.updates, "mean": mean}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the average that returned `state` stood, with its settings, exactly.

        Raises:
            RuntimeError: the averages are swapped in.
            ValueError: missing or surplus keys, wrong names, shapes, dtypes or settings, NaN among the averaged
                weights. Nothing has changed then.
        """
        self._refuse_swapped("load")
        if set(state) != {*_SETTINGS, "updates", "mean"}:
            raise ValueError(f"not a state of {type(self).__name__}: its keys are {sorted(map(str, state))}")
        settings = _settings(*(state[name] for name in _SETTINGS))
        updates = _count("updates", state["updates"])
        self._check_mean(state["mean"], updates)
        if updates:
            write(state["mean"], self._mean)
        self.decay, self.start, self.corrected = settings
        self.updates = updates

    def _check_mean(self, given: Any, updates: int) -> None:
        if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
            raise ValueError("the averages of a state are tensors by name")
        if updates == 0:
            if given:
                raise ValueError("the state has averages, but no updates they could have come from")
            return
        check_alike("the average", self._mean, given)
        for name, mean in self._mean.items():
            if given[name].dtype != mean.dtype:
                raise ValueError(f"{name} was averaged in {given[name].dtype}, here in {mean.dtype}")
        for name in parameters_of(self._source):
            if given[name].isnan().any():
                raise ValueError(
                    f"the average of {name} in the state has NaN: did training diverge before it was saved?"
                )

    def _refuse_swapped(self, what: str) -> None:
        if self._swapped:
            raise RuntimeError(f"cannot {what} while the averages are swapped in: leave the with block first")

    def _refuse_empty(self) -> None:
        if self.updates == 0:
            raise RuntimeError("nothing has been averaged yet: call update() first")


def wide(dtype: torch.dtype) -> torch.dtype:
    """The dtype in which weights of `dtype` are averaged: float32 or wider; whole numbers keep theirs.

    Example:
        >>> wide(torch.bfloat16), wide(torch.float64)
        (torch.float32, torch.float64)
    """
    return torch.promote_types(dtype, torch.float32) if dtype.is_floating_point or dtype.is_complex else dtype


def _settings(decay: Any, start: Any, corrected: Any) -> tuple[float | None, int, bool]:
    if decay is not None:
        number("decay", decay, low=0, below=1)
        decay = float(decay)
    if not isinstance(corrected, bool):
        raise ValueError(f"corrected must be True or False, not {corrected!r}")
    if corrected and decay is None:
        raise ValueError("corrected=True needs a decay: the uniform mean has nothing to correct")
    return decay, _count("start", start), corrected


def _count(what: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 0:
        raise ValueError(f"{what} is a whole number of updates, at least 0, not {value!r}")
    return int(value)
