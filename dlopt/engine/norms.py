"""Norms of whole tensors, summed in an order that neither threads nor batches change.

Squares are taken and summed in float64: element i goes to lane i mod 16 of its chunk of 32,768 elements, in memory's
order, one after another; then chunks are summed, then lanes. The fused CPU face does the first part itself.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

LANES, CHUNK = 16, 32768


def partial(q: np.ndarray) -> np.ndarray:
    """The sums of squares of `q` by chunk and lane, float64, shape (chunks, LANES).

    Example:
        >>> partial(np.full(20, 2.0, np.float32))[0, :6]
        array([8., 8., 8., 8., 4., 4.])
    """
    wide = np.zeros(-(-q.size // LANES) * LANES)
    wide[: q.size] = q.ravel(order="K")
    wide *= wide
    chunks = [np.add.reduce(wide[k : k + CHUNK].reshape(-1, LANES), axis=0) for k in range(0, wide.size, CHUNK)]
    return np.array(chunks).reshape(-1, LANES)


@functools.lru_cache(maxsize=64)
def _starts(sizes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Which tensors have elements, and the first chunk of each of these."""
    counts = np.array([-(-size // CHUNK) for size in sizes], dtype=np.int64)
    filled = np.flatnonzero(counts)
    return filled, (np.cumsum(counts) - counts)[filled]


def norms(partials: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """The norms of tensors of `sizes` elements, shape (tensors, quantities), from (chunks, quantities, LANES) sums.

    Example:
        >>> norms(partial(np.array([3.0, 4.0]))[:, None], [0, 2])
        array([[0.],
               [5.]])
    """
    sums = np.zeros((len(sizes), partials.shape[1]))
    filled, starts = _starts(tuple(sizes))
    if len(filled):
        sums[filled] = np.add.reduceat(partials, starts, axis=0).sum(axis=-1)
    return np.sqrt(sums)
