"""The coding exercise of the page on momentum."""

import numpy as np

from tests.exercises import judge

CASES = [
    dict(lr=0.1, momentum=0.0, dampening=0.0),
    dict(lr=0.1, momentum=0.9, dampening=0.0),
    dict(lr=0.05, momentum=0.8, dampening=0.3),
]


def _run(step, case):
    rng = np.random.default_rng(0)
    x, b, points = rng.normal(size=4), np.zeros(4), []
    for t in range(1, 7):
        lr = case["lr"] * (0.1 if t > 3 else 1.0)
        g = rng.normal(size=4) + x
        x, b = step(x.copy(), g.copy(), b.copy(), t, lr, case["momentum"], case["dampening"])
        points.append(x)
    return np.array(points)


def heavy_ball(x, g, b, t, lr, momentum, dampening):
    """What ``torch.optim.SGD`` computes: the first gradient enters the buffer undamped."""
    b = momentum * b + (1 if t == 1 else 1 - dampening) * g
    return x - lr * b, b


def damped_first(x, g, b, t, lr, momentum, dampening):
    b = momentum * b + (1 - dampening) * g
    return x - lr * b, b


def rate_inside(x, g, b, t, lr, momentum, dampening):
    b = momentum * b + lr * (1 if t == 1 else 1 - dampening) * g
    return x - b, b


def old_buffer(x, g, b, t, lr, momentum, dampening):
    new = momentum * b + (1 if t == 1 else 1 - dampening) * g
    return x - lr * b, new


def averaged(x, g, b, t, lr, momentum, dampening):
    b = momentum * b + (1 - momentum) * g
    return x - lr * b, b


def forgotten(x, g, b, t, lr, momentum, dampening):
    new = momentum * b + (1 if t == 1 else 1 - dampening) * g
    return x - lr * new, b


def looked_ahead(x, g, b, t, lr, momentum, dampening):
    b = momentum * b + (1 if t == 1 else 1 - dampening) * g
    return x - lr * (g + momentum * b), b


MISTAKES = {
    damped_first: "dampening must spare the first step, as in torch",
    rate_inside: "the learning rate belongs outside the buffer; under a schedule the two forms differ",
    old_buffer: "the step must use the new buffer, not the old one",
    averaged: "the buffer is a sum of gradients, not an average: no factor 1 - momentum",
    forgotten: "the new buffer must be returned",
    looked_ahead: "this is Nesterov's step, not heavy ball's",
}


def check_heavy_ball(step):
    """Compare `step` with heavy ball as torch has it, over six steps with a drop of the learning rate.

    Raises:
        AssertionError: naming the mistake where it is one of the usual ones.

    Example:
        >>> check_heavy_ball(heavy_ball)
        heavy ball: correct
    """
    judge("heavy ball", step, heavy_ball, MISTAKES, lambda f: [_run(f, case) for case in CASES])


EXERCISES = {check_heavy_ball: (heavy_ball, MISTAKES)}
