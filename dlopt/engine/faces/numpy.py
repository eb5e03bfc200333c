"""The NumPy face: the reference. Its float64 namespace is also the ``xp`` of a rule called by hand."""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dlopt.engine import rounding
from dlopt.engine.norms import norms, partial
from dlopt.engine.stored import read, write

if TYPE_CHECKING:
    from dlopt.engine.batch import Batch


class Namespace:
    """``xp`` on NumPy arrays of one dtype. Python numbers stay Python numbers, so that NEP 50 casts them late."""

    pi = float(np.pi)
    sqrt: Any
    abs: Any
    sign: Any
    exp: Any
    log: Any
    sin: Any
    cos: Any
    floor: Any
    maximum: Any
    minimum: Any

    def __init__(self, dtype: Any = np.float64, storage: torch.dtype = torch.float64) -> None:
        self.dtype, self.storage = np.dtype(dtype), storage
        for name in ("sqrt", "abs", "sign", "exp", "log", "sin", "cos", "floor", "maximum", "minimum"):
            setattr(self, name, functools.partial(_apply, getattr(np, name)))

    def where(self, condition: Any, a: Any, b: Any) -> Any:
        if isinstance(condition, (bool, np.bool_)):
            return a if condition else b
        return np.where(condition, self._typed(a), self._typed(b))

    def stored(self, x: Any) -> Any:
        """`x` as it reads back after being written in the parameter's dtype."""
        return array(torch.from_numpy(np.asarray(x)).to(self.storage), self.dtype)

    def rounded(self, x: Any, r: Any) -> Any:
        """`x` rounded to the parameter's dtype by the random words `r`."""
        return rounding.rounded(torch.from_numpy(np.asarray(x)), torch.from_numpy(r), self.storage).numpy()

    def _typed(self, x: Any) -> Any:
        return self.dtype.type(x) if isinstance(x, (int, float)) else x


class Number(float):
    """A Python number that divides as IEEE 754 says: a norm may be zero. Beside an array it is a Python number."""

    __array_ufunc__ = None  # NumPy would take it for a float64, and make float64 of what it meets
    __hash__ = float.__hash__

    def __neg__(self) -> Number:
        return Number(-float(self))


def _ieee(function: Any) -> Any:
    def apply(a: Any, b: Any) -> Any:
        if not {type(a), type(b)} <= _NUMBERS:
            return function(*map(_plain, (a, b)))
        result = function(np.float64(a), np.float64(b))
        return Number(result) if isinstance(result, np.floating) else bool(result)

    return apply


for _name in ("add", "sub", "mul", "truediv", "lt", "le", "gt", "ge", "eq", "ne"):
    _function = getattr(operator, _name)
    setattr(Number, f"__{_name}__", _ieee(_function))
    if _name in ("add", "sub", "mul", "truediv"):
        setattr(Number, f"__r{_name}__", _ieee(lambda a, b, function=_function: function(b, a)))
_NUMBERS = {int, float, Number}


def _plain(x: Any) -> Any:
    return float(x) if type(x) is Number else x


def _apply(function: Any, *arguments: Any) -> Any:
    result, types = function(*map(_plain, arguments)), set(map(type, arguments))
    if types <= _NUMBERS:
        return Number(result) if Number in types else float(result)
    return result


namespace = functools.cache(Namespace)
xp = namespace(np.float64, torch.float64)


def array(tensor: torch.Tensor, dtype: Any) -> np.ndarray:
    """A copy of `tensor` as an array of `dtype`."""
    wide = torch.float64 if np.dtype(dtype) == np.float64 else torch.float32
    return tensor.detach().to(device="cpu", dtype=wide, copy=True).numpy()


def refuses(batch: Batch) -> str | None:
    """Why this face cannot take `batch`; None if it can."""
    if batch.program.matrix:
        return "a matrix rule runs on the torch face"
    if batch.stays:
        return "it takes its scalars from the host, and they stay on the device"
    return "it does not record gradients" if batch.differentiable else None


def run(batch: Batch) -> None:
    """Apply one step to every tensor of `batch`."""
    dtype = np.float64 if batch.compute is torch.float64 else np.float32
    step = batch.program.composed(namespace(dtype, batch.storage))
    measure = batch.program.measured(namespace(dtype, batch.storage)) if batch.program.norms else None
    with np.errstate(all="ignore"):
        for tensors in batch.rows():
            arrays = [
                t.resolve_neg().cpu().numpy().copy() for t in read(batch, [t.detach() for t in tensors], batch.compute)
            ]
            scalars = dict(batch.scalars)
            if measure:
                partials = np.stack([partial(q) for q in measure(*arrays, **scalars)], axis=1)
                roots = map(Number, norms(partials, [tensors[1].numel()])[0])
                scalars |= zip(batch.program.norm_names, roots, strict=True)
            new = step(*arrays, **scalars)
            write(batch, tensors, [torch.from_numpy(np.asarray(value, dtype)) for value in new])
