"""NAdam: Dozat's algorithm in NumPy, and facts of mathematics. torch's numbers are compared in test_torch."""

import math
from functools import partial

import numpy as np
import pytest
import torch

import dlopt
from tests.bowl import DECAY, START, H, each_face, walk

iterates = partial(walk, dlopt.NAdam)


def dozat(steps, lr, beta1, beta2, eps, psi, decay, paper, decoupled):
    """Algorithm 2, with its mean shrunk by mu_t and n by nu; torch's departures where `paper` is False."""
    mu = [beta1 * (1 - 0.5 * 0.96 ** (t * psi)) for t in range(steps + 3)]
    x, m, n, points = START.copy(), np.zeros(3), np.zeros(3), [START]
    for t in range(1, steps + 1):
        g = H * x + (0 if decoupled else decay * x)
        g_hat = g / (1 - math.prod(mu[1 : t + 1]))
        shrink = mu[t] if paper else beta1
        m = shrink * m + (1 - shrink) * g
        m_hat = m / (1 - math.prod(mu[1 : t + 2]))
        n = beta2 * n + (1 - beta2) * g**2
        n_hat = (beta2 if paper else 1) * n / (1 - beta2**t)
        m_bar = (1 - mu[t]) * g_hat + mu[t + 1] * m_hat
        x = x - lr * m_bar / (np.sqrt(n_hat) + eps) - (lr * decay * x if decoupled else 0)
        points.append(x)
    return np.array(points)


@each_face
@pytest.mark.parametrize("convention", ["torch", "paper"])
@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("psi", [0.004, 1.5, 0.0])
def test_dozat_2016_algorithm_2(face, convention, decoupled, psi):
    points = iterates(
        face, 100, lr=0.02, betas=(0.8, 0.99), eps=1e-6, weight_decay=DECAY, momentum_decay=psi,
        decoupled_weight_decay=decoupled, convention=convention,
    )  # fmt: skip
    expected = dozat(100, 0.02, 0.8, 0.99, 1e-6, psi, DECAY, convention == "paper", decoupled)
    np.testing.assert_allclose(points, expected, rtol=1e-11, atol=1e-13)


@each_face
def test_without_momentum_it_is_adam_without_momentum(face):
    kw = dict(lr=0.02, betas=(0.0, 0.99), weight_decay=DECAY)
    ours = iterates(face, 50, **kw)
    np.testing.assert_allclose(ours, walk(dlopt.Adam, face, 50, **kw), rtol=1e-12)


@each_face
@pytest.mark.parametrize("mu", [0.5, 0.9])
def test_with_a_huge_eps_it_is_a_look_ahead_over_a_mean_of_gradients(face, mu):
    """eps = 1e8, rate * 1e8: the second moment drops out; with mu constant the step is mu m_hat + (1 - mu) g_hat."""
    lr, x, m, points = 0.004, START.copy(), np.zeros(3), [START]
    for t in range(1, 61):
        g = H * x
        m = mu * m + (1 - mu) * g
        x = x - lr * (mu * m / (1 - mu ** (t + 1)) + (1 - mu) * g / (1 - mu**t))
        points.append(x)
    ours = iterates(face, 60, lr=lr * 1e8, betas=(mu, 0.999), eps=1e8, momentum_decay=1e9)
    np.testing.assert_allclose(ours, points, rtol=1e-5, atol=1e-6)


@each_face
def test_the_first_step_of_a_constant_gradient(face):
    """m_bar / g = mu_2 (1 - b1) / (1 - mu_1 mu_2) + 1 and n_hat = g^2, whatever the gradient's size."""
    mu1, mu2 = (0.9 * (1 - 0.5 * 0.96 ** (t * 0.004)) for t in (1, 2))
    expected = 0.01 * (mu2 * 0.1 / (1 - mu1 * mu2) + 1)
    points = iterates(face, 1, grad=lambda x: np.array([1e4, 1.0, -1e-2]), lr=0.01, eps=0)
    np.testing.assert_allclose(points[0] - points[1], expected * np.array([1, 1, -1]), rtol=1e-12)


def test_the_momentum_is_half_way_after_4245_steps():
    gap = [1 - (1 - 0.5 * 0.96 ** (t * 0.004)) for t in (0, 4245)]
    assert gap[1] / gap[0] == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("lr", [-1, math.nan, math.inf, "x"])
def test_bad_rate(lr):
    with pytest.raises((ValueError, TypeError)):
        dlopt.NAdam([torch.ones(1, requires_grad=True)], lr=lr)


@pytest.mark.parametrize("value", [-1, math.nan, math.inf, "x"])
@pytest.mark.parametrize("name", ["eps", "weight_decay", "momentum_decay"])
def test_bad_number(name, value):
    with pytest.raises((ValueError, TypeError), match=name.replace("eps", "epsilon")):
        dlopt.NAdam([torch.ones(1, requires_grad=True)], **{name: value})


@pytest.mark.parametrize("betas", [(1.0, 0.9), (0.9, 1.0), (-0.1, 0.9), (math.nan, 0.9), (0.9,), ("a", 0.9), 0.9])
def test_bad_betas(betas):
    with pytest.raises((ValueError, TypeError)):
        dlopt.NAdam([torch.ones(1, requires_grad=True)], betas=betas)


def test_bad_convention():
    with pytest.raises(ValueError, match="convention"):
        dlopt.NAdam([torch.ones(1, requires_grad=True)], convention="keras")
