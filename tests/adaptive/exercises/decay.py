"""The coding exercise of the page on weight decay."""

import numpy as np

from tests.exercises import judge

CASES = [
    dict(lr=0.1, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0),
    dict(lr=0.1, beta1=0.9, beta2=0.99, eps=1e-3, weight_decay=0.5),
    dict(lr=0.3, beta1=0.5, beta2=0.7, eps=0.1, weight_decay=0.1),
]


def _run(step, case):
    rng = np.random.default_rng(0)
    x, m, v, points = rng.normal(size=4) + 2, np.zeros(4), np.zeros(4), []
    for t in range(1, 7):
        hyper = {**case, "lr": case["lr"] * (0.1 if t > 3 else 1.0)}
        g = rng.normal(size=4) + x
        x, m, v = step(x.copy(), g.copy(), m.copy(), v.copy(), t, **hyper)
        points.append(x)
    return np.array(points)


def adamw(x, g, m, v, t, lr, beta1, beta2, eps, weight_decay):
    """What ``torch.optim.AdamW`` computes."""
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    u = m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps)
    return x - lr * (u + weight_decay * x), m, v


def coupled(x, g, m, v, t, lr, beta1, beta2, eps, weight_decay):
    return adamw(x, g + weight_decay * x, m, v, t, lr, beta1, beta2, eps, 0.0)


def without_lr(x, g, m, v, t, lr, beta1, beta2, eps, weight_decay):
    new, m, v = adamw(x, g, m, v, t, lr, beta1, beta2, eps, 0.0)
    return new - weight_decay * x, m, v


def decayed_after(x, g, m, v, t, lr, beta1, beta2, eps, weight_decay):
    new, m, v = adamw(x, g, m, v, t, lr, beta1, beta2, eps, 0.0)
    return new * (1 - lr * weight_decay), m, v


def uncorrected(x, g, m, v, t, lr, beta1, beta2, eps, weight_decay):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    return x - lr * (m / (np.sqrt(v) + eps) + weight_decay * x), m, v


def eps_inside(x, g, m, v, t, lr, beta1, beta2, eps, weight_decay):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    u = m / (1 - beta1**t) / np.sqrt(v / (1 - beta2**t) + eps)
    return x - lr * (u + weight_decay * x), m, v


def forgotten(x, g, m, v, t, lr, beta1, beta2, eps, weight_decay):
    return adamw(x, g, m, v, t, lr, beta1, beta2, eps, weight_decay)[0], m, v


MISTAKES = {
    coupled: "that is L2: the decay went into the gradient, and so into m and v",
    without_lr: "torch multiplies the decay by the learning rate; without it this is nearer to the paper's form",
    decayed_after: "the decay takes its share of the old point, not of the one after the step",
    uncorrected: "m and v start at zero: divide them by 1 - beta ** t",
    eps_inside: "eps stands outside the root",
    forgotten: "the new m and v must be returned",
}


def check_adamw(step):
    """Compare `step` with AdamW as torch has it, over six steps with a drop of the learning rate.

    Raises:
        AssertionError: naming the mistake where it is one of the usual ones.

    Example:
        >>> check_adamw(adamw)
        AdamW: correct
    """
    judge("AdamW", step, adamw, MISTAKES, lambda f: [_run(f, case) for case in CASES])


EXERCISES = {check_adamw: (adamw, MISTAKES)}
