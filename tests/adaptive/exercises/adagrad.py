"""The coding exercise of the page from AdaGrad to RMSProp."""

import numpy as np

from tests.exercises import judge

CASES = [
    dict(lr=0.1, alpha=0.9, eps=0.0),
    dict(lr=0.05, alpha=0.99, eps=1e-2),
    dict(lr=0.2, alpha=0.5, eps=0.1),
]


def _run(step, case):
    rng = np.random.default_rng(0)
    x, v, points = rng.normal(size=4), np.zeros(4), []
    for t in range(1, 7):
        g = rng.normal(size=4) + x
        x, v = step(x.copy(), g.copy(), v.copy(), t, **case)
        points.append(x)
    return np.array(points)


def corrected(x, g, v, t, lr, alpha, eps):
    """RMSProp with Adam's correction: what ``torch.optim.Adam`` does with ``betas=(0, alpha)``."""
    v = alpha * v + (1 - alpha) * g**2
    return x - lr * g / (np.sqrt(v / (1 - alpha**t)) + eps), v


def uncorrected(x, g, v, t, lr, alpha, eps):
    v = alpha * v + (1 - alpha) * g**2
    return x - lr * g / (np.sqrt(v) + eps), v


def not_a_power(x, g, v, t, lr, alpha, eps):
    v = alpha * v + (1 - alpha) * g**2
    return x - lr * g / (np.sqrt(v / (1 - alpha)) + eps), v


def outside(x, g, v, t, lr, alpha, eps):
    v = alpha * v + (1 - alpha) * g**2
    return x - lr * g / (np.sqrt(v) / (1 - alpha**t) + eps), v


def stored(x, g, v, t, lr, alpha, eps):
    v = (alpha * v + (1 - alpha) * g**2) / (1 - alpha**t)
    return x - lr * g / (np.sqrt(v) + eps), v


def eps_inside(x, g, v, t, lr, alpha, eps):
    v = alpha * v + (1 - alpha) * g**2
    return x - lr * g / np.sqrt(v / (1 - alpha**t) + eps), v


def summed(x, g, v, t, lr, alpha, eps):
    v = v + g**2
    return x - lr * g / (np.sqrt(v) + eps), v


def forgotten(x, g, v, t, lr, alpha, eps):
    new = alpha * v + (1 - alpha) * g**2
    return x - lr * g / (np.sqrt(new / (1 - alpha**t)) + eps), v


MISTAKES = {
    uncorrected: "this is RMSProp as it stands: its first step is too long by 1 / sqrt(1 - alpha)",
    not_a_power: "the correction changes with t: 1 - alpha**t, not 1 - alpha",
    outside: "the correction belongs to the mean of squares, under the root",
    stored: "correct a copy: the mean that is kept must stay uncorrected",
    eps_inside: "eps stands outside the root",
    summed: "a sum of all squares is AdaGrad; here old squares are forgotten",
    forgotten: "the new mean must be returned",
}


def check_corrected(step):
    """Compare `step` with RMSProp with bias correction over six steps.

    Raises:
        AssertionError: naming the mistake where it is one of the usual ones.

    Example:
        >>> check_corrected(corrected)
        corrected RMSProp: correct
    """
    judge("corrected RMSProp", step, corrected, MISTAKES, lambda f: [_run(f, case) for case in CASES])


EXERCISES = {check_corrected: (corrected, MISTAKES)}
