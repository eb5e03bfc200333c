"""What every fused face asks of a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from dlopt.engine.batch import Batch


def unfit(batch: Batch, device: str, dtypes: tuple[torch.dtype, ...]) -> str | None:
    """Why no kernel for tensors of `dtypes` on a `device` can take `batch`; None if one can."""
    if batch.program.matrix:
        return "a matrix rule runs on the torch face"
    if batch.device.type != device:
        return f"it runs on {device.upper()} tensors, not on {batch.device.type}"
    if not batch.dense:
        if set(batch.program.kinds) != {None}:  # subclasses were refused when the rows were gathered
            return "stochastic rounding and 8-bit state need contiguous parameters: they go by the order of elements"
        return "it needs plain strided tensors, not subclasses"
    if not set(batch.dtypes) <= set(dtypes):
        return f"it takes {', '.join(map(str, dtypes))}, not {batch.storage}"
    if not batch.memory().distinct:
        return "two parameters share one place in memory, or one has none"
    return "it does not record gradients" if batch.differentiable else None


def mixed(batch: Batch) -> str | None:
    """Why the dtypes of `batch` do not go together; None if they do."""
    if batch.compute is torch.float32 and torch.float64 in batch.dtypes:
        return f"a float64 gradient or state beside {batch.storage} parameters is not compiled"
    return None
