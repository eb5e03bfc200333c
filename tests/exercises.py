"""How a coding exercise is checked: against the right answer, and against the usual wrong ones by name."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


def judge(
    name: str,
    answer: Callable[..., Any],
    right: Callable[..., Any],
    mistakes: Mapping[Callable[..., Any], str],
    run: Callable[[Callable[..., Any]], Any],
    rtol: float = 1e-8,
) -> None:
    """Print that `answer` is correct, or say what is wrong with it.

    Args:
        name: of the exercise, for the line that is printed.
        answer: the reader's function.
        right: the model answer.
        mistakes: usual wrong answers, each with the hint to give.
        run: calls such a function on the exercise's cases and returns numbers, an array of them or a list.
        rtol: how far two answers may differ, relative to the largest number.

    Raises:
        AssertionError: the hint of the mistake that gives the same numbers; else the first numbers that differ.

    Example:
        >>> judge("double", lambda x: x + x, lambda x: 2 * x, {lambda x: x**2: "that is the square"}, lambda f: f(3.0))
        double: correct
        >>> judge("double", lambda x: x * x, lambda x: 2 * x, {lambda x: x**2: "that is the square"}, lambda f: f(3.0))
        Traceback (most recent call last):
        AssertionError: that is the square
    """
    given, expected = _numbers(run(answer)), _numbers(run(right))
    if _same(given, expected, rtol):
        print(f"{name}: correct")
        return
    for mistake, hint in mistakes.items():
        if _same(given, _numbers(run(mistake)), rtol):
            raise AssertionError(hint)
    if given.shape != expected.shape:
        raise AssertionError(f"{name}: expected {expected.size} numbers, got {given.size}")
    worst = int(np.argmax(~np.isclose(given, expected, rtol=rtol, atol=rtol * _size(expected))))
    raise AssertionError(f"{name}: expected {expected[worst]:.8g}, got {given[worst]:.8g} (number {worst + 1})")


def _numbers(result: Any) -> np.ndarray:
    parts = result if isinstance(result, (list, tuple)) else [result]
    return np.concatenate([np.ravel(np.asarray(part, dtype=np.float64)) for part in parts])


def _size(numbers: np.ndarray) -> float:
    finite = np.abs(numbers[np.isfinite(numbers)])
    return float(finite.max()) if finite.size else 0.0


def _same(a: np.ndarray, b: np.ndarray, rtol: float) -> bool:
    return a.shape == b.shape and np.allclose(a, b, rtol=rtol, atol=rtol * _size(b), equal_nan=True)
