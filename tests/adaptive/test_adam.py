"""Three truths for Adam: the paper in NumPy, torch.optim.Adam (in test_torch.py), and facts of mathematics."""

import math
from functools import partial

import numpy as np
import pytest
import torch

import dlopt
from tests.bowl import DECAY, START, H, each_face, walk

BETAS = [(0.9, 0.999), (0.0, 0.9), (0.5, 0.0), (0.8, 0.7)]


iterates = partial(walk, dlopt.Adam)


def stream(n=200, size=3, seed=0):
    """Gradients of very different sizes, some of them zero."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, size)) * 10.0 ** rng.integers(-3, 3, size=(n, size)) * (rng.random((n, size)) < 0.8)


def fed(face, gradients, start=0.0, make=dlopt.Adam, **kw):
    """The points under given gradients."""
    given = iter(gradients)
    start = np.full(gradients.shape[1:], start)
    return walk(make, face, len(gradients), lambda x: next(given), start, **kw)


# The paper


@each_face
@pytest.mark.parametrize("beta1, beta2", BETAS)
def test_algorithm_1(face, beta1, beta2):
    """Kingma & Ba 2015, algorithm 1, with the function's own L2 term as the coupled decay."""
    alpha, eps = 0.01, 1e-3
    theta, m, v = START.copy(), np.zeros(3), np.zeros(3)
    expected = [theta]
    for t in range(1, 101):
        g = H * theta + DECAY * theta
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat = m / (1 - beta1**t)
        v_hat = v / (1 - beta2**t)
        theta = theta - alpha * m_hat / (np.sqrt(v_hat) + eps)
        expected.append(theta)
    points = iterates(face, 100, lr=alpha, betas=(beta1, beta2), eps=eps, weight_decay=DECAY)
    np.testing.assert_allclose(points, expected, rtol=1e-10, atol=1e-13)


@each_face
def test_the_other_order_of_section_2_has_another_epsilon(face):
    """alpha_t = alpha sqrt(1 - b2^t) / (1 - b1^t), theta -= alpha_t m / (sqrt(v) + eps_hat): eps_hat must follow t."""
    alpha, beta1, beta2, eps = 0.01, 0.9, 0.99, 0.1

    def other(follow):
        theta, m, v = START.copy(), np.zeros(3), np.zeros(3)
        for t in range(1, 51):
            g = H * theta + DECAY * theta
            m = beta1 * m + (1 - beta1) * g
            v = beta2 * v + (1 - beta2) * g**2
            root = math.sqrt(1 - beta2**t)
            theta = theta - alpha * root / (1 - beta1**t) * m / (np.sqrt(v) + (eps * root if follow else eps))
        return theta

    ours = iterates(face, 50, lr=alpha, betas=(beta1, beta2), eps=eps, weight_decay=DECAY)[-1]
    np.testing.assert_allclose(ours, other(True), rtol=1e-10)
    assert np.abs(ours - other(False)).max() > 1e-3


@each_face
def test_coupled_decay_is_divided_by_the_root_too(face):
    """Without a gradient of the loss, the decay alone moves every element by lr, large or small."""
    start = np.array([100.0, 1.0, -0.01])
    points = iterates(face, 1, grad=np.zeros_like, start=start, lr=1e-3, eps=0.0, weight_decay=DECAY)
    np.testing.assert_allclose(points[1], start - 1e-3 * np.sign(start), rtol=1e-12)


# Facts


@each_face
@pytest.mark.parametrize("g", [1e-8, -1e-3, 1.0, -1e6])
def test_first_step(face, g):
    """lr g / (|g| + eps): at g = eps it is half of lr, where the form with eps_hat makes 0.0307 lr of it."""
    step = fed(face, np.array([[g]]), lr=0.1)[-1, 0]
    assert step == pytest.approx(-0.1 * g / (abs(g) + 1e-8), rel=1e-12)
    hat = math.sqrt(0.001) * 1e-8 / (math.sqrt(0.001) * 1e-8 + 1e-8)
    assert (abs(g) > 1e-8) or (abs(step) == pytest.approx(0.05) and hat == pytest.approx(0.0307, abs=5e-5))


@each_face
def test_a_constant_gradient_moves_lr_at_every_step(face):
    """Bias correction is exact for a constant gradient, from the first step on."""
    steps = np.diff(fed(face, np.full((300, 1), 7.0), lr=0.1, eps=0.0)[:, 0])
    np.testing.assert_allclose(steps, -0.1, rtol=1e-12)


@each_face
@pytest.mark.parametrize("scale", [2.0**-20, 1024.0])
def test_the_scale_of_the_gradient_drops_out(face, scale):
    """Kingma & Ba, section 2.1: c g for g changes nothing, but for eps. A power of two, so to the last bit."""
    once, scaled = (fed(face, k * (stream(100) + 0.5), lr=0.1, eps=0.0) for k in (1.0, scale))
    np.testing.assert_array_equal(once, scaled)


@each_face
def test_a_huge_epsilon_leaves_momentum(face):
    """lr * 1e8 and eps = 1e8: the bias-corrected running mean of gradients, to 2e-9."""
    g = np.random.default_rng(0).normal(size=(100, 3)) / 10
    m, x, expected = np.zeros(3), np.zeros(3), []
    for t, now in enumerate(g, 1):
        m = 0.9 * m + 0.1 * now
        x = x - 0.1 * m / (1 - 0.9**t)
        expected.append(x)
    points = fed(face, g, lr=0.1e8, eps=1e8)[1:]
    assert np.abs(points - expected).max() < 2e-9


def test_the_longest_step():
    """Cauchy and Schwarz: |m| <= sqrt(v) (1 - b1) / sqrt((1 - b2)(1 - b1^2 / b2)), reached if g grows by b2 / b1.

    That is 7.27 lr for the usual betas. The paper's section 2.1 gives (1 - b1) / sqrt(1 - b2), 3.16 lr.
    """
    beta1, beta2, n = 0.9, 0.999, 20_000
    bound = (1 - beta1) / math.sqrt((1 - beta2) * (1 - beta1**2 / beta2))
    assert bound == pytest.approx(7.2703, abs=1e-4)
    m = v = 0.0
    for k in reversed(range(400)):  # by hand: after n zeros, gradients that grow by b2 / b1
        g = (beta1 / beta2) ** k
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
    w = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    opt = dlopt.Adam([w], lr=1.0, eps=0.0)
    w.grad = torch.ones_like(w)
    opt.step()
    state = opt.state[w]
    state["step"].fill_(n)
    state["exp_avg"].zero_(), state["exp_avg_sq"].zero_()
    before = w.item()
    for k in reversed(range(400)):
        before = w.item()
        w.grad.fill_((beta1 / beta2) ** k)
        opt.step()
    assert before - w.item() == pytest.approx(m / math.sqrt(v), rel=1e-6) == pytest.approx(bound, rel=1e-6)
    lone = np.zeros((1501, 1))
    lone[-1] = 1.0  # the paper's most severe sparsity
    last = np.diff(fed("numpy", lone, lr=1.0)[:, 0])[-1]
    assert -last == pytest.approx(0.1 / math.sqrt(0.001 / (1 - 0.999**1501)), rel=1e-6)
    assert np.abs(np.diff(fed("numpy", stream(500), lr=1.0), axis=0)).max() < bound


def test_pure_noise_still_moves_it():
    """Gradients that are noise alone: the root mean square step is lr sqrt((1 - b1) / (1 + b1)), 0.2294 lr."""
    g = np.random.default_rng(0).normal(size=(1500, 500))
    steps = np.diff(fed("numpy", g, lr=1.0), axis=0)[1000:]
    assert np.sqrt((steps**2).mean()) == pytest.approx(math.sqrt(0.1 / 1.9), rel=0.01)


@each_face
def test_it_knows_its_coordinates(face):
    """Turned by 45 degrees, gradient descent takes the turned path; Adam does not."""
    c = math.sqrt(0.5)
    turn = np.array([[c, -c], [c, c]])
    h, start = np.array([1.0, 1000.0]), np.array([1.0, 0.5])

    def gap(make, **kw):
        plain = walk(make, face, 50, lambda x: h * x, start, **kw)
        turned = walk(make, face, 50, lambda x: turn @ (h * (turn.T @ x)), turn @ start, **kw)
        return np.abs(turned - plain @ turn.T).max()

    assert gap(dlopt.SGD, lr=1e-3) < 1e-9
    assert gap(dlopt.Adam, lr=0.02) > 0.1


@each_face
def test_decoupled_decay_makes_it_adamw(face):
    kw = dict(lr=0.05, weight_decay=DECAY, eps=1e-3)
    ours = iterates(face, 50, decoupled_weight_decay=True, **kw)
    np.testing.assert_array_equal(ours, walk(dlopt.AdamW, face, 50, **kw))
    assert np.abs(ours - iterates(face, 50, **kw)).max() > 1e-3


# Refusals

BAD = [float("nan"), float("inf"), -float("inf"), -0.1, "0.1", None]


def refused(make, words, **kw):
    with pytest.raises(ValueError, match=words):
        make([torch.ones(2, requires_grad=True)], **kw)


@pytest.mark.parametrize(
    "name, words",
    [("lr", "Invalid learning rate"), ("eps", "Invalid epsilon value"), ("weight_decay", "Invalid weight_decay value")],
)
@pytest.mark.parametrize("value", BAD)
def test_bad_numbers(name, words, value):
    refused(dlopt.Adam, words, **{name: value})


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("value", [*BAD, 1.0, 1.5])
def test_bad_betas(index, value):
    pair = [0.9, 0.999]
    pair[index] = value
    refused(dlopt.Adam, f"Invalid beta parameter at index {index}", betas=tuple(pair))


@pytest.mark.parametrize("value", [(), (0.9,), (0.9, 0.99, 0.999), 0.9, "ab", None])
def test_betas_that_are_no_pair(value):
    refused(dlopt.Adam, "Invalid beta", betas=value)


def test_learning_rates_that_are_no_number():
    refused(dlopt.Adam, "Tensor lr must be 1-element", lr=torch.tensor([0.1, 0.1]))
