"""Normal noise by counting: no state, so any step's noise is had at once, and every face draws the same.

A cubic permutes the numbers below a prime p with p = 2 mod 3; a few of them, each with its own key, scatter a
counter. All products stay below 2^53, so float64 computes them exactly.
"""

from typing import Any

from dlopt.engine.rule import xp

__all__ = ["LARGEST_SEED", "counter_noise"]

LARGEST_SEED = 2**24
"""Seeds are whole numbers from 0 to here."""


def modulo(x: Any, m: float) -> Any:
    return x - m * xp.floor(x / m)


def scattered(x: Any, key: Any) -> Any:
    square = modulo(x * x, 67108859)
    return modulo(modulo(square * x, 67108859) + key, 67108859)


def uniform(counter: Any, seed: Any) -> Any:
    key = modulo(seed * 40503 + 12345, 67108859)
    x = scattered(modulo(counter * 7919 + key, 67108859), 31415926)
    x = scattered(x, modulo(key * 69069 + 1, 67108859))
    x = scattered(x, 27182818)
    x = scattered(x, modulo(key * 1103 + 57721566, 67108859))
    return (x + 0.5) / 67108859


def counter_noise(t: Any, *, seed: Any) -> tuple[Any, Any]:
    """Two independent standard normal numbers for step `t` of `seed`, by Box and Muller (1958).

    Args:
        t: whole number or float64 array of them, from 0 to 2^24; `seed`: a whole number from 0 to 2^24.

    Returns:
        ``(nx, ny)``, each like `t`.

    Example:
        >>> nx, ny = counter_noise(1.0, seed=0.0)
        >>> round(float(nx), 3), round(float(ny), 3)
        (0.82, -0.329)
    """
    radius = xp.sqrt(-2 * xp.log(uniform(2 * t, seed)))
    angle = 2 * xp.pi * uniform(2 * t + 1, seed)
    nx = radius * xp.cos(angle)
    ny = radius * xp.sin(angle)
    return nx, ny
