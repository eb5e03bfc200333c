"""Lists of settings to try: a full grid, or random draws from declared ranges."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["Setting", "at_edge", "grid", "sample"]

Setting = Mapping[str, Any]


def grid(**values: Sequence[Any]) -> list[dict[str, Any]]:
    """Every combination of the given values.

    Args:
        values: for each keyword of an optimizer, the values to try.

    Returns:
        One dictionary a setting; the last keyword varies fastest.

    Raises:
        ValueError: a keyword without values.

    Example:
        >>> grid(lr=[0.1, 1.0], momentum=[0.9])
        [{'lr': 0.1, 'momentum': 0.9}, {'lr': 1.0, 'momentum': 0.9}]
    """
    for name, choices in values.items():
        if not len(choices):
            raise ValueError(f"no value to try for {name}")
    return [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())]


def sample(n: int, *, seed: int = 0, **ranges: tuple[float, float] | Sequence[Any]) -> list[dict[str, Any]]:
    """Random settings: log-uniform between the two ends of a tuple, uniform over the entries of a list.

    Random search covers each range better than a grid of the same size (Bergstra and Bengio 2012, JMLR 13).

    Args:
        n: number of settings.
        seed: decides them.
        ranges: for each keyword of an optimizer a tuple ``(low, high)`` with ``0 < low <= high``, or a list.

    Raises:
        ValueError: `n` below 1, a tuple that is no such range, an empty list.

    Example:
        >>> [round(s["lr"], 3) for s in sample(3, seed=0, lr=(0.001, 1.0))]
        [0.081, 0.006, 0.001]
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    generator = np.random.default_rng(seed)
    columns: dict[str, list[Any]] = {}
    for name, choices in ranges.items():
        if isinstance(choices, tuple):
            if len(choices) != 2 or not 0 < choices[0] <= choices[1] < math.inf:
                raise ValueError(f"a range is (low, high) with 0 < low <= high, got {name}={choices}")
            columns[name] = np.exp(generator.uniform(math.log(choices[0]), math.log(choices[1]), n)).tolist()
        elif not len(choices):
            raise ValueError(f"no value to try for {name}")
        else:
            columns[name] = [choices[i] for i in generator.integers(len(choices), size=n)]
    return [{name: column[i] for name, column in columns.items()} for i in range(n)]


def at_edge(best: Setting, tried: Sequence[Setting]) -> dict[str, str]:
    """Numbers of the best setting that are the least or largest tried: the optimum may lie beyond.

    A 0 is no edge: it means "without". Neither is a value that was the only one tried.

    Args:
        best: the setting chosen.
        tried: all settings it was chosen from.

    Returns:
        Keyword → ``"smallest"`` or ``"largest"``.

    Example:
        >>> at_edge({"lr": 1.0, "momentum": 0.0}, grid(lr=[0.1, 1.0], momentum=[0.0, 0.9]))
        {'lr': 'largest'}
    """
    edges = {}
    for name, value in best.items():
        if not isinstance(value, (int, float)) or isinstance(value, bool) or value == 0:
            continue
        values = sorted({s[name] for s in tried if isinstance(s.get(name), (int, float))})
        if len(values) > 1 and value in (values[0], values[-1]):
            edges[name] = "smallest" if value == values[0] else "largest"
    return edges
