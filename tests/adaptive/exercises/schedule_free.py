"""The coding exercise of the page on Schedule-Free."""

import numpy as np

from tests.exercises import judge

CASES = [dict(lr=0.1, beta=0.9), dict(lr=0.5, beta=0.5), dict(lr=0.3, beta=0.0)]


def _run(step, case):
    rng = np.random.default_rng(0)
    y = rng.normal(size=4)
    z, points = y.copy(), []
    for t in range(1, 8):
        g = rng.normal(size=4) + y
        y, z = step(y.copy(), z.copy(), g.copy(), t, **case)
        points += [y, z]
    return np.array(points)


def schedule_free(y, z, g, t, lr, beta):
    """Equations 2 to 4 of the paper, with x eliminated."""
    c = 1 / t
    return y + c * (z - y) - lr * (1 - beta * (1 - c)) * g, z - lr * g


def late(y, z, g, t, lr, beta):
    c = 1 / (t + 1)
    return y + c * (z - y) - lr * (1 - beta * (1 - c)) * g, z - lr * g


def old_z(y, z, g, t, lr, beta):
    c = 1 / t
    return y + c * (z - y) - lr * (1 - beta) * g, z - lr * g


def new_z_twice(y, z, g, t, lr, beta):
    c, z = 1 / t, z - lr * g
    return y + c * (z - y) - lr * (1 - beta * (1 - c)) * g, z


def swapped(y, z, g, t, lr, beta):
    c, beta = 1 / t, 1 - beta
    return y + c * (z - y) - lr * (1 - beta * (1 - c)) * g, z - lr * g


def whole_step(y, z, g, t, lr, beta):
    return y + (z - y) / t - lr * g, z - lr * g


MISTAKES = {
    late: "c is 1/t at step t: the first average is the first z",
    old_z: "the average takes the z of this step: a share beta * c of the gradient reaches y through it",
    new_z_twice: "z stands for the old z in the line for y; the gradient is in that line already",
    swapped: "beta is the share of x in y, 1 - beta that of z",
    whole_step: "y takes only the share 1 - beta (1 - c) of the step",
}


def check_schedule_free(step):
    """Compare `step` with Schedule-Free SGD over seven steps at a constant rate.

    Raises:
        AssertionError: naming the mistake where it is one of the usual ones.

    Example:
        >>> check_schedule_free(schedule_free)
        Schedule-Free: correct
    """
    judge("Schedule-Free", step, schedule_free, MISTAKES, lambda f: [_run(f, case) for case in CASES])


EXERCISES = {check_schedule_free: (schedule_free, MISTAKES)}
