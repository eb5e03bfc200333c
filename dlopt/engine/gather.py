"""Collects a group's tensors into batches. Nothing is written here: a refusal leaves all as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain, islice, repeat
from operator import attrgetter, is_
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dlopt.engine import checks, device, faces
from dlopt.engine.batch import Batch, Clocks, Known, aligned, fills_memory, plain, uniform
from dlopt.engine.clock import Apart, Step, shared
from dlopt.engine.device import Scaling
from dlopt.engine.facts import values
from dlopt.engine.settings import Settings, next_step, next_step_on_device, settings_of
from dlopt.engine.state import coded, in_eight_bits, made

if TYPE_CHECKING:
    from dlopt.engine.optimizer import RuleOptimizer

Group = dict[str, Any]
_grad = attrgetter("grad")


@dataclass
class Pending:
    """A batch, the group it came from, and what to write into the optimizer's state just before it runs."""

    batch: Batch
    group: Group
    commit: Callable[[], None]


@dataclass
class Memory:
    """What the last step found out about a group: its settings, and the tensors of each part that goes by itself.

    There are no settings where the scalars stay on the device.
    """

    settings: Settings | None = None
    known: dict[tuple[bool, bool], Known] = field(default_factory=dict)

    def let_go(self) -> None:
        """Hold no gradients."""
        for known in self.known.values():
            if known.batch is not None:
                known.batch.streams[0] = []


def take(pending: list[Pending]) -> None:
    """Run every batch on its face. What can be refused is refused before anything is written."""
    chosen = [faces.choose(item.batch, item.group) for item in pending]
    for item in pending:
        item.batch.prepare()
    for item in pending:
        item.commit()
    for face, item in zip(chosen, pending, strict=True):
        face.run(item.batch)
        item.batch.finish()


def gather(optimizer: RuleOptimizer, group: Group, scaling: Scaling) -> list[Pending]:
    """The batches of one group for the gradients at hand, which a scaler may have scaled.

    Raises:
        RuntimeError: for a gradient or a parameter the rule cannot take.
        ValueError: for a hyperparameter that is NaN or infinite, or an engine option that became wrong.
    """
    memory = optimizer.memory.setdefault(id(group), Memory())
    held = memory.settings is not None and memory.settings.hold(group, scaling)
    if not held:
        checks.options(optimizer, group)
    params: list[Tensor] = group["params"]
    grads = list(map(_grad, params))
    if type(None) in set(map(type, grads)):
        params = [p for p, g in zip(params, grads, strict=True) if g is not None]
        grads = [g for g in grads if g is not None]
    if not params:
        return []
    if not held:
        stays = device.wanted(optimizer, group, scaling.skip is not None)
        memory.settings = None if stays else settings_of(optimizer, group, scaling)
    known, memory.known = memory.known, {}
    parts: dict[tuple[bool, bool], tuple[list[Tensor], list[Tensor]]] = {}
    if group["optim_bits"] == 8 or optimizer.vector_rule:
        for p, g in zip(params, grads, strict=True):
            some = parts.setdefault((_flat(optimizer, p), in_eight_bits(group, p)), ([], []))
            some[0].append(p)
            some[1].append(g)
    else:
        parts[False, False] = params, grads
    return [
        item
        for kind, (params, grads) in parts.items()
        for item in _at_once(optimizer, group, params, grads, scaling, memory, known.get(kind), *kind)
        or _one_by_one(optimizer, group, params, grads, scaling, memory.settings)
    ]


def _flat(optimizer: RuleOptimizer, p: Tensor) -> bool:
    """Whether `p` is taken by the rule for what is no matrix."""
    return optimizer.vector_rule is not None and p.dim() < 2


def _at_once(
    optimizer: RuleOptimizer,
    group: Group,
    params: list[Tensor],
    grads: list[Tensor],
    scaling: Scaling,
    memory: Memory,
    before: Known | None,
    flat: bool,
    eight: bool,
) -> list[Pending] | None:
    """The usual case: every parameter has taken the same steps and all tensors are alike, as they were `before`."""
    if optimizer.sparse_only:
        return None
    settings = memory.settings
    entries = _entries(optimizer, params, before.first if before else 0)
    clocks: Clocks = {}
    try:
        if settings is None:  # the scalars stay on the device
            step = next_step_on_device(optimizer, group, entries, params[0].device, scaling, False, flat, eight)
        elif before and before.step and before.settings is settings:
            step = before.step
        else:
            clock, clocks = shared(optimizer, entries, before.clocks if before else {})
            step = next_step(optimizer, group, settings, clock, False, flat, eight)
            step.bases = {key: base for key, (_, base) in clocks.items()}
        olds = chain(before.streams[1:] if before else (), repeat([]))
        streams = [grads, params, *(values(entries, key, old) for key, old in zip(step.keys, olds, strict=False))]
        known, found = uniform(streams, before, 2 if optimizer.matrix else 1 + step.program.outputs)
    except (AttributeError, KeyError, TypeError, Apart):  # not the usual case: looked at one by one
        return None
    if known is None or found is None:
        return None
    batch, lasting = known.batch, settings is not None and settings.lasting and not group["differentiable"]
    if lasting and batch is not None and batch.takes(step.program, found):
        batch.renew(step.scalars, streams, found)
    elif any(coded(s[0]) != bool(k) for s, k in zip(streams[2:], step.program.kinds[2:], strict=False)):
        return None
    else:
        batch = Batch(
            step.program, step.scalars, streams, True, group["differentiable"], entries, step.keys,
            known=known, grads=found, skip=step.skip,
        )  # fmt: skip
        known.batch = batch if lasting else None
    if known is not before and step.keys:
        known.first = next(k for k, p in enumerate(optimizer.state) if p is params[0])
    memory.known[flat, eight] = known
    known.clocks, known.settings = clocks, settings
    known.step = step if lasting and not step.clock else None
    return [Pending(batch, group, lambda: step.commit(entries))]


def _entries(optimizer: RuleOptimizer, params: list[Tensor], first: int) -> list[Any]:
    """The state of `params`, None where there is none. To look a tensor up takes 200 ns, to pass by it 15.

    As a rule they stand side by side in the optimizer's state, `first` entries from its beginning. Where that is far,
    to pass by all before them takes longer.
    """
    place = first, first + len(params)
    found = list(islice(optimizer.state.values(), *place)) if first < 8 * len(params) else []
    if len(found) == len(params) and all(map(is_, islice(optimizer.state, *place), params)):
        return found
    return list(map(optimizer.state.get, params))


def _one_by_one(
    optimizer: RuleOptimizer,
    group: Group,
    params: list[Tensor],
    grads: list[Tensor],
    scaling: Scaling,
    settings: Settings | None,
) -> list[Pending]:
    """Every other case: parameters are sorted into batches of their like."""
    initial = optimizer.clock_keys()
    stays, steps = settings is None, dict[Any, Step]()
    sorts: dict[Any, list[tuple[Tensor, dict[str, Any], list[Tensor], tuple[Any, ...]]]] = {}
    for p, g in zip(params, grads, strict=True):
        checks.tensors(optimizer, p, g)
        if group["differentiable"] and (p.is_complex() or g.is_sparse):
            raise RuntimeError("`differentiable` supports neither complex parameters nor sparse gradients")
        entry = {key: value for key, value in optimizer.state.get(p, {}).items() if value is not None}
        clock = tuple(entry[key].item() if key in entry and not stays else initial[key] for key in initial)
        first = not all(key in entry for key in optimizer.state_keys.values())
        kind = clock, first, _flat(optimizer, p), in_eight_bits(group, p)
        if kind not in steps:
            place = p.device if stays else None
            found = settings or settings_of(optimizer, group, scaling, place)
            steps[kind] = next_step(optimizer, group, found, clock, *kind[1:], place)
        step = steps[kind]
        for key in step.clock:
            entry.setdefault(
                key, torch.tensor(initial[key], dtype=torch.float32 if key == "step" else torch.float64, device="cpu")
            )
        entry |= made(optimizer, group, step.program, p, entry)
        row, scatter = gathered_row(optimizer, group, step, p, g, [entry[key] for key in step.keys])
        alike = (kind, tuple(t.dtype for t in row), p.device, aligned(row, 1 + step.program.outputs), scatter[:1])
        sorts.setdefault(alike, []).append((p, entry, row, scatter))
    pending = []
    for (kind, _, _, dense, _), members in sorts.items():
        step, entries = steps[kind], [entry for _, entry, _, _ in members]
        if stays:
            step = next_step_on_device(optimizer, group, entries, members[0][0].device, scaling, *kind[1:])
        streams = [list(stream) for stream in zip(*(row for _, _, row, _ in members), strict=True)]
        back = [scatter for *_, scatter in members if scatter]
        batch = Batch(step.program, step.scalars, streams, dense, group["differentiable"], entries, step.keys, back)
        batch.skip = step.skip
        commit = _attach(optimizer, step, [p for p, *_ in members], entries, streams[0], scaling)
        pending.append(Pending(batch, group, commit))
    return pending


def _attach(
    optimizer: RuleOptimizer,
    step: Step,
    params: list[Tensor],
    entries: list[dict[str, Any]],
    grads: list[Tensor],
    scaling: Scaling,
) -> Any:
    def commit() -> None:
        for i, (p, g) in enumerate(zip(params, grads, strict=True)):
            if scaling.scale is not None and _memory(p.grad) != g.data_ptr():  # or the step itself divides it
                p.grad = torch.div(p.grad, scaling.scale)  # type: ignore[arg-type]
            if entries[i]:  # a parameter without state gets no entry, as with torch
                live = optimizer.state[p]
                live.update(entries[i])
                entries[i] = live
        step.commit(entries)

    return commit


def _memory(grad: Any) -> int:
    return (grad._values() if grad.is_sparse else grad).data_ptr()


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
        how, name = optimizer.sparse(group), type(optimizer).__name__
        if how is None:
            raise RuntimeError(f"{name} does not support sparse gradients, please consider dlopt.SparseAdam instead")
        if group.get("weight_decay", 0) != 0:
            raise RuntimeError("weight_decay touches every element: it cannot be used with sparse gradients")
        if how == "rows" and g.sparse_dim() and step.program.coded:
            raise RuntimeError("rows of a sparse gradient cut through the blocks of 8-bit state: set optim_bits=32")
        if how == "rows" and step.program.norms:
            raise RuntimeError(f"{name} takes the norm of the whole tensor: sparse(group) must say 'dense', not 'rows'")
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
