"""The torch face: every device, dtype and subclass, one tensor at a time, or a matrix rule's equal shapes together."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dlopt.engine import rounding
from dlopt.engine.stored import read, write

if TYPE_CHECKING:
    from dlopt.engine.batch import Batch


class Namespace:
    """``xp`` on tensors of one dtype; Python numbers are computed as Python numbers."""

    pi = math.pi
    abs: Any
    exp: Any
    log: Any
    sin: Any
    cos: Any
    floor: Any
    maximum: Any
    minimum: Any

    def __init__(self, dtype: torch.dtype, storage: torch.dtype) -> None:
        self.dtype, self.storage = dtype, storage
        for name in ("abs", "exp", "log", "sin", "cos", "floor", "maximum", "minimum"):
            setattr(self, name, functools.partial(self._apply, getattr(torch, name)))

    def where(self, condition: Any, a: Any, b: Any) -> Any:
        if isinstance(condition, bool):
            return a if condition else b
        return torch.where(condition, *self._tensors(condition, a, b))

    def sqrt(self, x: Any) -> Any:
        """On a CPU torch's own may be off in the last place (it is MKL's); NumPy's is not."""
        if type(x) is not Tensor or not x.is_cpu or x.requires_grad or torch.compiler.is_compiling():
            return self._apply(torch.sqrt, x)
        root = torch.empty_like(x)
        with np.errstate(invalid="ignore"):
            np.sqrt(x.numpy(), out=root.numpy())
        return root

    def sign(self, x: Any) -> Any:
        """torch's own makes 0 of NaN."""
        if not isinstance(x, Tensor):
            return math.nan if math.isnan(x) else float((x > 0) - (x < 0))
        return torch.where(x.isnan(), x, torch.sign(x))

    def stored(self, x: Tensor) -> Tensor:
        """`x` as it reads back after being written in the parameter's dtype."""
        return x.to(self.storage).to(self.dtype)

    def rounded(self, x: Tensor, r: Tensor) -> Tensor:
        """`x` rounded to the parameter's dtype by the random words `r`."""
        return rounding.rounded(x, r, self.storage)

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
    xp = namespace(batch.compute, batch.storage)
    step = batch.program.composed(xp)
    if batch.program.matrix:
        for rows in _equal_shapes(batch):
            stacks = list(map(_stacked, zip(*(read(batch, row, batch.compute) for row in rows), strict=True)))
            values = [_apart(value, stacks) for value in step(*stacks, **batch.scalars)]
            for row, *parts in zip(rows, *values, strict=True):
                write(batch, row, parts)
        return
    for i, tensors in enumerate(batch.rows()):
        wide = read(batch, tensors, batch.compute)
        if batch.stays or batch.program.norms:  # a scalar tensor would be as wide as a tensor of no dimension
            wide = [t.reshape(1) if t.dim() == 0 else t for t in wide]
        if batch.differentiable:
            wide[1] = wide[1].clone()
        scalars = batch.scalars_of(i)
        if batch.program.norms:
            quantities = batch.program.measured(xp)(*wide, **scalars)
            roots = (torch.linalg.vector_norm(q, dtype=torch.float64) for q in quantities)
            scalars |= zip(batch.program.norm_names, roots, strict=True)
        new = step(*wide, **scalars)
        if batch.differentiable:
            p, *state = new[batch.program.unscales :]
            tensors[1].copy_(p.reshape(tensors[1].shape))
            batch.replace_state(i, state)
            continue
        # a rule may return what it was given: copied, or an earlier write would change it
        write(batch, tensors, [v.clone() if any(v is t for t in tensors) else v for v in new])


def _stacked(tensors: tuple[Tensor, ...]) -> Tensor:
    """One more dimension, the first; a single tensor of torch's own classes is not copied."""
    view = tensors[0][None]
    return view if len(tensors) == 1 and type(view) is Tensor else torch.stack(tensors)


def _apart(value: Tensor, stacks: list[Tensor]) -> Tensor:
    """`value`, copied if a rule returned memory that it was given: an earlier write would change it."""
    if len(value) > 1 or type(value) is not Tensor:
        return value  # what the rule was given were copies
    memory = value.untyped_storage().data_ptr()
    return value.clone() if any(memory == s.untyped_storage().data_ptr() for s in stacks) else value


STACKED = 2**17
"""Elements: a stack is closed when it has as many, so that it fits the cache."""


def _equal_shapes(batch: Batch) -> Iterator[list[list[Tensor]]]:
    """The rows of a batch in groups of parameters of equal shape."""
    groups: dict[torch.Size, list[list[Tensor]]] = {}
    for row in batch.rows():
        shape = row[1].shape
        if not shape.numel():
            continue
        group = groups.setdefault(shape, [])
        group.append(row)
        if len(group) * shape.numel() >= STACKED:
            yield groups.pop(shape)
    yield from groups.values()
