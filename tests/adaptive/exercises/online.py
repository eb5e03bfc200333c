"""The coding exercise of the page on online learning."""

import numpy as np

from tests.exercises import judge

CASES = [
    dict(lr=0.3, beta=0.1, l1=0.0, l2=0.0),
    dict(lr=0.3, beta=0.7, l1=0.9, l2=0.0),
    dict(lr=0.5, beta=1.0, l1=0.6, l2=0.4),
]


def _run(step, case):
    rng = np.random.default_rng(0)
    w, z, n, points = np.zeros(6), np.zeros(6), np.zeros(6), []
    for _ in range(8):
        g = rng.normal(size=6) + 0.1
        w, z, n = step(w.copy(), g.copy(), z.copy(), n.copy(), **case)
        points.append(w)
    return np.array(points)


def _weight(z, n, lr, beta, l1, l2):
    return np.where(np.abs(z) <= l1, 0.0, -(z - np.sign(z) * l1) / ((beta + np.sqrt(n)) / lr + l2))


def ftrl(w, g, z, n, lr, beta, l1, l2):
    """McMahan et al. 2013, algorithm 1."""
    new = n + g * g
    z = z + g - (np.sqrt(new) - np.sqrt(n)) / lr * w
    return _weight(z, new, lr, beta, l1, l2), z, new


def only_gradients(w, g, z, n, lr, beta, l1, l2):
    n = n + g * g
    z = z + g
    return _weight(z, n, lr, beta, l1, l2), z, n


def sigma_without_rate(w, g, z, n, lr, beta, l1, l2):
    new = n + g * g
    z = z + g - (np.sqrt(new) - np.sqrt(n)) * w
    return _weight(z, new, lr, beta, l1, l2), z, new


def old_count(w, g, z, n, lr, beta, l1, l2):
    new = n + g * g
    z = z + g - (np.sqrt(new) - np.sqrt(n)) / lr * w
    return _weight(z, n, lr, beta, l1, l2), z, new


def not_shrunk(w, g, z, n, lr, beta, l1, l2):
    new = n + g * g
    z = z + g - (np.sqrt(new) - np.sqrt(n)) / lr * w
    return np.where(np.abs(z) <= l1, 0.0, -z / ((beta + np.sqrt(new)) / lr + l2)), z, new


def wrong_sign(w, g, z, n, lr, beta, l1, l2):
    new = n + g * g
    z = z + g - (np.sqrt(new) - np.sqrt(n)) / lr * w
    return -_weight(z, new, lr, beta, l1, l2), z, new


def ridge_inside(w, g, z, n, lr, beta, l1, l2):
    new = n + g * g
    z = z + g - (np.sqrt(new) - np.sqrt(n)) / lr * w
    return _weight(z, new, lr, beta + l2, l1, 0.0), z, new


def no_ridge(w, g, z, n, lr, beta, l1, l2):
    new = n + g * g
    z = z + g - (np.sqrt(new) - np.sqrt(n)) / lr * w
    return _weight(z, new, lr, beta, l1, 0.0), z, new


MISTAKES = {
    only_gradients: "z is more than the sum of gradients: subtract sigma times the weight, which ties it to its past",
    sigma_without_rate: "sigma is the growth of sqrt(n) divided by the learning rate",
    old_count: "the weight uses the new n, this gradient's square included",
    not_shrunk: "outside the threshold l1 must be subtracted from |z|, not only compared with it",
    wrong_sign: "the weight points against z: there is a minus in front",
    no_ridge: "l2 is missing: it is added to (beta + sqrt(n)) / lr in the denominator",
    ridge_inside: "l2 stands beside (beta + sqrt(n)) / lr, it is not divided by the learning rate",
}


def check_ftrl(step):
    """Compare `step` with FTRL-Proximal over eight steps from zero weights.

    Raises:
        AssertionError: naming the mistake where it is one of the usual ones.

    Example:
        >>> check_ftrl(ftrl)
        FTRL: correct
    """
    judge("FTRL", step, ftrl, MISTAKES, lambda f: [_run(f, case) for case in CASES])


EXERCISES = {check_ftrl: (ftrl, MISTAKES)}
