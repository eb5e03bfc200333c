"""Checks of hyperparameters, in torch's words where torch has them."""

from __future__ import annotations

import math
import operator
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dlopt.engine.batch import overlaps
from dlopt.engine.writing import WRITER_STATE

if TYPE_CHECKING:
    from dlopt.engine.optimizer import RuleOptimizer


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


def options(optimizer: RuleOptimizer, group: dict[str, Any]) -> None:
    """Refuse a group with an engine option that is wrong, or that does not go with another."""
    if group["writing"] not in WRITER_STATE:
        raise ValueError(f"Invalid writing: {group['writing']!r}, not one of {sorted(WRITER_STATE)}")
    integer("seed", group["seed"], low=0)
    if group["writing"] == "stochastic" and group["differentiable"]:
        raise RuntimeError("stochastic rounding has no derivative: it does not support `differentiable`")
    name, bits = type(optimizer).__name__, group["optim_bits"]
    if not isinstance(bits, int) or bits not in (8, 32):
        raise ValueError(f"Invalid optim_bits: {bits!r}, neither 8 nor 32")
    if bits == 8 and optimizer.state_keys and not optimizer.quantized:
        raise ValueError(f"Invalid optim_bits: 8 bits are too few for the state of {name}; leave it at 32")
    if bits == 8 and group["differentiable"]:
        raise RuntimeError("8-bit state has no derivative: it does not support `differentiable`")
    if group["differentiable"] and optimizer.matrix:
        raise RuntimeError(f"{name} does not support `differentiable`: a matrix rule is not recorded")
    if group["fused"] and group["differentiable"]:
        raise RuntimeError("`fused` does not support `differentiable`")
    if group["fused"] and group["foreach"]:
        raise RuntimeError("`fused` and `foreach` cannot be `True` together.")


def tensors(optimizer: RuleOptimizer, p: Tensor, g: Tensor) -> None:
    """Refuse a parameter or a gradient that the optimizer cannot take."""
    name = type(optimizer).__name__
    if not (p.is_floating_point() or p.is_complex()) or p.dtype is torch.complex32:
        raise RuntimeError(f"{name} takes floating-point and complex parameters, not {p.dtype}")
    if p.is_complex() and (optimizer.matrix or optimizer.sparse_only):
        raise RuntimeError(f"{name} does not support complex parameters")
    if p.layout != torch.strided:
        raise RuntimeError(f"{name} takes dense parameters, not one of layout {p.layout}")
    if optimizer.sparse_only and not g.is_sparse:
        raise RuntimeError(f"{name} does not support dense gradients, please consider dlopt.Adam instead")
    if g.shape != p.shape:
        raise RuntimeError(f"the gradient has shape {tuple(g.shape)}, its parameter {tuple(p.shape)}")
    if overlaps(p):
        raise RuntimeError(
            "unsupported operation: more than one element of the written-to tensor refers to a single memory "
            "location. Please clone() the tensor before performing the operation."
        )
    if g.layout not in (torch.strided, torch.sparse_coo):
        raise RuntimeError(f"{name} does not support gradients of layout {g.layout}")


def python_numbers(value: Any) -> Any:
    """`value`, or what it holds, with NumPy's numbers as Python's: ``weights_only`` reads no others."""
    if isinstance(value, dict):
        return {name: python_numbers(v) for name, v in value.items()}
    if type(value) in (tuple, list):
        return type(value)(map(python_numbers, value))
    return value.item() if isinstance(value, np.generic) else value
