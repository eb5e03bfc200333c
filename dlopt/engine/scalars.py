"""Functions of scalars: what depends on the step only, computed on the host in float64."""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from dlopt.engine.faces.torch import namespace
from dlopt.engine.rule import Rule, rule_of, with_namespace

_names = functools.cache(lambda rule: [ast.unparse(node) for node in rule.returns])


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
    rule = rule_of(function, also=frozenset({"**"}))
    if any(isinstance(value, torch.Tensor) for value in (*arguments, *scalars.values())):
        recorded = with_namespace(function, namespace(torch.float64, torch.float64))
        found = recorded(*arguments, **{name: scalars[name] for name in rule.scalars})
        return dict(zip(_names(rule), found if isinstance(found, tuple) else (found,), strict=True))
    if _plain(rule):  # Python's numbers are quicker, and the same where Python has one
        try:
            found = function(*map(float, arguments), **{name: float(scalars[name]) for name in rule.scalars})
        except (ZeroDivisionError, OverflowError, TypeError):
            pass
        else:
            values = found if isinstance(found, tuple) else (found,)
            if not any(isinstance(value, complex) for value in values):
                return dict(zip(_names(rule), map(float, values), strict=True))
    with np.errstate(all="ignore"):
        values = function(*map(np.float64, arguments), **{name: np.float64(scalars[name]) for name in rule.scalars})
    values = values if isinstance(values, tuple) else (values,)
    return {name: float(value) for name, value in zip(_names(rule), values, strict=True)}
