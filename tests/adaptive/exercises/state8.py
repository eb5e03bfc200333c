"""The coding exercise of the page on state in 8 bits and parameters in 16."""

import numpy as np

from tests.exercises import judge

VALUES = np.array([1.0, 1.003, -0.3, 1e-5, -3e-39, 65504.0, -1.9999, 0.0], dtype=np.float32)
WORDS = np.array([0, 1, 0x3FFF, 0x7FFF, 0x8000, 0xBFFF, 0xFFFE, 0xFFFF], dtype=np.uint32)


def _run(function):
    x, r = (grid.ravel() for grid in np.meshgrid(VALUES, WORDS))
    return np.asarray(function(x.copy(), r.copy()), dtype=np.float64) / np.where(x == 0, 1, x.astype(np.float64))


def stochastic(x, r):
    """Gupta et al. 2015, on the bits: add random low bits, cut them off."""
    bits = x.view(np.uint32) + r.astype(np.uint32)
    return (bits & np.uint32(0xFFFF0000)).view(np.float32)


def cut(x, r):
    return (x.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


def nearest(x, r):
    bits = x.view(np.uint32) + np.uint32(0x7FFF) + ((x.view(np.uint32) >> np.uint32(16)) & np.uint32(1))
    return (bits & np.uint32(0xFFFF0000)).view(np.float32)


def not_cut(x, r):
    return (x.view(np.uint32) + r.astype(np.uint32)).view(np.float32)


def half(x, r):
    bits = x.view(np.uint32) + (r.astype(np.uint32) >> np.uint32(1))
    return (bits & np.uint32(0xFFFF0000)).view(np.float32)


def downwards(x, r):
    bits = x.view(np.uint32) - r.astype(np.uint32)
    return (bits & np.uint32(0xFFFF0000)).view(np.float32)


MISTAKES = {
    cut: "always toward zero: add the random bits before the cut",
    nearest: "that is rounding to nearest: r must decide",
    not_cut: "the lower 16 bits are still there: bfloat16 does not hold this",
    half: "all 16 random bits are needed: this goes up half as often as it should",
    downwards: "add, do not subtract: a number that needs no rounding must stay",
}


def check_stochastic(function):
    """Compare `function(x, r)` with stochastic rounding to bfloat16, for eight numbers and eight random words.

    Raises:
        AssertionError: naming the mistake where it is one of the usual ones.

    Example:
        >>> check_stochastic(stochastic)
        stochastic rounding: correct
    """
    judge("stochastic rounding", function, stochastic, MISTAKES, _run)


EXERCISES = {check_stochastic: (stochastic, MISTAKES)}
