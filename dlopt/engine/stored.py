"""What a batch's tensors hold, as the numbers that a rule computes with, and back: for the faces without a kernel."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dlopt.engine import eight_bits, rounding

if TYPE_CHECKING:
    from dlopt.engine.batch import Batch


def read(batch: Batch, row: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """The streams of one parameter in `dtype`, random words as int64; tensors of `dtype` themselves, not copied."""
    values, scales = [], iter(row[batch.program.streams :])
    for tensor, kind in zip(row, batch.program.kinds, strict=False):
        if kind == "random":
            values.append(rounding.words(tensor, row[1].numel()).view(row[1].shape))
        elif kind:
            values.append(eight_bits.decode(tensor, next(scales), kind).to(dtype))
        else:
            values.append(tensor.to(dtype))
    return values


def write(batch: Batch, row: list[Tensor], values: Iterable[Tensor]) -> None:
    """Write the new parameter and the new state into the tensors of `row`."""
    scales = iter(row[batch.program.streams :])
    for tensor, value, kind in zip(batch.written(row), values, batch.program.kinds[1:], strict=False):
        if kind:
            value, absmax = eight_bits.encode(value, kind)
            next(scales).copy_(absmax)
        tensor.copy_(value)
