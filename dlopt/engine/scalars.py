"""Hyperparameters as numbers, and functions of scalars: what depends on the step only, on the host in float64."""

from __future__ import annotations

import ast
import functools
import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlopt.engine import device
from dlopt.engine.faces.torch import namespace
from dlopt.engine.rule import Rule, rule_of, with_namespace

_names = functools.cache(lambda rule: [ast.unparse(node) for node in rule.returns])
_NUMBERS = {float, int, bool}
_WIDER = frozenset({"**"})


@functools.cache
def _plain(rule: Rule) -> bool:
    """Whether a function does arithmetic only, in which a complex number would reach the end as one."""
    nodes = [node for statement in rule.body for node in ast.walk(statement)]
    return not any(isinstance(node, (ast.Call, ast.Compare)) for node in nodes)


def evaluate(function: Callable[..., Any], *arguments: Any, **scalars: Any) -> dict[str, Any]:
    """Run a function of scalars on the host in float64 and return its results by name.

    A scalar that is a tensor, because its derivative is wanted or it stays on the device, makes tensors of what
    depends on it; a vector holds a value a parameter.

    Division by zero and overflow give inf or NaN, as IEEE 754 says, not an exception.
    """
    rule = rule_of(function, also=_WIDER)
    names = _names(rule)
    scalars = {name: scalars[name] for name in rule.scalars}
    kinds = {*map(type, arguments), *map(type, scalars.values())}
    if kinds <= _NUMBERS and _plain(rule):  # Python's numbers are quicker, and the same where Python has one
        try:
            found = function(*map(float, arguments), **dict(zip(scalars, map(float, scalars.values()), strict=True)))
        except (ZeroDivisionError, OverflowError, TypeError):
            pass
        else:
            values = found if type(found) is tuple else (found,)
            if complex not in map(type, values):
                return dict(zip(names, map(float, values), strict=True))
    if any(issubclass(kind, Tensor) for kind in kinds):
        recorded = with_namespace(function, namespace(torch.float64, torch.float64))
        found = recorded(*arguments, **scalars)
        return dict(zip(names, found if isinstance(found, tuple) else (found,), strict=True))
    with np.errstate(all="ignore"):
        values = function(*map(np.float64, arguments), **{name: np.float64(value) for name, value in scalars.items()})
    values = values if isinstance(values, tuple) else (values,)
    return {name: float(value) for name, value in zip(names, values, strict=True)}


_AS_THEY_ARE = {type(None), bool, str, tuple, list}


def plain_value(name: str, value: Any, place: torch.device | None = None) -> Any:
    """A hyperparameter as a float; a tensor that requires grad stays one, for ``differentiable=True``.

    If there is a `place`, a device, every tensor stays one, there.
    """
    if type(value) in _AS_THEY_ARE or type(value) is float and -math.inf < value < math.inf:  # the usual cases
        return value
    if isinstance(value, Tensor):
        if place is not None:
            return device.number(value, place)
        if value.requires_grad and torch.is_grad_enabled():
            return value.squeeze()
        value = value.item()
    if isinstance(value, Real) and not isinstance(value, bool):
        value = float(value)
        if not math.isfinite(value):
            raise ValueError(f"Invalid {name}: {value}")
    return value
