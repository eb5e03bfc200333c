"""Checks of hyperparameters, in torch's words where torch has them."""

from __future__ import annotations

import math
import operator
from numbers import Real
from typing import Any

from torch import Tensor


class HyperparameterTypeError(TypeError, ValueError):
    """A hyperparameter of the wrong type: torch raises TypeError, and a bad value is a ValueError."""


def number(what: str, value: Any, *, low: float = -math.inf, below: float = math.inf) -> None:
    """Refuse `value` unless it is a finite number with ``low <= value < below``, or such a 1-element tensor.

    Raises:
        ValueError: ``Invalid learning rate: -1`` (a TypeError as well if it is no number at all).

    Example:
        >>> number("momentum value", 0.9, low=0)
        >>> number("momentum value", -0.5, low=0)
        Traceback (most recent call last):
        ValueError: Invalid momentum value: -0.5
    """
    if isinstance(value, Tensor):
        if value.numel() != 1:
            raise ValueError(f"Tensor {what} must be 1-element")
        value = value.item()
    if not isinstance(value, Real):
        raise HyperparameterTypeError(f"Invalid {what}: {value!r} is a {type(value).__name__}, not a number")
    try:
        size = float(value)
    except OverflowError:
        size = math.inf
    if not (math.isfinite(size) and low <= size < below):
        raise ValueError(f"Invalid {what}: {value}")


def integer(what: str, value: Any, low: int) -> int:
    """`value` as an int, refused unless it is a whole number of at least `low`.

    Example:
        >>> integer("n", 3, low=1)
        3
        >>> integer("n", 0, low=1)
        Traceback (most recent call last):
        ValueError: n must be at least 1, got 0
    """
    try:
        whole = operator.index(value)
    except TypeError:
        whole = None
    if whole is None or isinstance(value, bool):
        raise HyperparameterTypeError(f"{what} must be an integer, got {value!r}")
    if whole < low:
        raise ValueError(f"{what} must be at least {low}, got {whole}")
    return whole


def learning_rate(value: Any) -> None:
    """Refuse a learning rate that is no finite number >= 0."""
    if isinstance(value, Tensor) and value.numel() != 1:
        raise ValueError("Tensor lr must be 1-element")
    number("learning rate", value, low=0)
