"""The coding exercise of the page on Adam."""

import numpy as np

from tests.exercises import judge

CASES = [
    dict(lr=0.1, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0),
    dict(lr=0.05, beta1=0.8, beta2=0.9, eps=0.3, weight_decay=0.0),
    dict(lr=0.05, beta1=0.5, beta2=0.7, eps=0.1, weight_decay=0.5),
]


def _run(step, case):
    rng = np.random.default_rng(0)
    x, m, v, points = rng.normal(size=4), np.zeros(4), np.zeros(4), []
    for t in range(1, 7):
        g = rng.normal(size=4) + x
        x, m, v = step(x.copy(), g.copy(), m.copy(), v.copy(), t, **case)
        points.append(x)
    return np.array(points)


def adam(x, g, m, v, t, lr, beta1, beta2, eps, weight_decay):
    """What ``torch.optim.Adam`` computes: coupled decay, both moments corrected, eps outside the root."""
    g = g + weight_decay * x
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    return x - lr * m_hat / (np.sqrt(v_hat) + eps), m, v


def inside_the_root(x, g, m, v, t, lr, beta1, beta2, eps, weight_decay):
    g = g + weight_decay * x
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    return x - lr * m / (1 - beta1**t) / np.sqrt(v / (1 - beta2**t) + eps), m, v


def hat(x, g, m, v, t, lr, beta1, beta2, eps, weight_decay):
    g = g + weight_decay * x
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    rate = lr * np.sqrt(1 - beta2**t) / (1 - beta1**t)
    return x - rate * m / (np.sqrt(v) + eps), m, v


def uncorrected(x, g, m, v, t, lr, beta1, beta2, eps, weight_decay):
    g = g + weight_decay * x
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    return x - lr * m / (np.sqrt(v) + eps), m, v


def counted_from_zero(x, g, m, v, t, lr, beta1, beta2, eps, weight_decay):
    with np.errstate(invalid="ignore", divide="ignore"):
        g = g + weight_decay * x
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat, v_hat = m / (1 - np.float64(beta1) ** (t - 1)), v / (1 - np.float64(beta2) ** (t - 1))
        return x - lr * m_hat / (np.sqrt(v_hat) + eps), m, v


def counted_from_two(x, g, m, v, t, lr, beta1, beta2, eps, weight_decay):
    return adam(x, g, m, v, t + 1, lr, beta1, beta2, eps, weight_decay)


def corrected_for_good(x, g, m, v, t, lr, beta1, beta2, eps, weight_decay):
    g = g + weight_decay * x
    m = (beta1 * m + (1 - beta1) * g) / (1 - beta1**t)
    v = (beta2 * v + (1 - beta2) * g**2) / (1 - beta2**t)
    return x - lr * m / (np.sqrt(v) + eps), m, v


def decoupled(x, g, m, v, t, lr, beta1, beta2, eps, weight_decay):
    x = x - lr * weight_decay * x
    return adam(x, g, m, v, t, lr, beta1, beta2, eps, 0.0)


def half_coupled(x, g, m, v, t, lr, beta1, beta2, eps, weight_decay):
    decayed = g + weight_decay * x
    m = beta1 * m + (1 - beta1) * decayed
    v = beta2 * v + (1 - beta2) * g**2
    return x - lr * m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps), m, v


def old_means(x, g, m, v, t, lr, beta1, beta2, eps, weight_decay):
    _, new_m, new_v = adam(x, g, m, v, t, lr, beta1, beta2, eps, weight_decay)
    return x - lr * m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps), new_m, new_v


def no_root(x, g, m, v, t, lr, beta1, beta2, eps, weight_decay):
    _, m, v = adam(x, g, m, v, t, lr, beta1, beta2, eps, weight_decay)
    return x - lr * m / (1 - beta1**t) / (v / (1 - beta2**t) + eps), m, v


MISTAKES = {
    inside_the_root: "eps belongs outside the root",
    hat: "the correction of v belongs under the root, before eps is added; this is the form with eps-hat",
    uncorrected: "there is no bias correction",
    counted_from_zero: "the exponents of the bias correction are t, not t - 1: at t = 1 you divide by zero",
    counted_from_two: "the exponents of the bias correction are t, not t + 1",
    corrected_for_good: "return m and v as they are; the corrected ones serve for this step only",
    decoupled: "the decay is coupled: add weight_decay * x to the gradient. This is AdamW",
    half_coupled: "the decay is part of the gradient, so it enters v too",
    old_means: "the step must use the new means, not the old ones",
    no_root: "divide by the root of v",
}


def check_adam(step):
    """Compare `step` with Adam as torch has it, over six steps, with and without coupled decay.

    Raises:
        AssertionError: naming the mistake where it is one of the usual ones.

    Example:
        >>> check_adam(adam)
        Adam: correct
    """
    judge("Adam", step, adam, MISTAKES, lambda f: [_run(f, case) for case in CASES])


EXERCISES = {check_adam: (adam, MISTAKES)}
