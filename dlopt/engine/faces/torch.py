"""The torch face: every device, dtype and tensor subclass, one tensor at a time."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from dlopt.engine.batch import Batch


class Namespace:
    """``xp`` on tensors of one dtype; Python numbers are computed as Python numbers."""

    pi = math.pi
    sqrt: Any
    abs: Any
    exp: Any
    log: Any
    sin: Any
    cos: Any
    maximum: Any
    minimum: Any

    def __init__(self, dtype: torch.dtype, storage: torch.dtype) -> None:
        self.dtype, self.storage = dtype, storage
        for name in ("sqrt", "abs", "exp", "log", "sin", "cos", "maximum", "minimum"):
            setattr(self, name, functools.partial(self._apply, getattr(torch, name)))

    def where(self, condition: Any, a: Any, b: Any) -> Any:
        if isinstance(condition, bool):
            return a if condition else b
        return torch.where(condition, *self._tensors(condition, a, b))

    def sign(self, x: Any) -> Any:
        """torch's own makes 0 of NaN."""
        if not isinstance(x, Tensor):
            return math.nan if math.isnan(x) else float((x > 0) - (x < 0))
        return torch.where(x.isnan(), x, torch.sign(x))

    def stored(self, x: Tensor) -> Tensor:
        """`x` as it reads back after being written in the parameter's dtype."""
        return x.to(self.storage).to(self.dtype)

    def _apply(self, function: Any, *arguments: Any) -> Any:
        like = next((a for a in arguments if isinstance(a, Tensor)), None)
        if like is None:
            return function(*(torch.tensor(float(a), dtype=torch.float64) for a in arguments)).item()
        return function(*self._tensors(like, *arguments))

    def _tensors(self, like: Tensor, *values: Any) -> list[Tensor]:
        return [
            v if isinstance(v, Tensor) else torch.scalar_tensor(v, dtype=self.dtype, device=like.device) for v in values
        ]


namespace = functools.cache(Namespace)


def refuses(batch: Batch) -> str | None:
    """Why this face cannot take `batch`: there is no such reason."""
    return None


def run(batch: Batch) -> None:
    """Apply one step to every tensor of `batch`."""
    step = batch.program.composed(namespace(batch.compute, batch.storage))
    for i, tensors in enumerate(batch.rows()):
        wide = [t.to(batch.compute) for t in tensors]
        if batch.differentiable:
            wide[1] = wide[1].clone()
        new = step(*wide, **batch.scalars)
        if batch.differentiable:
            tensors[1].copy_(new[0])
            batch.replace_state(i, new[1:])
            continue
        # a rule may return what it was given: copied, or an earlier write would change it
        new = tuple(v.clone() if any(v is t for t in tensors) else v for v in new)
        for tensor, value in zip(batch.written(tensors), new, strict=True):
            tensor.copy_(value)
