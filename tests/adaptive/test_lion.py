"""Lion: algorithm 2 of Chen et al. 2023 in NumPy, and facts of mathematics."""

import math
from functools import partial

import numpy as np
import pytest
import torch

import dlopt
from tests.bowl import DECAY, START, H, each_face, walk

iterates = partial(walk, dlopt.Lion)


@each_face
@pytest.mark.parametrize("betas", [(0.9, 0.99), (0.95, 0.98), (0.0, 0.9), (0.9, 0.0)])
def test_chen_2023_algorithm_2(face, betas):
    beta1, beta2 = betas
    x, m, expected = START, np.zeros(3), [START]
    for _ in range(200):
        g = H * x
        c = beta1 * m + (1 - beta1) * g
        x = x - 0.003 * (np.sign(c) + DECAY * x)
        m = beta2 * m + (1 - beta2) * g
        expected.append(x)
    points = iterates(face, 200, lr=0.003, betas=betas, weight_decay=DECAY)
    np.testing.assert_allclose(points, expected, rtol=1e-12, atol=1e-13)


@each_face
def test_every_element_moves_by_the_rate(face):
    points = iterates(face, 50, lr=2**-8, start=np.array([1.0, -2.0, 0.5]))
    np.testing.assert_allclose(np.abs(np.diff(points, axis=0)), 2**-8, rtol=1e-12)


@each_face
def test_the_size_of_the_loss_does_not_matter(face):
    a, b = (iterates(face, 100, grad=lambda x, s=s: s * H * x, lr=0.003, weight_decay=DECAY) for s in (1.0, 2.0**20))
    assert np.array_equal(a, b)


@each_face
def test_equal_betas_are_the_sign_of_one_mean(face):
    x, m, expected = START, np.zeros(3), [START]
    for _ in range(100):
        m = 0.9 * m + 0.1 * (H * x)
        x = x - 0.003 * np.sign(m) - 0.003 * DECAY * x
        expected.append(x)
    points = iterates(face, 100, lr=0.003, betas=(0.9, 0.9), weight_decay=DECAY)
    np.testing.assert_allclose(points, expected, rtol=1e-12)


@each_face
def test_no_weight_passes_one_over_the_decay(face):
    points = iterates(face, 2000, grad=lambda x: np.array([-1.0, 5.0, -1e-9]), lr=0.01, weight_decay=2.0)
    np.testing.assert_allclose(points[-1], [0.5, -0.5, 0.5], rtol=1e-9)


@each_face
def test_decay_acts_alone_where_the_gradient_is_zero(face):
    points = iterates(face, 10, grad=np.zeros_like, lr=0.1, weight_decay=0.5)
    np.testing.assert_allclose(points[-1], START * 0.95**10, rtol=1e-12)


@each_face
def test_a_gradient_that_is_no_number_shows(face):
    points = iterates(face, 1, grad=lambda x: np.array([np.nan, 1.0, 0.0]), lr=0.01)
    assert np.isnan(points[-1]).tolist() == [True, False, False]


def test_state_is_one_buffer():
    w = torch.ones(5, requires_grad=True)
    w.grad = torch.ones(5)
    opt = dlopt.Lion([w])
    opt.step()
    assert {key: tuple(value.shape) for key, value in opt.state[w].items()} == {"exp_avg": (5,)}


@pytest.mark.parametrize("lr", [-1, math.nan, math.inf, "x"])
def test_bad_rate(lr):
    with pytest.raises((ValueError, TypeError)):
        dlopt.Lion([torch.ones(1, requires_grad=True)], lr=lr)


@pytest.mark.parametrize("value", [-1, math.nan, math.inf, "x"])
def test_bad_decay(value):
    with pytest.raises((ValueError, TypeError), match="weight_decay"):
        dlopt.Lion([torch.ones(1, requires_grad=True)], weight_decay=value)


@pytest.mark.parametrize("betas", [(1.0, 0.9), (0.9, 1.0), (-0.1, 0.9), (math.nan, 0.9), (0.9,), ("a", 0.9), 0.9])
def test_bad_betas(betas):
    with pytest.raises((ValueError, TypeError)):
        dlopt.Lion([torch.ones(1, requires_grad=True)], betas=betas)
