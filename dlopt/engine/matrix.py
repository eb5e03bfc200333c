"""Rules that need more than element by element: norms of rows, products of matrices. Written in torch.

A matrix rule has the signature of every rule, ``(g, p, *state, *, scalars) -> (change, *new state)``, and like
every rule it writes nothing. Its tensors are stacks: the first dimension counts parameters of equal shape, which
are computed together. It runs on the torch face only.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False)  # there is one of each: see matrix_rule
class MatrixRule:
    """A function of stacked tensors: ``elements`` are its positional arguments, ``scalars`` its keyword-only ones."""

    function: Callable[..., Any]
    elements: tuple[str, ...]
    scalars: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.function.__name__


@functools.cache
def matrix_rule(function: Callable[..., Any]) -> MatrixRule:
    """`function` as a matrix rule.

    Raises:
        TypeError: if its arguments do not begin with g and p, or one has a default.

    Example:
        >>> def unit(g, p, *, lr):
        ...     return -lr * g / g.norm(dim=(-2, -1), keepdim=True)
        >>> matrix_rule(unit).scalars
        ('lr',)
    """
    parameters = inspect.signature(function).parameters.values()
    elements = tuple(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)
    scalars = tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)
    plain = len(elements) + len(scalars) == len(parameters) and all(p.default is p.empty for p in parameters)
    if elements[:2] != ("g", "p") or not plain:
        raise TypeError(f"{function.__name__}: a matrix rule takes g, p, its state, and after a * its scalars")
    return MatrixRule(function, elements, scalars)
