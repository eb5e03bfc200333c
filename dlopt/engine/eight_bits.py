"""State in 8 bits: blockwise dynamic quantization (Dettmers et al. 2022, arXiv:2110.02861, section 2).

A tensor is cut into blocks of 256 elements, in the order of ``reshape(-1)``. A block keeps its largest magnitude in
float32, and of each element one byte: the place, in a map of 256 numbers from -1 or 0 to 1, of the number nearest to
the element's share of the largest. The map is denser near 0, with seven decades. 1 + 4/256 bytes an element.

But in the unsigned map only 0 becomes 0: a second moment that did, beside a first moment that did not, would be a
division by nearly nothing. A code is found by float32 arithmetic, each operation rounded as IEEE 754 says, so that a
compiled loop can do the same for many elements at once, to the same bits.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

BLOCK = 256
SMALLEST = 4096
"""Elements: a smaller tensor keeps its state in float32."""
KINDS = ("signed", "unsigned")
NINTH, BELOW_TWO = np.float32(8 / 9), np.nextafter(np.float32(2), np.float32(0))


@functools.cache
def dynamic_map(kind: str) -> np.ndarray:
    """The 256 numbers that codes stand for, rising, float32.

    The decade from 10^(k-7) to 10^(k-6) holds the middles of 2^k equal parts, k = 0 to 6, with both signs; in the
    unsigned map, which has none, of 2^(k+1). 0 and 1 complete both.

    Args:
        kind: ``"signed"``, or ``"unsigned"`` for state that is never negative.

    Example:
        >>> dynamic_map("unsigned")[[0, 1, 2, 255]].tolist()
        [0.0, 3.250000020216248e-07, 7.749999895168003e-07, 1.0]
    """
    values = [0.0, 1.0]
    for k in range(7):
        edges = np.linspace(0.1, 1, 2 ** (k + (kind == "unsigned")) + 1)
        middles = 10.0 ** (k - 6) * (edges[:-1] + edges[1:]) / 2
        values += [*middles, *(-middles if kind == "signed" else ())]
    return np.sort(np.array(values)).astype(np.float32)


@functools.cache
def levels(kind: str) -> np.ndarray:
    """Where zero, the seven decades and 1 begin among the sizes, and what a size is multiplied by there.

    Two rows of nine, float32. A level begins in the middle between its first number and the last below; but above 0
    at the very next number if unsigned. ``size * factor + 8/9``, cut to [1, 2), is the place in a decade.
    """
    values = dynamic_map(kind).astype(np.float64)
    values = values[values >= 0]
    first = 2 ** np.arange(8) if kind == "signed" else 2 ** np.arange(1, 9) - 1
    begins = (values[first] + values[first - 1]) / 2
    if kind == "unsigned":
        begins[0] = np.finfo(np.float32).smallest_subnormal
    factors = [0, *(10.0 ** (6 - np.arange(7)) / 0.9), 0]
    return np.array([[0, *begins], factors]).astype(np.float32)


def encode(x: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    """`x` as codes and the largest magnitude of each block.

    A block with a NaN or an infinity becomes that as a whole.

    Args:
        x: floating-point, any shape; taken to float32 first.
        kind: of the map.

    Returns:
        uint8 codes of the shape of `x`, and float32 of shape ``(ceil(x.numel() / 256),)``.

    Example:
        >>> codes, absmax = encode(torch.tensor([0.0, 0.5, 2.0, -1e-4]), "signed")
        >>> codes.tolist(), absmax.tolist()
        ([127, 201, 255, 122], [2.0])
    """
    flat = x.reshape(-1).to(torch.float32)
    blocks = torch.nn.functional.pad(flat, (0, -flat.numel() % BLOCK)).view(-1, BLOCK)
    absmax = blocks.abs().amax(1) if len(blocks) else blocks.new_empty(0)
    share = blocks / torch.where(absmax > 0, absmax, 1.0)[:, None]
    share = torch.where(absmax[:, None] < float("inf"), share, 1.0)
    codes = _codes(share, kind).to(torch.uint8)
    return codes.view(-1)[: flat.numel()].view(x.shape), absmax


def _codes(share: Tensor, kind: str) -> Tensor:
    """The code is 127 and the rank of the size, with the sign, or in the unsigned map the rank less 1.

    A decade's ranks are an octave's whole numbers: 2^n times a number in [1, 2), cut to a whole one.
    """
    begins, factors = on(levels, kind, share.device)
    size = share.abs()
    level = torch.bucketize(size, begins[1:], right=True)
    place = (size * factors[level] + NINTH.item()).clamp(1, BELOW_TWO.item())
    rank = torch.ldexp(place, level - int(kind == "signed")).to(torch.int32)
    if kind == "unsigned":
        return rank - 1
    return 127 + torch.where(share < 0, -rank.clamp(max=127), rank)


def decode(codes: Tensor, absmax: Tensor, kind: str) -> Tensor:
    """The float32 numbers that `codes` stand for.

    Example:
        >>> decode(*encode(torch.tensor([0.0, 0.5, 2.0]), "signed"), "signed").tolist()
        [0.0, 0.49531251192092896, 2.0]
    """
    scale = absmax.repeat_interleave(BLOCK)[: codes.numel()].view(codes.shape)
    return on(dynamic_map, kind, codes.device)[codes.to(torch.int64)] * scale


def blocks(size: int) -> int:
    """How many blocks `size` elements take."""
    return -(-size // BLOCK)


@functools.cache
def on(table: object, kind: str, device: torch.device) -> Tensor:
    """The `table` of a map, :func:`dynamic_map` or :func:`levels`, on a device, where it stays."""
    return torch.from_numpy(table(kind)).to(device)  # type: ignore[operator]
