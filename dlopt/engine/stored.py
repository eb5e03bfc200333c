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
    """Write the new parameter and the new state into the tensors of `row`, unless the batch is to be skipped."""
    scales = iter(row[batch.program.streams :])
    kinds = batch.written(list(batch.program.kinds))
    for tensor, value, kind in zip(batch.written(row), values, kinds, strict=True):
        value = value if value.shape == tensor.shape else value.reshape(tensor.shape)
        if kind:
            value, absmax = eight_bits.encode(value, kind)
            _put(batch, next(scales), absmax)
        _put(batch, tensor, value)


def _put(batch: Batch, tensor: Tensor, value: Tensor) -> None:
    tensor.copy_(value if batch.skip is None else torch.where(batch.skip, tensor, value))
