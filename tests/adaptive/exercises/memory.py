"""The coding exercise of the page on memory."""

import numpy as np

from tests.exercises import judge

SHAPES = [(4, 3), (2, 5)]


def _run(update, shape):
    n, m = shape
    rng = np.random.default_rng(0)
    R, C, results = np.zeros((n, 1)), np.zeros((1, m)), []
    for t in range(1, 5):
        g = rng.normal(size=shape) * (1 + np.arange(m)) * 10.0 ** rng.integers(-1, 2)
        U, R, C = update(g.copy(), R.copy(), C.copy(), 1 - t**-0.8)
        results += [np.ravel(U), np.ravel(R), np.ravel(C)]
    return np.concatenate(results)


def factored(g, R, C, beta2):
    """Adafactor's update before clipping (Shazeer & Stern 2018, algorithm 4), with means for sums."""
    R = beta2 * R + (1 - beta2) * (g * g).mean(1, keepdims=True)
    C = beta2 * C + (1 - beta2) * (g * g).mean(0, keepdims=True)
    return g / np.sqrt(R * C / R.mean()), R, C


def _with(guess):
    def update(g, R, C, beta2):
        _, R, C = factored(g, R, C, beta2)
        return guess(g, R, C), R, C

    return update


def no_root(g, R, C, beta2):
    return _with(lambda g, R, C: g / (R * C / R.mean()))(g, R, C, beta2)


def unscaled(g, R, C, beta2):
    return _with(lambda g, R, C: g / np.sqrt(R * C))(g, R, C, beta2)


def divided_by_sum(g, R, C, beta2):
    return _with(lambda g, R, C: g / np.sqrt(R * C / R.sum()))(g, R, C, beta2)


def geometric(g, R, C, beta2):
    return _with(lambda g, R, C: g / (R * C) ** 0.25)(g, R, C, beta2)


def added(g, R, C, beta2):
    return _with(lambda g, R, C: g / np.sqrt((R + C) / 2))(g, R, C, beta2)


def swapped(g, R, C, beta2):
    R = (1 - beta2) * R + beta2 * (g * g).mean(1, keepdims=True)
    C = (1 - beta2) * C + beta2 * (g * g).mean(0, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return g / np.sqrt(R * C / R.mean()), R, C


def means_of_g(g, R, C, beta2):
    R = beta2 * R + (1 - beta2) * g.mean(1, keepdims=True) ** 2
    C = beta2 * C + (1 - beta2) * g.mean(0, keepdims=True) ** 2
    return g / np.sqrt(R * C / R.mean()), R, C


def sums(g, R, C, beta2):
    R = beta2 * R + (1 - beta2) * (g * g).sum(1, keepdims=True)
    C = beta2 * C + (1 - beta2) * (g * g).sum(0, keepdims=True)
    return g / np.sqrt(R * C / R.sum()), R, C


def old_factors(g, R, C, beta2):
    with np.errstate(invalid="ignore", divide="ignore"):
        U = g / np.sqrt(R * C / R.mean())
    return U, *factored(g, R, C, beta2)[1:]


MISTAKES = {
    no_root: "the gradient is divided by the root of the guess",
    unscaled: "R times C counts the size twice: divide it by the mean of R",
    divided_by_sum: "for means the denominator is the mean of R; the sum goes with sums",
    geometric: "the guess is the product of R and C over the mean of R, not their geometric mean",
    added: "rows and columns multiply, they do not add",
    swapped: "beta2 is the weight of the past",
    means_of_g: "square first, then take the mean",
    sums: "R and C are to be means here, not sums; U is right",
    old_factors: "U must use the new R and C, not the old ones",
}


def check_factored(update):
    """Compare `update` with Adafactor's, before clipping and without eps, over four steps of two shapes.

    Raises:
        AssertionError: naming the mistake where it is one of the usual ones.

    Example:
        >>> check_factored(factored)
        factored update: correct
    """
    judge("factored update", update, factored, MISTAKES, lambda f: [_run(f, shape) for shape in SHAPES])


EXERCISES = {check_factored: (factored, MISTAKES)}
