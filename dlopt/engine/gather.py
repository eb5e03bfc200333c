"""Collects a group's tensors into batches. Nothing is written here: a refusal leaves all as it was."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Real
from operator import attrgetter, is_, itemgetter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dlopt.engine.batch import Batch, Clocks, aligned, fills_memory, overlaps, plain, uniform
from dlopt.engine.program import Program
from dlopt.engine.scalars import evaluate
from dlopt.engine.state import coded, in_eight_bits, keys_of, made, program_of

if TYPE_CHECKING:
    from dlopt.engine.optimizer import RuleOptimizer

Group = dict[str, Any]
_grad = attrgetter("grad")
LATER = 2.0  # the t of a class that does not count, after a parameter's first step


@dataclass
class Step:
    """What one parameter or many share: program, scalars, state keys, and the clock after the step.

    ``bases`` holds, for counts that were found to be views of one tensor, that tensor.
    """

    program: Program
    scalars: dict[str, Any]
    keys: tuple[str, ...]
    clock: dict[str, float]
    bases: dict[str, Tensor] = field(default_factory=dict)

    def commit(self, entries: list[dict[str, Any]]) -> None:
        """Write the new clock into the parameters' state.

        Counts are 0-dim tensors, as torch's, but views of one tensor a batch: one write serves all.
        """
        for key, value in self.clock.items():
            base = self.bases.get(key)
            if base is None:
                base = _base(list(map(itemgetter(key), entries)))
            if base is None:
                base = torch.empty(len(entries), dtype=entries[0][key].dtype, device="cpu")
                for entry, view in zip(entries, base.unbind(), strict=True):
                    entry[key] = view
            base.fill_(value)


def _base(tensors: list[Tensor]) -> Tensor | None:
    """The tensor that `tensors` are all the elements of, if there is one."""
    base = tensors[0]._base
    if base is None or base.numel() != len(tensors) or any(t._base is not base for t in tensors):
        return None
    return base


@dataclass
class Pending:
    """A batch, the group it came from, and what to write into the optimizer's state just before it runs."""

    batch: Batch
    group: Group
    commit: Callable[[], None]


def gather(optimizer: RuleOptimizer, group: Group) -> list[Pending]:
    """The batches of one group for the gradients at hand.

    Raises:
        RuntimeError: for a gradient or a parameter the rule cannot take.
        ValueError: for a hyperparameter that is NaN or infinite.
    """
    params: list[Tensor] = group["params"]
    grads = list(map(_grad, params))
    if type(None) in set(map(type, grads)):
        params = [p for p, g in zip(params, grads, strict=True) if g is not None]
        grads = [g for g in grads if g is not None]
    parts = [(params, grads, False)]
    if group["optim_bits"] == 8:
        pairs: dict[bool, list[tuple[Tensor, Tensor]]] = {True: [], False: []}
        for p, g in zip(params, grads, strict=True):
            pairs[in_eight_bits(group, p)].append((p, g))
        parts = [([p for p, _ in some], [g for _, g in some], eight) for eight, some in pairs.items()]
    return [
        item
        for params, grads, eight in parts
        if params
        for item in _at_once(optimizer, group, params, grads, eight) or _one_by_one(optimizer, group, params, grads)
    ]


def _at_once(
    optimizer: RuleOptimizer, group: Group, params: list[Tensor], grads: list[Tensor], eight: bool
) -> list[Pending] | None:
    """The usual case: every parameter has taken the same steps and all tensors are alike."""
    if optimizer.matrix or optimizer.sparse_only:
        return None
    entries = list(map(optimizer.state.get, params))
    before = optimizer.known.get((id(group), eight))
    try:
        clock, clocks = _shared_clock(optimizer, entries, before.clocks if before else {})
        step = _step(optimizer, group, clock, eight=eight)
        step.bases = {key: base for key, (_, base) in clocks.items()}
        streams = [grads, params, *(list(map(itemgetter(key), entries)) for key in step.keys)]  # type: ignore[arg-type]
        known = uniform(streams, before, 1 + step.program.outputs)
    except (AttributeError, KeyError, TypeError, _Apart):  # not the usual case: looked at one by one
        return None
    if known is None or any(coded(s[0]) != bool(k) for s, k in zip(streams[2:], step.program.kinds[2:], strict=False)):
        return None
    optimizer.known[id(group), eight] = known
    known.clocks = clocks
    batch = Batch(step.program, step.scalars, streams, True, group["differentiable"], entries, step.keys, known=known)  # type: ignore[arg-type]
    return [Pending(batch, group, lambda: step.commit(entries))]  # type: ignore[arg-type]


class _Apart(Exception):
    """The parameters of a group have not taken the same steps."""


def _shared_clock(optimizer: RuleOptimizer, entries: list[Any], known: Clocks) -> tuple[tuple[float, ...], Clocks]:
    """The clock that all `entries` show, and the tensors that it was read off; `known` are those of the last step."""
    values, clocks = [], {}
    for key in optimizer.clock_keys():
        tensors = list(map(itemgetter(key), entries))
        old, base = known.get(key, ([], None))
        if base is None or len(old) != len(tensors) or not all(map(is_, old, tensors)):
            base = _base(tensors)
        if base is not None:
            clocks[key] = tensors, base
        values.append(set((torch.stack(tensors) if base is None else base).tolist()))
    if any(len(v) > 1 for v in values):
        raise _Apart
    return tuple(v.pop() for v in values), clocks


def _step(
    optimizer: RuleOptimizer, group: Group, clock: tuple[float, ...], first: bool = False, flat: bool = False,
    eight: bool = False,
) -> Step:  # fmt: skip
    """The next step of a parameter whose clock (count, scalar state) stands at `clock`.

    `flat`: it is no matrix; `eight`: its state is kept in 8 bits.
    """
    t = clock[0] + 1 if optimizer.counted else (1.0 if first else LATER)
    hyper = {name: plain_value(name, value) for name, value in optimizer.hyper(group).items()}
    symbols = dict(zip(optimizer.scalar_state, clock[optimizer.counted :], strict=True))
    new = {}
    if optimizer.scalars is not None:
        new = evaluate(optimizer.scalars, t, *symbols.values(), **hyper)
        if any(isinstance(new[symbol], Tensor) for symbol in symbols):
            name = type(optimizer).__name__
            raise RuntimeError(f"{name} keeps numbers that depend on lr: `differentiable` does not reach a tensor lr")
    decay = hyper.get("weight_decay", 0.0)
    before: tuple[str, ...] = ("maximize",) if group["maximize"] else ()
    flagged = "decoupled_weight_decay" in optimizer.defaults
    if not (group["decoupled_weight_decay"] if flagged else optimizer.decoupled):
        hyper |= {"l2": decay, "weight_decay": 0.0}
        before += ("l2",) if decay != 0 else ()
    function = optimizer.vector_rule if flat and optimizer.vector_rule else optimizer.rule(group, t)
    program = program_of(optimizer, group, optimizer.as_rule(function), before, eight)
    scalars = {name: new[name] if name in new else hyper[name] for name in program.scalars}
    after = {"step": t} if optimizer.counted else {}
    after |= {key: new[symbol] for symbol, (key, _) in optimizer.scalar_state.items()}
    return Step(program, scalars, keys_of(optimizer, program), after)


def plain_value(name: str, value: Any) -> Any:
    """A hyperparameter as a float; a tensor that requires grad stays one, for ``differentiable=True``."""
    if isinstance(value, Tensor):
        if value.requires_grad and torch.is_grad_enabled():
            return value.squeeze()
        value = value.item()
    if isinstance(value, Real) and not isinstance(value, bool):
        value = float(value)
        if not math.isfinite(value):
            raise ValueError(f"Invalid {name}: {value}")
    return value


def _one_by_one(optimizer: RuleOptimizer, group: Group, params: list[Tensor], grads: list[Tensor]) -> list[Pending]:
    """Every other case: parameters are sorted into batches of their like."""
    steps: dict[Any, Step] = {}
    found: dict[Any, list[tuple[Tensor, dict[str, Any], list[Tensor], tuple[Any, ...]]]] = {}
    for p, g in zip(params, grads, strict=True):
        _check(optimizer, p, g)
        if group["differentiable"] and (p.is_complex() or g.is_sparse):
            raise RuntimeError("`differentiable` supports neither complex parameters nor sparse gradients")
        entry = {key: value for key, value in optimizer.state.get(p, {}).items() if value is not None}
        clock = tuple(entry[key].item() if key in entry else initial for key, initial in optimizer.clock_keys().items())
        first = not all(key in entry for key in optimizer.state_keys.values())
        kind = clock, first, p.dim() < 2 and optimizer.vector_rule is not None, in_eight_bits(group, p)
        if kind not in steps:
            steps[kind] = _step(optimizer, group, *kind)
        step = steps[kind]
        for key in step.clock:
            entry.setdefault(
                key, torch.tensor(0.0, dtype=torch.float32 if key == "step" else torch.float64, device="cpu")
            )
        entry |= made(optimizer, group, step.program, p, entry)
        row, scatter = gathered_row(optimizer, group, step, p, g, [entry[key] for key in step.keys])
        alike = (kind, tuple(t.dtype for t in row), p.device, aligned(row, 1 + step.program.outputs), scatter[:1])
        found.setdefault(alike, []).append((p, entry, row, scatter))
    pending = []
    for (kind, _, _, dense, _), members in found.items():
        step, entries = steps[kind], [entry for _, entry, _, _ in members]
        streams = [list(stream) for stream in zip(*(row for _, _, row, _ in members), strict=True)]
        back = [scatter for *_, scatter in members if scatter]
        batch = Batch(step.program, step.scalars, streams, dense, group["differentiable"], entries, step.keys, back)
        pending.append(Pending(batch, group, _attach(optimizer, step, [p for p, *_ in members], entries)))
    return pending


def _attach(optimizer: RuleOptimizer, step: Step, params: list[Tensor], entries: list[dict[str, Any]]) -> Any:
    def commit() -> None:
        for i, p in enumerate(params):
            if entries[i]:  # a parameter without state gets no entry, as with torch
                live = optimizer.state[p]
                live.update(entries[i])
                entries[i] = live
        step.commit(entries)

    return commit


def _check(optimizer: RuleOptimizer, p: Tensor, g: Tensor) -> None:
    name = type(optimizer).__name__
    if not (p.is_floating_point() or p.is_complex()) or p.dtype is torch.complex32:
        raise RuntimeError(f"{name} takes floating-point and complex parameters, not {p.dtype}")
    if p.is_complex() and (optimizer.matrix or optimizer.sparse_only):
        raise RuntimeError(f"{name} does not support complex parameters")
    if p.layout != torch.strided:
        raise RuntimeError(f"{name} takes dense parameters, not one of layout {p.layout}")
    if optimizer.sparse_only and not g.is_sparse:
        raise RuntimeError(f"{name} does not support dense gradients, please consider dlopt.Adam instead")
    if g.shape != p.shape:
        raise RuntimeError(f"the gradient has shape {tuple(g.shape)}, its parameter {tuple(p.shape)}")
    if overlaps(p):
        raise RuntimeError(
            "unsupported operation: more than one element of the written-to tensor refers to a single memory "
            "location. Please clone() the tensor before performing the operation."
        )
    if g.layout not in (torch.strided, torch.sparse_coo):
        raise RuntimeError(f"{name} does not support gradients of layout {g.layout}")


def gathered_row(
    optimizer: RuleOptimizer, group: Group, step: Step, p: Tensor, g: Tensor, state: list[Tensor]
) -> tuple[list[Tensor], tuple[Any, ...]]:
    """One parameter's streams as the faces take them, and where gathered rows go back to."""
    scatter: tuple[Any, ...] = ()
    own = step.program.outputs - 1
    state, others = state[:own], state[own:]
    if others and not plain(p):
        raise RuntimeError(f"stochastic rounding and 8-bit state take plain tensors, not {type(p).__name__}")
    if g.is_sparse:
        how = optimizer.sparse(group)
        if how is None:
            name = type(optimizer).__name__
            raise RuntimeError(f"{name} does not support sparse gradients, please consider dlopt.SparseAdam instead")
        if group.get("weight_decay", 0) != 0:
            raise RuntimeError("weight_decay touches every element: it cannot be used with sparse gradients")
        if how == "rows" and g.sparse_dim() and step.program.coded:
            raise RuntimeError("rows of a sparse gradient cut through the blocks of 8-bit state: set optim_bits=32")
        if how == "rows" and g.sparse_dim():
            g = g.coalesce()
            index = tuple(g._indices())
            scatter = (index, p, *state)
            g, p, state = g._values(), p[index], [s[index] for s in state]
        else:
            g = g.to_dense()
    if not scatter and any(t.is_conj() or t.is_neg() for t in (p, *state)):
        scatter = (None, p, *state)
        p, *state = (t.resolve_conj().resolve_neg().clone() for t in (p, *state))
    if p.is_complex():
        g, p, *state = (torch.view_as_real(t.resolve_conj().resolve_neg()) for t in (g, p, *state))
    if plain(p) and fills_memory(p) and (g.stride() != p.stride() or g.is_neg()):
        g = torch.empty_like(p, dtype=g.dtype, requires_grad=False).copy_(g)
    return [g, p, *state, *others], scatter
