"""AdamW: Loshchilov and Hutter's algorithm 2 in NumPy, both readings of its decay, and facts of mathematics.

torch.optim.AdamW is the oracle of tests/adaptive/test_torch.py.
"""

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR

import dlopt
from dlopt.engine import faces
from dlopt.engine.faces import llvm

FACES = ["numpy", "torch", "llvm"] if llvm.missing() is None else ["numpy", "torch"]
each_face = pytest.mark.parametrize("face", FACES)
each_convention = pytest.mark.parametrize("convention", ["torch", "paper"])

H = np.diag([1.0, 10.0, 100.0])
START = np.array([1.0, -2.0, 0.5])


def eta(t):
    """A schedule multiplier of the paper, t from 1: a warm restart in the middle."""
    return 0.5 + 0.5 * np.cos(np.pi * ((t - 1) % 30) / 30)


def algorithm_2(steps, alpha, beta1, beta2, eps, decay, gradient):
    """Algorithm 2 line by line, `decay` multiplied by the schedule alone: theta after each step."""
    theta, m, v, points = START.copy(), np.zeros(3), np.zeros(3), [START]
    for t in range(1, steps + 1):  # line 4
        g = gradient(theta)  # 5, without the coupled term of line 6
        m = beta1 * m + (1 - beta1) * g  # 7
        v = beta2 * v + (1 - beta2) * g**2  # 8
        m_hat = m / (1 - beta1**t)  # 9
        v_hat = v / (1 - beta2**t)  # 10
        theta = theta - eta(t) * (alpha * m_hat / (np.sqrt(v_hat) + eps) + decay * theta)  # 12
        points.append(theta)
    return np.array(points)


def ours(face, steps, gradient, scheduled=False, start=START, **kw):
    w = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    opt = dlopt.AdamW([w], **kw)
    schedule = LambdaLR(opt, lambda t: eta(t + 1)) if scheduled else None
    points = [w.detach().numpy().copy()]
    with faces.use(face):
        for _ in range(steps):
            w.grad = torch.as_tensor(gradient(w.detach().numpy())).clone()
            opt.step()
            if schedule:
                schedule.step()
            points.append(w.detach().numpy().copy())
    return np.array(points)


@each_face
@each_convention
@pytest.mark.parametrize("betas, eps", [((0.9, 0.999), 1e-8), ((0.5, 0.7), 1e-2), ((0.0, 0.9), 1e-3)])
def test_algorithm_2_with_a_schedule(face, convention, betas, eps):
    """torch's lambda is the paper's over alpha, whatever the schedule."""
    alpha, decay = 0.05, 0.02
    expected = algorithm_2(100, alpha, *betas, eps, decay, lambda x: H @ x)
    given = decay if convention == "paper" else decay / alpha
    points = ours(
        face, 100, lambda x: H @ x, True, lr=alpha, betas=betas, eps=eps, weight_decay=given, convention=convention
    )
    np.testing.assert_allclose(points, expected, rtol=1e-11, atol=1e-14)


@each_face
def test_the_conventions_are_not_the_same(face):
    points = [
        ours(face, 20, lambda x: H @ x, lr=0.05, weight_decay=0.1, convention=each) for each in ("torch", "paper")
    ]
    assert abs(points[0] - points[1]).max() > 1e-2


@each_face
@pytest.mark.parametrize("scheduled", [False, True])
@each_convention
def test_without_gradients_a_step_takes_its_share(face, convention, scheduled):
    lr, decay = 0.1, 0.3
    points = ours(
        face, 40, np.zeros_like, scheduled, lr=lr, weight_decay=decay, convention=convention, eps=1e-8
    )  # fmt: skip
    rate = decay if convention == "paper" else lr * decay
    factors = [1 - rate * (eta(t) if scheduled else 1) for t in range(1, 41)]
    np.testing.assert_allclose(points[1:], np.cumprod(factors)[:, None] * START, rtol=1e-12)


def test_the_papers_decay_follows_a_rate_set_by_hand_from_the_initial_one():
    """Only `initial_lr` tells a schedule from a new base rate: without it the share is the whole decay."""
    w = torch.ones(1, dtype=torch.float64, requires_grad=True)
    opt = dlopt.AdamW([w], lr=0.1, weight_decay=0.5, convention="paper")
    w.grad = torch.zeros_like(w)
    opt.param_groups[0]["lr"] = 0.01
    opt.step()
    assert w.item() == pytest.approx(0.5, rel=1e-12)
    opt.param_groups[0]["initial_lr"] = 0.1
    opt.step()
    assert w.item() == pytest.approx(0.5 * 0.95, rel=1e-12)


def test_the_papers_decay_is_exact_with_a_rate_that_is_a_tensor():
    points = ours("torch", 1, np.zeros_like, lr=torch.tensor(0.1), weight_decay=0.3, convention="paper")
    np.testing.assert_allclose(points[-1], 0.7 * START, rtol=1e-14)


@pytest.mark.parametrize("adam", [dlopt.Adam, torch.optim.Adam], ids=["dlopt", "torch"])
def test_a_checkpoint_of_adam_leaves_the_decay_decoupled(adam):
    w = torch.tensor(START, requires_grad=True)
    opt = dlopt.AdamW([w])
    opt.load_state_dict(adam([w], lr=0.1, weight_decay=0.1).state_dict())
    w.grad = torch.zeros_like(w)
    opt.step()
    np.testing.assert_allclose(w.detach(), 0.99 * START, rtol=1e-12)


def test_a_rate_of_zero_decays_nothing_in_either_convention():
    for convention in ("torch", "paper"):
        points = ours("torch", 3, np.ones_like, lr=0.0, weight_decay=0.5, convention=convention)
        np.testing.assert_array_equal(points[-1], START)


@each_face
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("lr", [1.0, 2.0])
def test_a_constant_gradient_leads_to_one_over_decay(face, size, lr):
    """m_hat / sqrt(v_hat) = 1, so the rest point is -1 / decay: no learning rate, no gradient in it."""
    last = ours(face, 250, lambda x: np.full(3, size), lr=lr, weight_decay=0.1, eps=0.0)[-1]
    np.testing.assert_allclose(last, -10.0, rtol=1e-9)


@each_face
def test_decay_does_not_see_the_size_of_the_gradient(face):
    """With eps = 0 a gradient a thousand times larger gives the same path; L2 in Adam does not."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(50, 3))

    def path(scale):
        stream = iter(noise * scale)
        return ours(face, 50, lambda x: next(stream), lr=0.05, weight_decay=0.2, eps=0.0)

    np.testing.assert_allclose(path(1.0), path(1e3), rtol=1e-10)

    def coupled(scale):
        w = torch.tensor(START, requires_grad=True)
        opt = dlopt.Adam([w], lr=0.05, weight_decay=0.2, eps=0.0)
        for row in noise * scale:
            w.grad = torch.tensor(row)
            opt.step()
        return w.detach().numpy()

    assert abs(coupled(1.0) - coupled(1e3)).max() > 1e-2


@each_face
@pytest.mark.parametrize("amsgrad", [False, True])
def test_reductions(face, amsgrad):
    """Without decay it is Adam; Adam with decoupled_weight_decay is AdamW."""
    kw = dict(lr=0.05, amsgrad=amsgrad)

    def other(**more):
        w = torch.tensor(START, requires_grad=True)
        opt = dlopt.Adam([w], **kw, **more)
        with faces.use(face):
            for _ in range(30):
                w.grad = torch.tensor(H @ w.detach().numpy())
                opt.step()
        return w.detach().numpy()

    quadratic = lambda x: H @ x  # noqa: E731
    np.testing.assert_allclose(ours(face, 30, quadratic, weight_decay=0, **kw)[-1], other(), rtol=1e-12)
    np.testing.assert_array_equal(
        ours(face, 30, quadratic, weight_decay=0.3, **kw)[-1], other(weight_decay=0.3, decoupled_weight_decay=True)
    )


def test_noise_settles_at_the_size_of_the_formula():
    """sqrt(lr / (2 decay)) for weights driven by noise alone."""
    g = torch.Generator().manual_seed(0)
    w = torch.zeros(4000, dtype=torch.float64, requires_grad=True)
    opt = dlopt.AdamW([w], lr=0.01, weight_decay=1.0)
    for _ in range(1000):
        w.grad = torch.randn(4000, generator=g, dtype=torch.float64)
        opt.step()
    assert w.detach().square().mean().sqrt().item() == pytest.approx((0.01 / 2) ** 0.5, rel=0.06)


@pytest.mark.parametrize(
    "kw",
    [
        *(dict(lr=x) for x in (-1, float("nan"), float("inf"), "0.1", None, torch.ones(2))),
        *(dict(betas=x) for x in ((0.9,), (0.9, 1.0), (-0.1, 0.9), (0.9, float("nan")), ("a", 0.9), 0.9, (0.9,) * 3)),
        *(dict(eps=x) for x in (-1e-8, float("nan"), float("inf"), "0", None)),
        *(dict(weight_decay=x) for x in (-0.1, float("nan"), float("inf"), "0.1", None)),
        *(dict(convention=x) for x in ("Paper", "", None, 1)),
    ],
    ids=str,
)
def test_bad_hyperparameters_are_refused(kw):
    w = torch.ones(2, requires_grad=True)
    with pytest.raises(ValueError):
        dlopt.AdamW([w], **kw)
    with pytest.raises(ValueError):
        dlopt.AdamW([dict(params=[w], **kw)])
