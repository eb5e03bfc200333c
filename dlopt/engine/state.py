"""What a parameter's state is made of: its keys, its dtypes, what it begins as, and in which form it is kept."""

from __future__ import annotations

import functools
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dlopt.engine import eight_bits, rounding
from dlopt.engine.batch import computing
from dlopt.engine.matrix import MatrixRule
from dlopt.engine.program import Program
from dlopt.engine.rule import Rule
from dlopt.engine.writing import COUNTER, MASTER, WRITER_STATE

if TYPE_CHECKING:
    from dlopt.engine.optimizer import RuleOptimizer

Group = dict[str, Any]


def program_of(
    optimizer: RuleOptimizer, group: Group, rule: Rule | MatrixRule, before: tuple[str, ...], eight: bool
) -> Program:
    """The program of a step or a move; `eight`: the states that can be are stored in 8 bits."""
    codes = tuple(optimizer.quantized.get(symbol) for symbol in rule.elements[2:]) if eight else ()
    return _program(rule, before, group["writing"], codes if any(codes) else (), optimizer.norms_of(rule.function))


_program = functools.cache(Program)  # what it says of itself is worked out once, not at every step


def keys_of(optimizer: RuleOptimizer, program: Program) -> tuple[str, ...]:
    """The state keys of a program's streams after the second."""
    keys = [optimizer.state_keys[symbol] for symbol in program.rule.elements[2:]]
    scales = [absmax_key(keys[k - 2]) for k in program.coded]
    return (*keys, *WRITER_STATE[program.writer].values(), *scales)


def absmax_key(key: str) -> str:
    """The state key of the blocks' largest magnitudes for the state `key`."""
    return f"{key}_absmax"


def in_eight_bits(group: Group, p: Tensor) -> bool:
    """Whether those states of `p` that can be are kept in 8 bits: not of a small or a complex parameter."""
    return group["optim_bits"] == 8 and p.numel() >= eight_bits.SMALLEST and not p.is_complex()


def coded(state: Tensor) -> bool:
    """Whether `state` is in 8 bits."""
    return state.dtype is torch.uint8


def made(
    optimizer: RuleOptimizer, group: Group, program: Program, p: Tensor, entry: dict[str, Any]
) -> dict[str, Tensor | None]:
    """The state that `program` wants of `p`, and `entry` lacks or has in the other of float32 and 8 bits."""
    new: dict[str, Tensor | None] = {}
    for symbol, kind in zip(program.rule.elements[2:], program.kinds[2:], strict=False):
        key = optimizer.state_keys[symbol]
        value = entry[key] if key in entry else new_state(optimizer, group, symbol, p)
        if coded(value) != bool(kind):
            new |= recoded(optimizer, symbol, p, value, entry.get(absmax_key(key)))
        elif key not in entry:
            new[key] = value
    for key in WRITER_STATE[program.writer].values():
        if key not in entry:
            new[key] = writer_state(optimizer, group, key, p)
    return new


def recoded(
    optimizer: RuleOptimizer, symbol: str, p: Tensor, value: Tensor, absmax: Tensor | None
) -> dict[str, Tensor | None]:
    """The state `symbol` of `p`: out of 8 bits if `value` is in them, else in 8 bits."""
    key, kind = optimizer.state_keys[symbol], optimizer.quantized[symbol]
    if coded(value):
        assert absmax is not None, f"{key} is in 8 bits, and there is no {absmax_key(key)}"
        return {key: eight_bits.decode(value, absmax, kind).to(state_dtype(p)), absmax_key(key): None}
    codes, absmax = eight_bits.encode(value, kind)
    return {key: zeros_like(p, torch.uint8).copy_(codes), absmax_key(key): absmax}


def new_state(optimizer: RuleOptimizer, group: Group, symbol: str, p: Tensor) -> Tensor:
    """The state `symbol` of the parameter `p` before its first step."""
    shape, start = optimizer.state_shape(symbol, p), optimizer.initial(group, symbol, p)
    if shape == p.shape:
        zeros = zeros_like(p, state_dtype(p))
        return zeros.copy_(start) if isinstance(start, Tensor) else zeros.fill_(start)
    return torch.full(shape, start, dtype=state_dtype(p), device=p.device)


def writer_state(optimizer: RuleOptimizer, group: Group, key: str, p: Tensor) -> Tensor:
    """The state `key` of the writer for the parameter `p` before its first step."""
    if key == COUNTER:
        params = chain.from_iterable(g["params"] for g in optimizer.param_groups)
        number = next(i for i, q in enumerate(params) if q is p)
        return torch.tensor(rounding.start(group["seed"], number), dtype=torch.int64, device=p.device)
    if key == MASTER:
        return zeros_like(p, state_dtype(p)).copy_(p.detach())
    return zeros_like(p, p.dtype)


def state_dtype(p: Tensor) -> torch.dtype:
    """The dtype of a rule's state for the parameter `p`: float32 or wider, complex for complex."""
    wide = computing(p.dtype)
    return wide.to_complex() if p.is_complex() else wide


def zeros_like(p: Tensor, dtype: torch.dtype) -> Tensor:
    """Zeros with the shape and the order in memory of `p`."""
    return torch.zeros_like(p, dtype=dtype, memory_format=torch.preserve_format, requires_grad=False)
