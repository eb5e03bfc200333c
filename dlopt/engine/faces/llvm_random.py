"""Stochastic rounding as LLVM's instructions: the functions of :mod:`dlopt.engine.rounding`, bit for bit."""

from __future__ import annotations

from typing import Any

import torch

from dlopt.engine.rounding import DROPPED, MULTIPLIERS, WIDE_MULTIPLIERS

Key = tuple[Any, Any]


def random_key(b: Any, address: Any) -> Key:
    """The two words made of the counter at `address`."""
    from llvmlite import ir

    i64, word = ir.IntType(64), ir.IntType(32)
    mixed = _mix(b, b.load(address, typ=i64), (30, 27, 31), WIDE_MULTIPLIERS)
    return b.trunc(mixed, word), b.trunc(b.lshr(mixed, i64(32)), word)


def random_word(b: Any, key: Key, index: Any) -> Any:
    """The word of the element `index`, an i64."""
    from llvmlite import ir

    place = b.add(b.trunc(index, ir.IntType(32)), key[0])
    return _mix(b, b.xor(_mix(b, place, (16, 15, 16), MULTIPLIERS), key[1]), (16, 15, 16), MULTIPLIERS)


def _mix(b: Any, x: Any, shifts: tuple[int, ...], multipliers: tuple[int, int]) -> Any:
    for shift, multiplier in zip(shifts, multipliers, strict=False):
        x = b.mul(b.xor(x, b.lshr(x, x.type(shift))), x.type(multiplier))
    return b.xor(x, b.lshr(x, x.type(shifts[-1])))


def rounded(b: Any, x: Any, r: Any, storage: torch.dtype) -> Any:
    """The float32 `x` rounded to `storage` by the word `r`."""
    if storage not in DROPPED:
        return x
    from llvmlite import ir

    word, real, drop = ir.IntType(32), ir.FloatType(), DROPPED[storage]
    sign = b.and_(b.bitcast(x, word), word(1 << 31))
    lift = real(0.0)
    if storage is torch.float16:
        least = torch.finfo(torch.float16).smallest_normal
        size = b.bitcast(b.xor(b.bitcast(x, word), sign), real)
        signed = b.bitcast(b.or_(b.bitcast(real(least), word), sign), real)
        lift = b.select(b.fcmp_ordered("<", size, real(least)), signed, lift)
        bits = b.bitcast(b.fadd(x, lift), word)
    else:
        bits = b.bitcast(x, word)
    bits = b.and_(b.add(bits, b.lshr(r, word(32 - drop))), word(2**32 - (1 << drop)))
    if storage is torch.float16:
        bits = b.bitcast(b.fsub(b.bitcast(bits, real), lift), word)
    near = b.bitcast(b.or_(b.and_(bits, word(2**31 - 1)), sign), real)
    return b.select(b.fcmp_unordered("uno", x, x), x, near)
