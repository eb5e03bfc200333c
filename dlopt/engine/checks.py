"""Checks of hyperparameters, in torch's words where torch has them."""

from __future__ import annotations

import math
import operator
from numbers import Real
from typing import Any

from torch import Tensor


class HyperparameterTypeError(TypeError, ValueError):
    """A hyperparameter of the wrong type: torch raises TypeError, and a bad value is a ValueError."""


def number(
    what: str, value: Any, *, low: float = -math.inf, high: float = math.inf, above: float = -math.inf,
    below: float = math.inf,
) -> None:  # fmt: skip
    """Refuse `value` unless it is a finite number with ``low <= value <= high`` and ``above < value < below``.

    A 1-element tensor may stand for the number.

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
    if not (math.isfinite(size) and low <= size <= high and above < size < below):
        raise ValueError(f"Invalid {what}: {value}")


def betas(values: Any) -> None:
    """Refuse `values` unless they are two numbers in [0, 1), both plain or both 1-element tensors.

    Raises:
        ValueError: in torch's words, and also for one or three values, NaN, infinity or a string.

    Example:
        >>> betas((0.9, 0.999))
        >>> betas((0.9, 1.0))
        Traceback (most recent call last):
        ValueError: Invalid beta parameter at index 1: 1.0
    """
    if not isinstance(values, (tuple, list)) or len(values) != 2:
        raise HyperparameterTypeError(f"Invalid betas: {values!r} is not a pair of numbers")
    for i, value in enumerate(values):
        number(f"beta parameter at index {i}", value, low=0, below=1)
    if isinstance(values[0], Tensor) != isinstance(values[1], Tensor):
        raise ValueError("betas must be either both floats or both Tensors")


def choice(what: str, value: Any, options: tuple[str, ...]) -> None:
    """Refuse `value` unless it is one of the words in `options`.

    Example:
        >>> choice("convention", "paper", ("torch", "paper"))
    """
    if value not in options:
        raise ValueError(f"Invalid {what}: {value!r}, not one of {', '.join(map(repr, options))}")


CONVENTIONS = ("torch", "paper")


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
