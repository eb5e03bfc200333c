"""The clock of a parameter: its step count and its scalar state. Where it is kept, read and written."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dlopt.engine import facts
from dlopt.engine.program import Program

if TYPE_CHECKING:
    from dlopt.engine.batch import Clocks
    from dlopt.engine.optimizer import RuleOptimizer


class Apart(Exception):
    """The parameters of a group have not taken the same steps."""


@dataclass
class Step:
    """What one parameter or many share: program, scalars, state keys, and the clock after the step.

    ``bases`` holds, for counts that are known to be views of one tensor, or are to be, that tensor. ``skip``, on the
    device, says that the clock is to stand still.
    """

    program: Program
    scalars: dict[str, Any]
    keys: tuple[str, ...]
    clock: dict[str, Any]
    bases: dict[str, Tensor] = field(default_factory=dict)
    skip: Tensor | None = None

    def commit(self, entries: list[dict[str, Any]]) -> None:
        """Write the new clock into the parameters' state.

        Counts are 0-dim tensors, as torch's, but views of one tensor a batch: one write serves all.
        """
        for key, value in self.clock.items():
            first, base = entries[0][key], self.bases.get(key)
            if base is None:
                base = whole(list(map(itemgetter(key), entries)))
            if base is None:
                base = torch.empty(len(entries), dtype=first.dtype, device="cpu")
            if first._base is not base:
                for entry, view in zip(entries, base.unbind(), strict=True):
                    entry[key] = view
            if self.skip is not None:
                value = torch.where(self.skip, base, value)
            if isinstance(value, Tensor):
                base.copy_(value)
            else:
                base.fill_(value)


def whole(tensors: list[Tensor]) -> Tensor | None:
    """The tensor that `tensors` are all the elements of, if there is one."""
    base = tensors[0]._base
    if base is None or base.numel() != len(tensors) or any(t._base is not base for t in tensors):
        return None
    return base


def shared(optimizer: RuleOptimizer, entries: list[Any], known: Clocks) -> tuple[tuple[float, ...], Clocks]:
    """The clock that all `entries` show, and the tensors that it was read off; `known` are those of the last step.

    Raises:
        Apart: they do not show the same.
    """
    values, clocks = [], {}
    for key in optimizer.clock_keys():
        old, base = known.get(key, ([], None))
        tensors = facts.values(entries, key, old)
        if base is None or tensors is not old:
            base = whole(tensors)
        if base is not None:
            clocks[key] = tensors, base
        shown = (torch.stack(tensors) if base is None else base).tolist()
        if shown.count(shown[0]) < len(shown):
            raise Apart
        values.append(shown[0])
    return tuple(values), clocks


def on_device(optimizer: RuleOptimizer, entries: list[Any], device: torch.device) -> dict[str, Tensor]:
    """State key → the counts of all `entries` as one tensor on `device`: the one they are views of, or a new one."""
    bases = {}
    for key in optimizer.clock_keys():
        tensors = list(map(itemgetter(key), entries))
        base = whole(tensors)
        if base is None or base.device != device:
            base = torch.stack([t.to(device, non_blocking=True) for t in tensors])
        bases[key] = base
    return bases
