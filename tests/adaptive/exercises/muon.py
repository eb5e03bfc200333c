"""The coding exercise of the page on Muon."""

import numpy as np

from tests.exercises import judge

CASES = [
    ((6, 6), (3.4445, -4.775, 2.0315), 5),
    ((4, 9), (3.4445, -4.775, 2.0315), 5),
    ((9, 4), (3.4445, -4.775, 2.0315), 3),
    ((5, 7), (15 / 8, -10 / 8, 3 / 8), 2),
]


def _run(answer):
    rng = np.random.default_rng(0)
    return [answer(rng.normal(size=shape), *coefficients, steps) for shape, coefficients, steps in CASES]


def _iterate(X, a, b, c, steps):
    for _ in range(steps):
        S = X @ X.T
        X = a * X + (b * S + c * S @ S) @ X
    return X


def orthogonal(M, a, b, c, steps):
    """The matrix over its Frobenius norm, through the polynomial; tall and wide give the same numbers."""
    return _iterate(M / np.linalg.norm(M), a, b, c, steps)


def unscaled(M, a, b, c, steps):
    with np.errstate(all="ignore"):
        return _iterate(M, a, b, c, steps)


def spectral(M, a, b, c, steps):
    return _iterate(M / np.linalg.norm(M, 2), a, b, c, steps)


def cubic(M, a, b, c, steps):
    X = M / np.linalg.norm(M)
    for _ in range(steps):
        X = a * X + b * X @ X.T @ X
    return X


def rescaled(M, a, b, c, steps):
    X = M
    for _ in range(steps):
        X = _iterate(X / np.linalg.norm(X), a, b, c, 1)
    return X


def one_less(M, a, b, c, steps):
    return orthogonal(M, a, b, c, steps - 1)


MISTAKES = {
    unscaled: "divide by the norm first: singular values above 1 blow up",
    spectral: "divide by the Frobenius norm, the root of the sum of squares: the largest singular value is not known",
    cubic: "the fifth power is missing: c times (X X^T)^2 X",
    rescaled: "divide by the norm once, before the first step, not before every step",
    one_less: "that is one step too few",
}


def check_orthogonal(answer):
    """Compare `answer` with the iteration of Jordan et al. 2024 in float64, on square, wide and tall matrices.

    Raises:
        AssertionError: naming the mistake where it is one of the usual ones.

    Example:
        >>> check_orthogonal(orthogonal)
        orthogonal: correct
    """
    judge("orthogonal", answer, orthogonal, MISTAKES, _run)


EXERCISES = {check_orthogonal: (orthogonal, MISTAKES)}
