"""RAdam: algorithm 2 of Liu et al. 2020 in NumPy, and facts of mathematics. torch's numbers: test_torch."""

import math
from functools import partial

import numpy as np
import pytest
import torch

import dlopt
from dlopt.adaptive.radam import rectification
from tests.bowl import DECAY, START, H, each_face, walk

iterates = partial(walk, dlopt.RAdam)


def liu(steps, lr, beta1, beta2, eps, decay, above, decoupled):
    x, m, v, points = START.copy(), np.zeros(3), np.zeros(3), [START]
    last = 2 / (1 - beta2) - 1
    for t in range(1, steps + 1):
        g = H * x + (0 if decoupled else decay * x)
        v = beta2 * v + (1 - beta2) * g**2
        m = beta1 * m + (1 - beta1) * g
        m_hat = m / (1 - beta1**t)
        rho = last - 2 * t * beta2**t / (1 - beta2**t)
        new = x - (lr * decay * x if decoupled else 0)
        if rho > above:
            adaptive = math.sqrt(1 - beta2**t) / (np.sqrt(v) + eps)
            r = math.sqrt((rho - 4) * (rho - 2) * last / ((last - 4) * (last - 2) * rho))
            x = new - lr * r * m_hat * adaptive
        else:
            x = new - lr * m_hat
        points.append(x)
    return np.array(points)


@each_face
@pytest.mark.parametrize("convention", ["torch", "paper"])
@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.9), (0.0, 0.99), (0.9, 0.5)])
def test_liu_2020_algorithm_2(face, convention, decoupled, betas):
    points = iterates(
        face, 60, lr=0.005, betas=betas, eps=1e-6, weight_decay=DECAY, decoupled_weight_decay=decoupled,
        convention=convention,
    )  # fmt: skip
    expected = liu(60, 0.005, *betas, 1e-6, DECAY, 4 if convention == "paper" else 5, decoupled)
    np.testing.assert_allclose(points, expected, rtol=1e-10, atol=1e-13)


@each_face
@pytest.mark.parametrize("convention, first", [("paper", 5), ("torch", 6)])
def test_the_first_rectified_step(face, convention, first):
    """Only a rectified step forgets the size of the gradient."""
    small, large = (
        np.diff(iterates(face, 12, grad=lambda x, s=s: np.full(3, s), lr=0.01, eps=0, convention=convention), axis=0)
        for s in (1.0, 1024.0)
    )
    ratio = (large / small)[:, 0]
    np.testing.assert_allclose(ratio[: first - 1], 1024, rtol=1e-9)
    np.testing.assert_allclose(ratio[first - 1 :], 1, rtol=1e-9)


@each_face
def test_at_last_it_is_adam(face):
    """r goes to 1: with beta2 = 0.9 after 300 steps of a constant gradient the step is the rate."""
    points = iterates(face, 300, grad=lambda x: np.array([3.0, -1.0, 1e-3]), lr=0.01, betas=(0.9, 0.9), eps=0)
    np.testing.assert_allclose(points[-2] - points[-1], 0.01 * np.array([1, -1, 1]), rtol=1e-9)


def test_the_factor_rises_from_0_to_1():
    r = [rectification(t, beta1=0.9, beta2=0.999)[2] for t in range(5, 20_000, 5)]
    assert 0 < r[0] < 0.02 and r[-1] == pytest.approx(1, abs=1e-4)
    assert (np.diff(r) >= -1e-12).all()


def test_the_factor_makes_the_first_order_variance_what_it_is_in_the_end():
    def variance(rho):
        return rho / (2 * (rho - 2) * (rho - 4))

    for t in (6, 50, 1000):
        *_, r, rho = rectification(t, beta1=0.9, beta2=0.999)
        assert r**2 * variance(rho) == pytest.approx(variance(1999.0), rel=1e-9)


def rho_at(t):
    with np.errstate(invalid="ignore"):  # the factor is no number before rho passes 4
        return rectification(t, beta1=0.9, beta2=0.999)[3]


def test_rho_counts_gradients_at_first_and_is_the_centre_of_mass_at_last():
    rho = [rho_at(t) for t in (1, 2, 10, 100_000)]
    np.testing.assert_allclose(rho, [1, 2, 10, 1999], rtol=2e-3)
    for t in (3, 30):  # the plain mean over the last rho gradients has the centre of mass of the moving one
        weights = 0.999 ** np.arange(t)
        centre = (weights * np.arange(t)).sum() / weights.sum()
        assert rho_at(t) == pytest.approx(2 * centre + 1, rel=1e-9)


@each_face
@pytest.mark.parametrize("convention, beta2", [("torch", 2 / 3), ("paper", 0.6)])
def test_never_rectified_where_rho_ends_at_the_threshold(face, convention, beta2):
    """rho stays below 2 / (1 - beta2) - 1, rounding brings it there: bias-corrected momentum for ever."""
    ours = iterates(face, 100, lr=0.001, betas=(0.0, beta2), weight_decay=DECAY, convention=convention)
    x, expected = START, [START]
    for _ in range(100):
        x = x - 0.001 * (H * x + DECAY * x)
        expected.append(x)
    np.testing.assert_allclose(ours, expected, rtol=1e-10)


@pytest.mark.parametrize("lr", [-1, math.nan, math.inf, "x"])
def test_bad_rate(lr):
    with pytest.raises((ValueError, TypeError)):
        dlopt.RAdam([torch.ones(1, requires_grad=True)], lr=lr)


@pytest.mark.parametrize("value", [-1, math.nan, math.inf, "x"])
@pytest.mark.parametrize("name", ["eps", "weight_decay"])
def test_bad_number(name, value):
    with pytest.raises((ValueError, TypeError), match=name.replace("eps", "epsilon")):
        dlopt.RAdam([torch.ones(1, requires_grad=True)], **{name: value})


@pytest.mark.parametrize("betas", [(1.0, 0.9), (0.9, 1.0), (-0.1, 0.9), (math.nan, 0.9), (0.9,), ("a", 0.9), 0.9])
def test_bad_betas(betas):
    with pytest.raises((ValueError, TypeError)):
        dlopt.RAdam([torch.ones(1, requires_grad=True)], betas=betas)


def test_bad_convention():
    with pytest.raises(ValueError, match="convention"):
        dlopt.RAdam([torch.ones(1, requires_grad=True)], convention="keras")
