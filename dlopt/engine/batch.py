"""Tensors that take the same step: one program, one set of scalars, one device, one set of dtypes."""

from __future__ import annotations

import functools
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from operator import attrgetter, is_
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dlopt.engine.faces.numpy import Number
from dlopt.engine.faces.torch import namespace
from dlopt.engine.facts import PLAIN, Facts, facts, versioned, written
from dlopt.engine.lowering import Lowered, lower_program
from dlopt.engine.program import Program

if TYPE_CHECKING:
    from dlopt.engine.clock import Step
    from dlopt.engine.settings import Settings

_device, _shape = map(attrgetter, ("device", "shape"))
_REAL = {torch.float16, torch.bfloat16, torch.float32, torch.float64}
_STORED = {*_REAL, torch.int64, torch.uint8}


Clocks = dict[str, tuple[list[Tensor], Tensor]]
"""State key of a count → the counts of all parameters, and the tensor that they are the elements of."""


@dataclass
class Batch:
    """``streams`` holds the gradients, the parameters, then each state, tensor by tensor, in the program's order.

    ``dense`` says that every row is plain memory: the same elements in the same order in each stream.
    ``entries`` are the parameters' state dicts and ``keys`` the state keys of the streams after the second.
    ``scatter`` says, for rows gathered for a sparse gradient, where they go back: an index and the tensors. The
    index is None for tensors that are lazily conjugated or negated, and were resolved as a whole.
    ``grads`` are the facts of the gradients, if they were read already. ``kept`` is what a face keeps for the next
    step of the same tensors.
    """

    program: Program
    scalars: dict[str, Any]
    streams: list[list[Tensor]]
    dense: bool
    differentiable: bool = False
    entries: list[dict[str, Any]] = field(default_factory=list)
    keys: tuple[str, ...] = ()
    scatter: list[tuple[Any, ...]] = field(default_factory=list)
    known: Known | None = None
    grads: Facts | None = None
    slots: tuple[float, ...] | None = None
    skip: Tensor | None = None
    asked: tuple[Any, ...] = ()  # for which face, and
    face: Any = None  # the answer
    kept: Any = None

    def takes(self, program: Program, grads: Facts) -> bool:
        """Whether it can be used for the next step of its tensors."""
        return self.program is program and self.grads is not None and self.grads.dtype == grads.dtype

    def renew(self, scalars: dict[str, Any], streams: list[list[Tensor]], grads: Facts) -> None:
        """Make it the next step of its tensors, with other gradients. It is not one that :meth:`replace_state`."""
        if scalars is not self.scalars:
            self.scalars, self.slots = scalars, None
        self.streams, self.grads = streams, grads

    def prepare(self) -> None:
        """Compute the host's scalars: what can fail there fails before anything is written."""
        if self.slots is None and not (self.differentiable or self.program.matrix or self.stays):
            norms = dict.fromkeys(self.program.norm_names, Number(1.0))
            self.slots = lower_program(self.program).host(**self.scalars, **norms)

    @functools.cached_property
    def stays(self) -> bool:
        """Whether scalars are tensors on the device; `skip`, a boolean there, says that nothing is to change."""
        tensors = any(isinstance(value, Tensor) for value in self.scalars.values())
        return self.skip is not None or tensors and not self.differentiable

    def scalars_of(self, row: int) -> dict[str, Any]:
        """The scalars of one tensor: a vector among them holds a value a tensor."""
        vectors = {name: v for name, v in self.scalars.items() if isinstance(v, Tensor) and v.dim()}
        return self.scalars | {name: vector[row] for name, vector in vectors.items()}

    def table(self, lowered: Lowered, norms: dict[str, Tensor]) -> Tensor:
        """The slots of a graph on the device: a row a slot, a column a tensor; the last row is 1 where to skip.

        `norms` are float64 vectors, a value a tensor; so may the scalars be that stay on the device.
        """
        values = lowered.on(namespace(torch.float64, torch.float64))(**self.scalars, **norms)
        table = torch.zeros(len(values) + 1, len(self.streams[1]), dtype=self.compute, device=self.device)
        for row, value in zip(table, (*values, self.skip), strict=True):
            if value is not None:
                row.copy_(value) if isinstance(value, Tensor) else row.fill_(value)
        return table

    @property
    def device(self) -> torch.device:
        return self.streams[1][0].device

    @functools.cached_property
    def dtypes(self) -> tuple[torch.dtype, ...]:
        return tuple(stream[0].dtype for stream in self.streams)

    @property
    def storage(self) -> torch.dtype:
        """The parameters' dtype."""
        return self.streams[1][0].dtype

    @property
    def compute(self) -> torch.dtype:
        """What the arithmetic is done in: float32, or float64 for float64 parameters."""
        return computing(self.storage)

    def memory(self) -> Known:
        """Addresses and sizes of the parameters and states."""
        if self.known is None:
            self.known = Known(self.streams[1:])
        return self.known

    def addresses(self) -> array[int]:
        """Where all tensors begin, stream by stream."""
        grads = self.grads or _facts(self.streams[0])
        return array("q", grads.address + self.memory().addresses)

    def mark_written(self) -> None:
        """Tell autograd which tensors the step writes to."""
        memory = self.memory()
        written(memory.tensors, memory.all_versioned)
        if self.program.unscales:
            torch.autograd.graph.increment_version(self.streams[0])

    def rows(self) -> Iterator[list[Tensor]]:
        """The streams of one tensor after another."""
        return map(list, zip(*self.streams, strict=True))

    def written(self, row: list[Any]) -> list[Any]:
        """The tensors of a row that get new values: the gradient if it is unscaled, the parameter, the state."""
        return row[not self.program.unscales : 1 + self.program.outputs]

    def replace_state(self, row: int, values: Iterable[Tensor]) -> None:
        """Keep new state tensors, with their graph, in the place of the old ones."""
        for key, value in zip(self.keys, values, strict=True):
            self.entries[row][key] = value

    def finish(self) -> None:
        """Write what was gathered or resolved back into the tensors it came from; advance the counters."""
        if "random" in self.program.kinds:
            for stream, kind in zip(self.streams, self.program.kinds, strict=False):
                if kind == "random":
                    one = 1 if self.skip is None else [(~self.skip).to(torch.int64)] * len(stream)
                    torch._foreach_add_(stream, one)
        for row, (index, *tensors) in zip(self.rows(), self.scatter, strict=False):
            for rows, tensor in zip(row[1 : 1 + self.program.outputs], tensors, strict=True):
                value = torch.view_as_complex(rows) if tensor.is_complex() else rows
                if index is None:
                    tensor.copy_(value)
                else:
                    tensor.index_put_(index, value)


def computing(dtype: torch.dtype) -> torch.dtype:
    """The dtype of the arithmetic, and of the state, for a parameter of `dtype`."""
    return torch.float64 if dtype in (torch.float64, torch.complex128) else torch.float32


class Known:
    """Parameters and states that were found uniform, so that an unchanged tensor need not be looked at twice.

    A tensor object at its old address still has its device, if it has elements; all else is among the facts.
    """

    def __init__(self, streams: list[list[Tensor]]) -> None:
        self.streams, self.states = streams, list(chain.from_iterable(streams[1:]))
        self.params, self.of_states = _facts(streams[0]), _facts(self.states)
        self.tensors = streams[0] + self.states
        self.addresses = self.params.address + self.of_states.address
        self.sizes = tuple(array("q", self.params.numel))
        self.single = 1 in self.sizes
        self.all_versioned = all(map(versioned, self.tensors))
        self.first = 0  # how many entries of the optimizer's state stand before theirs
        self.clocks: Clocks = {}
        self.on_device: Any = None  # what a GPU face has sent there
        self.settings: Settings | None = None  # of the last step, and
        self.step: Step | None = None  # that step, if only its settings can change it
        self.batch: Batch | None = None  # what may be renewed
        occupied = [a for a, size in zip(array("q", self.params.address), self.sizes, strict=True) if size]
        self.distinct = 0 not in occupied and len(set(occupied)) == len(occupied)  # 0: its memory was given back

    def holds(self, streams: list[list[Tensor]]) -> bool:
        """Whether `streams` are these tensors, as they were."""
        params, *states = streams
        if len(streams) != len(self.streams) or not all(map(is_, states, self.streams[1:])):
            return False
        return facts(params) == self.params and facts(self.states) == self.of_states


def _facts(tensors: list[Tensor]) -> Facts:
    found = facts(tensors)
    if found is None:
        raise RuntimeError("a step needs tensors with memory of their own")
    return found


def uniform(streams: list[list[Tensor]], known: Known | None, elements: int) -> tuple[Known, Facts] | tuple[None, None]:
    """The parameters and states, and the facts of the gradients, if all streams are one batch as they are.

    That is: plain, real, contiguous, alike. The first `elements` streams have a value per element, the others not.
    torch itself sees to it that a gradient has its parameter's device and shape when it is assigned.
    """
    grads, *rest = streams
    found = facts(grads)
    if found is None or grads[0].dtype not in _REAL or not found.one_dtype():
        return None, None
    if known is None or not known.holds(rest):
        shapes = [list(map(_shape, stream)) for stream in streams[:elements]]
        if any(s != shapes[0] for s in shapes) or not all(map(_alike, rest)):
            return None, None
        if len({stream[0].device for stream in streams}) != 1:
            return None, None
        known = Known(rest)
    if (found.numel, found.contiguous) != (known.params.numel, known.params.contiguous):
        return None, None
    if known.single and any(map(Tensor.is_neg, grads)):  # a lazily negated view is contiguous only if it is one number
        return None, None
    return known, found


def _alike(stream: list[Tensor]) -> bool:
    found = facts(stream)
    if found is None or stream[0].dtype not in _STORED or not found.one_dtype() or len(set(map(_device, stream))) > 1:
        return False
    return all(map(Tensor.is_contiguous, stream)) and not any(map(Tensor.is_neg, stream))


def plain(t: Tensor) -> bool:
    """Whether `t` is a tensor of torch's own, not of a subclass such as DTensor."""
    return type(t) in PLAIN


def aligned(row: list[Tensor], elements: int) -> bool:
    """Whether one parameter's tensors hold the same elements in the same order in plain memory.

    The first `elements` have a value per element. If others have not, the order must be the contiguous one.
    """
    p = row[1]
    if len(row) > elements and not p.is_contiguous():
        return False
    if not {type(t) for t in row} <= set(PLAIN) or any(t.layout != torch.strided or t.is_neg() for t in row):
        return False
    return all(t.stride() == p.stride() and t.shape == p.shape for t in row[:elements]) and fills_memory(p)


def fills_memory(t: Tensor) -> bool:
    """Whether the elements lie side by side, in whatever order of dimensions."""
    expected = 1
    for stride, size in sorted((s, n) for s, n in zip(t.stride(), t.shape, strict=True) if n != 1):
        if stride != expected:
            return False
        expected *= size
    return True


def overlaps(t: Tensor) -> bool:
    """Whether several elements share one place in memory, as in an expanded tensor."""
    return t.layout == torch.strided and any(s == 0 and n > 1 for s, n in zip(t.stride(), t.shape, strict=True))
