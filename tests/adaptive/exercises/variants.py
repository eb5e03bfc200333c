"""The coding exercise of the page on NAdam, RAdam and Lion."""

import numpy as np

from tests.exercises import judge

CASES = [
    dict(lr=0.1, beta1=0.9, beta2=0.99, eps=1e-8, psi=0.004),
    dict(lr=0.05, beta1=0.8, beta2=0.9, eps=0.1, psi=2.0),
]


def _run(step, case):
    rng = np.random.default_rng(0)
    x, m, n, product, points = rng.normal(size=4), np.zeros(4), np.zeros(4), 1.0, []
    for t in range(1, 8):
        g = rng.normal(size=4) + x
        x, m, n, product = step(x.copy(), g.copy(), m.copy(), n.copy(), product, t, **case)
        points.append(x)
    return np.array(points)


def _mu(t, beta1, psi):
    return beta1 * (1 - 0.5 * 0.96 ** (t * psi))


def _means(g, m, n, t, beta1, beta2):
    m = beta1 * m + (1 - beta1) * g
    n = beta2 * n + (1 - beta2) * g * g
    return m, n, n / (1 - beta2**t)


def nadam(x, g, m, n, product, t, lr, beta1, beta2, eps, psi):
    """What ``torch.optim.NAdam`` computes."""
    mu, ahead = _mu(t, beta1, psi), _mu(t + 1, beta1, psi)
    product = product * mu
    m, n, n_hat = _means(g, m, n, t, beta1, beta2)
    m_bar = ahead * m / (1 - product * ahead) + (1 - mu) * g / (1 - product)
    return x - lr * m_bar / (np.sqrt(n_hat) + eps), m, n, product


def no_schedule(x, g, m, n, product, t, lr, beta1, beta2, eps, psi):
    product = product * beta1
    m, n, n_hat = _means(g, m, n, t, beta1, beta2)
    m_bar = beta1 * m / (1 - product * beta1) + (1 - beta1) * g / (1 - product)
    return x - lr * m_bar / (np.sqrt(n_hat) + eps), m, n, product


def not_ahead(x, g, m, n, product, t, lr, beta1, beta2, eps, psi):
    mu = _mu(t, beta1, psi)
    product = product * mu
    m, n, n_hat = _means(g, m, n, t, beta1, beta2)
    m_bar = mu * m / (1 - product * mu) + (1 - mu) * g / (1 - product)
    return x - lr * m_bar / (np.sqrt(n_hat) + eps), m, n, product


def one_correction(x, g, m, n, product, t, lr, beta1, beta2, eps, psi):
    mu, ahead = _mu(t, beta1, psi), _mu(t + 1, beta1, psi)
    product = product * mu
    m, n, n_hat = _means(g, m, n, t, beta1, beta2)
    m_bar = (ahead * m + (1 - mu) * g) / (1 - product)
    return x - lr * m_bar / (np.sqrt(n_hat) + eps), m, n, product


def powers(x, g, m, n, product, t, lr, beta1, beta2, eps, psi):
    mu, ahead = _mu(t, beta1, psi), _mu(t + 1, beta1, psi)
    product = product * mu
    m, n, n_hat = _means(g, m, n, t, beta1, beta2)
    m_bar = ahead * m / (1 - beta1 ** (t + 1)) + (1 - mu) * g / (1 - beta1**t)
    return x - lr * m_bar / (np.sqrt(n_hat) + eps), m, n, product


def adam(x, g, m, n, product, t, lr, beta1, beta2, eps, psi):
    m, n, n_hat = _means(g, m, n, t, beta1, beta2)
    return x - lr * m / (1 - beta1**t) / (np.sqrt(n_hat) + eps), m, n, product * _mu(t, beta1, psi)


MISTAKES = {
    no_schedule: "the momentum is scheduled: mu_t in the place of beta1, except in the mean itself",
    not_ahead: "the mean is weighted with the momentum of the next step, mu at t + 1",
    one_correction: "the mean and the gradient are corrected apart: the mean by the product up to the next step",
    powers: "the bias is corrected by the product of all mu so far, not by powers of beta1",
    adam: "this is Adam: the newest gradient must enter a second time",
}


def check_nadam(step):
    """Compare `step` with NAdam as torch has it, over seven steps.

    Raises:
        AssertionError: naming the mistake where it is one of the usual ones.

    Example:
        >>> check_nadam(nadam)
        NAdam: correct
    """
    judge("NAdam", step, nadam, MISTAKES, lambda f: [_run(f, case) for case in CASES])


EXERCISES = {check_nadam: (nadam, MISTAKES)}
