"""AMSGrad: the paper and torch's reading in NumPy, and the game on which Adam goes the wrong way."""

import itertools
import math

import numpy as np
import pytest
import torch

import dlopt
from tests.bowl import DECAY, START, H, each_face, walk


@each_face
@pytest.mark.parametrize("beta1, beta2", [(0.9, 0.999), (0.0, 0.1), (0.8, 0.7)])
@pytest.mark.parametrize("power", [0.5, 0.0, 1.0])
def test_algorithm_2(face, beta1, beta2, power):
    """Reddi, Kale & Kumar 2018, algorithm 2, with alpha / t^power, coupled decay, and torch's eps outside the root."""
    alpha, eps = 0.05, 1e-3
    x, m, v, v_hat = START.copy(), np.zeros(3), np.zeros(3), np.zeros(3)
    expected = [x]
    for t in range(1, 101):
        g = H * x + DECAY * x
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        v_hat = np.maximum(v_hat, v)
        x = x - alpha / t**power * m / (np.sqrt(v_hat) + eps)
        expected.append(x)
    kw = dict(lr=alpha, betas=(beta1, beta2), eps=eps, power=power, weight_decay=DECAY)
    np.testing.assert_allclose(walk(dlopt.AMSGrad, face, 100, **kw), expected, rtol=1e-10, atol=1e-13)


@each_face
def test_torchs_reading_corrects_both_moments_after_the_maximum(face):
    alpha, beta1, beta2, eps = 0.05, 0.9, 0.99, 1e-3
    x, m, v, top = START.copy(), np.zeros(3), np.zeros(3), np.zeros(3)
    for t in range(1, 101):
        g = H * x + DECAY * x
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        top = np.maximum(top, v)
        x = x - alpha * (m / (1 - beta1**t)) / (np.sqrt(top / (1 - beta2**t)) + eps)
    kw = dict(lr=alpha, betas=(beta1, beta2), eps=eps, weight_decay=DECAY)
    np.testing.assert_allclose(walk(dlopt.Adam, face, 100, amsgrad=True, **kw)[-1], x, rtol=1e-10)
    assert np.abs(walk(dlopt.AMSGrad, face, 100, power=0.0, **kw)[-1] - x).max() > 1e-2


def game(make, steps, **kw):
    """Gradients 3, -1, -1 again and again on [-1, 1], from 1, at alpha / sqrt(t). The best point is -1."""
    turns = itertools.cycle([3.0, -1.0, -1.0])

    def before(opt, t):
        for p in opt.param_groups[0]["params"]:
            p.data.clamp_(-1, 1)
        if make is dlopt.Adam:
            opt.param_groups[0]["lr"] = kw["lr"] / math.sqrt(t + 1)

    points = walk(make, "numpy", steps, lambda x: next(turns), 1.0, before, eps=0.0, **kw)
    return points.clip(-1, 1)


ALPHA = 0.9 * math.sqrt(0.9)


def test_the_game_adam_loses():
    """Theorem 1's game: with beta2 = .1 Adam ends at the worst point, AMSGrad at the best, and Adam with .999 too."""
    assert game(dlopt.Adam, 500, lr=ALPHA, betas=(0.0, 0.1))[-3:].min() > 0.9
    assert game(dlopt.AMSGrad, 500, lr=ALPHA, betas=(0.0, 0.1))[-3:].max() < -0.9
    assert game(dlopt.Adam, 500, lr=ALPHA, betas=(0.0, 0.999))[-3:].max() < -0.9


def test_both_agree_while_v_only_grows():
    """Gradients that grow: the maximum is v itself."""
    given = [iter(np.arange(1.0, 51.0)) for _ in range(2)]
    kw = dict(lr=0.1, betas=(0.9, 0.99), start=0.0)
    first = walk(dlopt.Adam, "numpy", 50, lambda x: next(given[0]), amsgrad=True, **kw)
    np.testing.assert_array_equal(first, walk(dlopt.Adam, "numpy", 50, lambda x: next(given[1]), **kw))


BAD = [float("nan"), float("inf"), -0.1, "0.1", None]


def refused(words, **kw):
    with pytest.raises(ValueError, match=words):
        dlopt.AMSGrad([torch.ones(2, requires_grad=True)], **kw)


@pytest.mark.parametrize(
    "name, words",
    [
        ("lr", "Invalid learning rate"),
        ("eps", "Invalid epsilon value"),
        ("weight_decay", "Invalid weight_decay value"),
        ("power", "Invalid power"),
    ],
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
