"""Adadelta: the paper in NumPy, its units, and what its epsilon does."""

from functools import partial

import numpy as np
import pytest
import torch

import dlopt
from tests.bowl import DECAY, START, H, each_face, walk

iterates = partial(walk, dlopt.Adadelta)


def begin(past):
    """Lets the mean of squared steps begin as `past`."""

    def before(opt, t):
        if t == 0:
            for w in opt.param_groups[0]["params"]:
                opt.state[w]["acc_delta"] = torch.full_like(w, past).detach()

    return before


@each_face
def test_zeiler_2012_algorithm_1(face):
    """E[g2] = rho E[g2] + (1-rho) g2; dx = -RMS[dx] / RMS[g] g; E[dx2] = rho E[dx2] + (1-rho) dx2; x = x + dx."""
    rho, eps = 0.95, 1e-4
    x, eg, ed = START.copy(), np.zeros(3), np.zeros(3)
    expected = [x]
    for _ in range(200):
        g = H * x + DECAY * x
        eg = rho * eg + (1 - rho) * g**2
        dx = -np.sqrt(ed + eps) / np.sqrt(eg + eps) * g
        ed = rho * ed + (1 - rho) * dx**2
        x = x + dx
        expected.append(x)
    points = iterates(face, 200, rho=rho, eps=eps, weight_decay=DECAY)
    np.testing.assert_allclose(points, expected, rtol=1e-10, atol=1e-13)


@each_face
def test_lr_is_a_plain_factor_that_the_mean_of_steps_does_not_see(face):
    rho, eps, lr = 0.9, 1e-4, 0.3
    x, eg, ed = START.copy(), np.zeros(3), np.zeros(3)
    for _ in range(50):
        g = H * x + DECAY * x
        eg = rho * eg + (1 - rho) * g**2
        d = np.sqrt((ed + eps) / (eg + eps)) * g
        ed = rho * ed + (1 - rho) * d**2
        x = x - lr * d
    points = iterates(face, 50, lr=lr, rho=rho, eps=eps, weight_decay=DECAY)
    np.testing.assert_allclose(points[-1], x, rtol=1e-10)


# Facts


@each_face
@pytest.mark.parametrize("loss, size", [(1000.0, 1.0), (1.0, 1000.0), (1000.0, 1000.0), (1e-3, 50.0)])
def test_without_eps_the_units_are_right(face, loss, size):
    """The loss times `loss`, the parameters times `size`: the same path to 1e-10, once the mean of steps has a value."""

    def run(loss, size):
        return iterates(
            face, 100, lambda x: loss / size**2 * (H * x), size * START, begin(1e-6 * size**2), eps=0, rho=0.9
        )

    np.testing.assert_allclose(run(loss, size) / size, run(1.0, 1.0), rtol=1e-10, atol=1e-10)


def test_with_eps_they_are_not():
    scaled = iterates("numpy", 100, lambda x: H * x / 1e6, 1e3 * START) / 1e3
    assert np.abs(scaled - iterates("numpy", 100)).max() > 0.1


@each_face
def test_without_eps_and_without_a_past_it_never_starts(face):
    np.testing.assert_array_equal(iterates(face, 10, eps=0)[-1], START)


@each_face
@pytest.mark.parametrize("rho, eps", [(0.9, 1e-6), (0.95, 1e-6), (0.5, 1e-4)])
@pytest.mark.parametrize("g", [1e-4, 1.0, 1e4])
def test_the_first_step(face, rho, eps, g):
    """sqrt(eps / ((1 - rho) g^2 + eps)) g, for a large gradient sqrt(eps / (1 - rho)) whatever its size."""
    step = -np.diff(iterates(face, 1, lambda x: np.full(3, g), rho=rho, eps=eps), axis=0)[0]
    np.testing.assert_allclose(step, np.sqrt(eps / ((1 - rho) * g**2 + eps)) * g, rtol=1e-10)
    if g == 1e4:
        np.testing.assert_allclose(step, np.sqrt(eps / (1 - rho)), rtol=1e-6)


@each_face
def test_eps_is_a_learning_rate(face):
    """While gradients are large, a hundred times the eps is ten times the path."""
    one, ten = (iterates(face, 300, lambda x: np.full(3, 1e4), START * 0, eps=e)[-1] for e in (1e-6, 1e-4))
    np.testing.assert_allclose(ten, 10 * one, rtol=1e-6)


# Refusals

NOT = [float("nan"), float("inf"), "0.1", None, [0.1, 0.1]]
BAD = [(name, value) for name in ("lr", "rho", "eps", "weight_decay") for value in (-0.1, *NOT)]


@pytest.mark.parametrize("name, value", [*BAD, ("rho", 1.5)], ids=str)
def test_bad_hyperparameters_are_refused(name, value):
    words = {"lr": "learning rate", "eps": "epsilon value"}.get(name, f"{name} value")
    with pytest.raises((ValueError, TypeError), match=words):
        dlopt.Adadelta([torch.ones(2, requires_grad=True)], **{name: value})


def test_a_sparse_gradient_is_refused():
    w = torch.ones(4, 2, requires_grad=True)
    opt = dlopt.Adadelta([w])
    w.grad = torch.sparse_coo_tensor([[1]], torch.ones(1, 2), (4, 2), check_invariants=True)
    with pytest.raises(RuntimeError, match="sparse"):
        opt.step()
    assert w.eq(1).all()
