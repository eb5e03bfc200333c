"""Three truths for Adamax: the paper in NumPy, torch.optim.Adamax (in test_torch.py), and facts of mathematics."""

from functools import partial

import numpy as np
import pytest
import torch

import dlopt
from tests.bowl import DECAY, START, H, each_face, walk

iterates = partial(walk, dlopt.Adamax)


def fed(face, gradients, **kw):
    """The points under given gradients, from 0."""
    given = iter(gradients)
    return iterates(face, len(gradients), lambda x: next(given), np.zeros(gradients.shape[1:]), **kw)


@each_face
@pytest.mark.parametrize("beta1, beta2", [(0.9, 0.999), (0.0, 0.9), (0.8, 0.5)])
@pytest.mark.parametrize("eps", [0.0, 0.1])
def test_algorithm_2(face, beta1, beta2, eps):
    """Kingma & Ba 2015, algorithm 2, with coupled decay. The paper has no eps; torch adds it to |g|."""
    alpha = 0.01
    theta, m, u = START.copy(), np.zeros(3), np.zeros(3)
    expected = [theta]
    for t in range(1, 101):
        g = H * theta + DECAY * theta
        m = beta1 * m + (1 - beta1) * g
        u = np.maximum(beta2 * u, np.abs(g) + eps)
        theta = theta - alpha / (1 - beta1**t) * m / u
        expected.append(theta)
    points = iterates(face, 100, lr=alpha, betas=(beta1, beta2), eps=eps, weight_decay=DECAY)
    np.testing.assert_allclose(points, expected, rtol=1e-10, atol=1e-13)


@each_face
def test_it_is_the_limit_of_higher_and_higher_powers(face):
    """Section 7.1: v = b2^p v + (1 - b2^p) |g|^p and u = v^(1/p), for large p."""
    beta2, g = 0.9, np.random.default_rng(0).normal(size=(60, 4))

    def powers(p):
        m, v, x = np.zeros(4), np.zeros(4), np.zeros(4)
        for t, now in enumerate(g, 1):
            m = 0.8 * m + 0.2 * now
            v = beta2**p * v + (1 - beta2**p) * np.abs(now) ** p
            x = x - m / (1 - 0.8**t) / v ** (1 / p)
        return x

    limit = fed(face, g, lr=1.0, betas=(0.8, beta2), eps=0.0)[-1]
    near, nearer = (np.abs(powers(p) - limit).max() for p in (30, 300))
    assert nearer < 0.02
    assert nearer < near / 5


@each_face
def test_first_step_is_lr_whatever_the_size_of_the_gradient(face):
    g = np.array([[1e-6, -1.0, 1e6]])
    np.testing.assert_allclose(fed(face, g, lr=0.1, eps=0.0)[-1], [-0.1, 0.1, -0.1], rtol=1e-12)


def test_the_longest_step():
    """(1 - b1) / (1 - b1 / b2) lr, reached if |g| falls by b2 a step: 1.0091 lr, not the paper's lr (section 7.1)."""
    beta1, beta2 = 0.9, 0.999
    bound = (1 - beta1) / (1 - beta1 / beta2)
    steps = -np.diff(fed("numpy", beta2 ** np.arange(400.0)[:, None], lr=1.0, eps=0.0)[:, 0])
    assert steps[-1] == pytest.approx(bound, rel=1e-6) == pytest.approx(1.0091, abs=1e-4)
    rng = np.random.default_rng(0)
    wild = rng.normal(size=(500, 50)) * 10.0 ** rng.integers(-3, 3, size=(500, 50))
    assert np.abs(np.diff(fed("numpy", wild, lr=1.0), axis=0)).max() <= bound


BAD = [float("nan"), float("inf"), -0.1, "0.1", None]


def refused(words, **kw):
    with pytest.raises(ValueError, match=words):
        dlopt.Adamax([torch.ones(2, requires_grad=True)], **kw)


@pytest.mark.parametrize(
    "name, words",
    [("lr", "Invalid learning rate"), ("eps", "Invalid epsilon value"), ("weight_decay", "Invalid weight_decay value")],
)
@pytest.mark.parametrize("value", BAD)
def test_bad_numbers(name, words, value):
    refused(words, **{name: value})


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("value", [*BAD, 1.0])
def test_bad_betas(index, value):
    pair = [0.9, 0.999]
    pair[index] = value
    refused(f"Invalid beta parameter at index {index}", betas=tuple(pair))


@pytest.mark.parametrize("value", [(0.9,), (0.9, 0.99, 0.999), 0.9, None])
def test_betas_that_are_no_pair(value):
    refused("Invalid beta", betas=value)
