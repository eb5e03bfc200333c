"""RMSprop: the lecture and Graves' equations in NumPy, and facts of mathematics."""

from functools import partial

import numpy as np
import pytest
import torch

import dlopt
from dlopt.engine import faces
from tests.bowl import DECAY, START, H, each_face, walk

iterates = partial(walk, dlopt.RMSprop)


# The papers


@each_face
def test_hinton_2012_lecture_6e(face):
    """MeanSquare = .9 MeanSquare + .1 gradient^2; the gradient is divided by its root. No epsilon."""
    x, mean_square = START.copy(), np.zeros(3)
    expected = [x]
    for _ in range(100):
        g = H * x + DECAY * x
        mean_square = 0.9 * mean_square + 0.1 * g**2
        x = x - 0.01 * g / np.sqrt(mean_square)
        expected.append(x)
    points = iterates(face, 100, lr=0.01, alpha=0.9, eps=0, weight_decay=DECAY)
    np.testing.assert_allclose(points, expected, rtol=1e-9, atol=1e-13)


@each_face
def test_graves_2013_equations_38_to_45(face):
    """n = a n + (1-a) g^2, m = a m + (1-a) g, d = b d - r g / sqrt(n - m^2 + e), w = w + d."""
    a, b, r, e = 0.95, 0.9, 1e-4, 1e-4
    w, n, m, d = START.copy(), np.zeros(3), np.zeros(3), np.zeros(3)
    expected = [w]
    for _ in range(200):
        g = H * w + DECAY * w
        n = a * n + (1 - a) * g**2
        m = a * m + (1 - a) * g
        d = b * d - r * g / np.sqrt(n - m**2 + e)
        w = w + d
        expected.append(w)
    kw = dict(lr=r, alpha=a, momentum=b, eps=e, centered=True, convention="paper", weight_decay=DECAY)
    np.testing.assert_allclose(iterates(face, 200, **kw), expected, rtol=1e-9, atol=1e-12)


@each_face
@pytest.mark.parametrize("momentum", [0, 0.9])
@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("convention", ["torch", "paper"])
def test_each_of_the_four_rules_in_both_conventions(face, momentum, centered, convention):
    a, r, e = 0.9, 0.003, 1e-2
    w, n, m, b = START.copy(), np.zeros(3), np.zeros(3), np.zeros(3)
    expected = [w]
    for _ in range(100):
        g = H * w + DECAY * w
        n = a * n + (1 - a) * g**2
        m = a * m + (1 - a) * g
        spread = n - m**2 if centered else n
        scale = np.sqrt(spread + e) if convention == "paper" else np.sqrt(spread) + e
        b = momentum * b + g / scale
        w = w - r * b
        expected.append(w)
    kw = dict(lr=r, alpha=a, momentum=momentum, eps=e, centered=centered, convention=convention, weight_decay=DECAY)
    np.testing.assert_allclose(iterates(face, 100, **kw), expected, rtol=1e-8, atol=1e-11)


# Facts


@each_face
@pytest.mark.parametrize("convention, length", [("torch", 9.0909), ("paper", 0.0100)])
def test_first_step_of_a_tiny_gradient(face, convention, length):
    """g = 1e-6, eps = 1e-8, in units of lr: 1e-6 / (1e-7 + 1e-8) outside the root, 1e-6 / 1e-4 inside."""
    path = iterates(face, 1, grad=lambda x: np.full(3, 1e-6), lr=1.0, convention=convention)
    np.testing.assert_allclose(-np.diff(path, axis=0), length, rtol=1e-4)


@each_face
@pytest.mark.parametrize("alpha", [0.5, 0.9, 0.99])
def test_there_is_no_bias_correction(face, alpha):
    """On a constant gradient step t has length lr / sqrt(1 - alpha^t): the first is 1 / sqrt(1 - alpha) times lr."""
    path = iterates(face, 60, grad=lambda x: np.full(3, -7.0), lr=0.25, alpha=alpha, eps=0)
    expected = 0.25 / np.sqrt(1 - alpha ** np.arange(1.0, 61))
    np.testing.assert_allclose(np.diff(path, axis=0), np.outer(expected, np.ones(3)), rtol=1e-11)


@each_face
def test_with_the_correction_as_a_schedule_it_is_adam_without_momentum(face):
    alpha, lr = 0.95, 0.01
    w, v = (torch.tensor(START, requires_grad=True) for _ in range(2))
    ours = dlopt.RMSprop([w], lr=lr, alpha=alpha, eps=0, weight_decay=DECAY)
    adam = dlopt.Adam([v], lr=lr, betas=(0.0, alpha), eps=0, weight_decay=DECAY)
    with faces.use(face):
        for t in range(1, 51):
            ours.param_groups[0]["lr"] = lr * (1 - alpha**t) ** 0.5
            for p, opt in ((w, ours), (v, adam)):
                p.grad = torch.tensor(H) * p.detach()
                opt.step()
    torch.testing.assert_close(w, v, rtol=1e-9, atol=1e-13)


@each_face
@pytest.mark.parametrize("c", [1e-3, 1000.0])
def test_the_size_of_the_loss_does_not_matter(face, c):
    for kw in (dict(), dict(momentum=0.5)):
        kw = dict(kw, lr=0.003, eps=0, alpha=0.9)
        here, there = iterates(face, 60, **kw), iterates(face, 60, lambda x: c * (H * x), **kw)
        np.testing.assert_allclose(here, there, rtol=1e-9, atol=1e-12)


@each_face
def test_it_forgets(face):
    """A gradient of 1 for 100 steps, then of 0.01: after k more the mean is a^k (1 - a^100) + (1 - a^k) 1e-4."""
    sizes = iter([1.0] * 100 + [0.01] * 200)
    path = iterates(face, 300, grad=lambda x: np.full(3, next(sizes)), lr=1.0, alpha=0.9, eps=0)
    k = np.arange(1.0, 201)
    expected = 0.01 / np.sqrt(0.9**k * (1 - 0.9**100) + (1 - 0.9**k) * 1e-4)
    np.testing.assert_allclose(-np.diff(path, axis=0)[100:, 0], expected, rtol=1e-9)


@each_face
def test_centered_grows_on_a_steady_slope(face):
    """The variance is (1 - a^t) a^t g^2, so the step grows like a^(-t/2)."""
    path = iterates(face, 60, grad=lambda x: np.full(3, 0.5), lr=1.0, alpha=0.9, centered=True, eps=0)
    power = 0.9 ** np.arange(1.0, 61)
    np.testing.assert_allclose(-np.diff(path, axis=0)[:, 0], 1 / np.sqrt(power * (1 - power)), rtol=1e-8)


@each_face
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("convention", ["torch", "paper"])
@pytest.mark.parametrize("momentum", [0, 0.5])
def test_centered_is_never_nan(face, dtype, convention, momentum):
    """Where rounding makes v - m^2 negative, which torch's own class turns into NaN, the variance counts as 0."""
    g = torch.logspace(-3, 3, 500, dtype=dtype)
    w = torch.zeros(500, dtype=dtype, requires_grad=True)
    opt = dlopt.RMSprop([w], lr=1e-10, alpha=0.9, centered=True, convention=convention, momentum=momentum)
    with faces.use(face):
        for _ in range(600):
            w.grad = g.clone()
            opt.step()
            assert w.isfinite().all()


@each_face
@pytest.mark.parametrize("momentum", [0, 0.5])
def test_a_negative_variance_counts_as_0(face, momentum):
    """With alpha = 1 the means stay as they are set: v - m^2 is 0 - 0, then 1 - 4; both steps are g / eps."""
    w = torch.zeros(1, requires_grad=True)
    opt = dlopt.RMSprop([w], lr=0.25, alpha=1.0, eps=0.5, centered=True, momentum=momentum)
    w.grad = torch.ones(1)
    with faces.use(face):
        opt.step()
        opt.state[w]["square_avg"].fill_(1), opt.state[w]["grad_avg"].fill_(2)
        opt.step()
    assert w.item() == -0.5 * (2 + momentum)


def test_torchs_centered_is_nan_there():
    """What the rule's maximum is for. Should torch mend it, this test says so."""
    w = torch.zeros(500, requires_grad=True)
    opt = torch.optim.RMSprop([w], lr=1e-10, alpha=0.9, centered=True)
    for _ in range(600):
        w.grad = torch.logspace(-3, 3, 500)
        opt.step()
    assert w.isnan().any()


# Refusals

NOT = [float("nan"), float("inf"), "0.1", None, [0.1, 0.1]]
BAD = [(name, value) for name in ("lr", "alpha", "eps", "weight_decay", "momentum") for value in (-0.1, *NOT)]


@pytest.mark.parametrize("name, value", [*BAD, ("alpha", 1.5)], ids=str)
def test_bad_hyperparameters_are_refused(name, value):
    words = {"lr": "learning rate", "eps": "epsilon value"}.get(name, f"{name} value")
    with pytest.raises((ValueError, TypeError), match=words):
        dlopt.RMSprop([torch.ones(2, requires_grad=True)], **{name: value})


@pytest.mark.parametrize("convention", ["Paper", "tensorflow", None, 1])
def test_an_unknown_convention_is_refused(convention):
    with pytest.raises(ValueError, match="convention"):
        dlopt.RMSprop([torch.ones(2, requires_grad=True)], convention=convention)
