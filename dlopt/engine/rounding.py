"""Stochastic rounding: random words that belong to an element and a step, and what they do to a number.

The words are a function of a counter and the element's place, and nothing is kept but the counter, one 64-bit number
a parameter. So they are the same on every face, for every number of threads, and after a resume.
"""

from __future__ import annotations

import torch
from torch import Tensor

MULTIPLIERS = 0x7FEB352D, 0x846CA68B
"""Of a 32-bit mix with shifts 16, 15, 16 (Wellons 2018, "lowbias32"): each bit in flips each bit out half the time."""
WIDE_MULTIPLIERS = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
"""Of a 64-bit mix with shifts 30, 27, 31 (Steele, Lea, Flood 2014, SplitMix64)."""
DROPPED = {torch.bfloat16: 16, torch.float16: 13}
"""The low bits of a float32 that its half does not keep."""
_WORD = 0xFFFFFFFF


def start(seed: int, number: int) -> int:
    """The counter of the parameter `number` before its first step: 64 bits, far from every other's.

    Example:
        >>> start(0, 0) == start(0, 1), start(0, 1) == start(1, 0)
        (False, False)
    """
    return _signed(_mix_wide(_mix_wide(seed) + 0x9E3779B97F4A7C15 * (number + 1)))


def words(counter: Tensor, size: int) -> Tensor:
    """`size` random 32-bit words, as int64, for the step at which the counter stands; one an element, in order.

    Elements 2^32 apart share a word.

    Example:
        >>> words(torch.tensor(start(0, 0)), 3).tolist()
        [854678963, 3136409581, 1662188842]
    """
    low, high = _key(counter)
    index = torch.arange(size, device=counter.device, dtype=torch.int64)
    return _mix(_mix(index + low & _WORD) ^ high)


def _key(counter: Tensor) -> tuple[Tensor, Tensor]:
    """The two 32-bit words that stand for a counter; it is not read back from its device."""
    mixed = counter
    for shift, multiplier in zip((30, 27), WIDE_MULTIPLIERS, strict=True):
        mixed = (mixed ^ _shifted(mixed, shift)) * _signed(multiplier)
    mixed = mixed ^ _shifted(mixed, 31)
    return mixed & _WORD, _shifted(mixed, 32)


def rounded(x: Tensor, r: Tensor, storage: torch.dtype) -> Tensor:
    """The float32 `x` rounded to a neighbour in `storage` at random, up as often as it lies near the upper one.

    A number that `storage` holds stays itself; NaN and the infinities stay; beyond the largest lies infinity.
    Below float16's least normal number the neighbours are equally spaced: there the sum with a number that has
    this spacing is rounded, and the number taken off again.

    Args:
        x: float32, any shape.
        r: words as :func:`words` gives, of the same shape.
        storage: bfloat16 or float16; another dtype holds every float32, and `x` comes back.

    Example:
        >>> x = torch.full((100_000,), 1 + 1 / 512)
        >>> up = rounded(x, words(torch.tensor(0), 100_000), torch.bfloat16) > 1
        >>> round(up.double().mean().item(), 2)
        0.25
    """
    if storage not in DROPPED:
        return x
    drop = DROPPED[storage]
    lift = torch.zeros_like(x)
    if storage is torch.float16:
        least = torch.finfo(torch.float16).smallest_normal
        lift = torch.where(x.abs() < least, torch.copysign(torch.full_like(x, least), x), lift)
    bits = (x + lift).view(torch.int32).to(torch.int64) & _WORD
    bits = bits + (r >> (32 - drop)) & _WORD & -1 << drop
    near = torch.copysign(_float(bits) - lift, x)
    return torch.where(x.isnan(), x, near)


def _float(bits: Tensor) -> Tensor:
    return torch.where(bits > 0x7FFFFFFF, bits - (1 << 32), bits).to(torch.int32).view(torch.float32)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ x >> 16) * MULTIPLIERS[0] & _WORD
    x = (x ^ x >> 15) * MULTIPLIERS[1] & _WORD  # int64 wraps; the low 32 bits are right
    return x ^ x >> 16


def _shifted(x: Tensor, by: int) -> Tensor:
    """`x` without its lowest bits, and zeros above, whatever its sign."""
    return x >> by & (1 << 64 - by) - 1


def _mix_wide(x: int) -> int:
    x &= 2**64 - 1
    x = (x ^ x >> 30) * WIDE_MULTIPLIERS[0] & 2**64 - 1
    x = (x ^ x >> 27) * WIDE_MULTIPLIERS[1] & 2**64 - 1
    return x ^ x >> 31


def _signed(x: int) -> int:
    return x - 2**64 if x >> 63 else x
