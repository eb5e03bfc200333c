"""The coding exercise of the page on methods of one name and several meanings."""

import numpy as np

from tests.exercises import judge

CASES = [
    dict(lr=0.1, beta1=0.9, beta2=0.999, eps=1e-8),
    dict(lr=0.1, beta1=0.9, beta2=0.999, eps=1e-2),
    dict(lr=0.05, beta1=0.5, beta2=0.8, eps=0.3),
]


def _run(step, case):
    rng = np.random.default_rng(0)
    x, m, v, points = rng.normal(size=4), np.zeros(4), np.zeros(4), []
    for t in range(1, 7):
        g = (rng.normal(size=4) + x) * np.array([1e-8, 1e-2, 1.0, 100.0])
        x, m, v = step(x.copy(), g, m.copy(), v.copy(), t, **case)
        points.append(x)
    return np.array(points)


def epsilon_hat(x, g, m, v, t, lr, beta1, beta2, eps):
    """Adam as section 2 of its paper orders it, with a constant added to the uncorrected root."""
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    rate = lr * np.sqrt(1 - beta2**t) / (1 - beta1**t)
    return x - rate * m / (np.sqrt(v) + eps), m, v


def algorithm_1(x, g, m, v, t, lr, beta1, beta2, eps):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    return x - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps), m, v


def inside(x, g, m, v, t, lr, beta1, beta2, eps):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    rate = lr * np.sqrt(1 - beta2**t) / (1 - beta1**t)
    return x - rate * m / np.sqrt(v + eps), m, v


def uncorrected(x, g, m, v, t, lr, beta1, beta2, eps):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    return x - lr * m / (np.sqrt(v) + eps), m, v


def no_root(x, g, m, v, t, lr, beta1, beta2, eps):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    return x - lr * (1 - beta2**t) / (1 - beta1**t) * m / (np.sqrt(v) + eps), m, v


def late(x, g, m, v, t, lr, beta1, beta2, eps):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    rate = lr * np.sqrt(1 - beta2 ** (t + 1)) / (1 - beta1 ** (t + 1))
    return x - rate * m / (np.sqrt(v) + eps), m, v


MISTAKES = {
    algorithm_1: "this is algorithm 1: here eps is added to the uncorrected root",
    inside: "eps stands outside the root",
    uncorrected: "the bias corrections are missing: they belong to the rate",
    no_root: "the second correction is a root: sqrt(1 - beta2**t)",
    late: "t is counted from 1 already: do not add 1 to it",
}


def check_epsilon_hat(step):
    """Compare `step` with Adam in the form with an epsilon hat, over six steps and gradients of all sizes.

    Raises:
        AssertionError: naming the mistake where it is one of the usual ones.

    Example:
        >>> check_epsilon_hat(epsilon_hat)
        epsilon hat: correct
    """
    judge("epsilon hat", step, epsilon_hat, MISTAKES, lambda f: [_run(f, case) for case in CASES])


EXERCISES = {check_epsilon_hat: (epsilon_hat, MISTAKES)}
