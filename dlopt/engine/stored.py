"""What a batch's tensors hold, as the numbers that a rule computes with, and back: for the faces without a kernel."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dlopt.engine import rounding

if TYPE_CHECKING:
    from dlopt.engine.batch import Batch


def read(batch: Batch, row: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """The streams of one parameter in `dtype`, random words as int64; tensors of `dtype` themselves, not copied."""
    values = []
    for tensor, kind in zip(row, batch.program.kinds, strict=True):
        if kind == "random":
            values.append(rounding.words(tensor, row[1].numel()).view(row[1].shape))
        else:
            values.append(tensor.to(dtype))
    return values


def write(batch: Batch, row: list[Tensor], values: Iterable[Tensor]) -> None:
    """Write the new parameter and the new state into the tensors of `row`."""
    for tensor, value in zip(batch.written(row), values, strict=True):
        tensor.copy_(value)
