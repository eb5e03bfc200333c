"""What gradient descent can and cannot do on bowls: facts of mathematics, read off dlopt's own steps."""

from functools import partial

import numpy as np
import pytest
import torch

import dlopt
from dlopt.curvature import cg
from dlopt.lab import iterates, rate
from tests.sgd.exercises.conditioning import cg_step

# One bowl


@pytest.mark.parametrize("gh", [0.1, 1.0, 1.9, 2.0, 2.1])
def test_each_curvature_has_its_factor(gh):
    points = iterates(partial(dlopt.SGD, lr=gh / 4), lambda x: 4 * x, 1.0, 15)
    np.testing.assert_allclose(points, (1 - gh) ** np.arange(16), atol=1e-14, rtol=1e-12)


def test_the_best_rate_for_kappa_100():
    """2 / (L + l), and no other: 99 / 101 = 0.980198."""
    worst = {lr: rate(partial(dlopt.SGD, lr=lr), [1.0, 100.0]) for lr in np.linspace(0.005, 0.025, 401)}
    best = rate(partial(dlopt.SGD, lr=2 / 101), [1.0, 100.0])
    assert best == pytest.approx(99 / 101, abs=1e-12) and best == pytest.approx(0.980198, abs=5e-7)
    assert min(worst.values()) >= best - 1e-12


def test_as_many_steps_as_distinct_eigenvalues_with_the_rates_of_these():
    """The product of 1 - h / h_i vanishes at every h_i; CG finds this polynomial by itself."""
    h = torch.tensor([1.0, 10.0, 10.0, 100.0, 100.0]).double()

    def before(opt, t):
        opt.param_groups[0]["lr"] = (0.01, 0.1, 1.0)[t]

    assert np.abs(iterates(partial(dlopt.SGD, lr=1.0), lambda x: h * x, np.ones(5), 3, before)[-1]).max() < 1e-12
    assert cg(torch.diag(h), torch.ones(5).double(), tol=1e-12).iterations == 3


@pytest.mark.parametrize("kw", [{}, dict(momentum=0.9), dict(momentum=0.9, nesterov=True)], ids=str)
def test_rotation_changes_nothing(kw):
    torch.manual_seed(0)
    h = torch.logspace(0, 3, 8, dtype=torch.float64)
    q = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64))[0]
    start = torch.randn(8, dtype=torch.float64)
    make = partial(dlopt.SGD, lr=1e-3, **kw)
    plain = iterates(make, lambda x: h * x, start.tolist(), 200)
    turned = iterates(make, lambda x: q @ (h * (q.T @ x)), (q @ start).tolist(), 200)
    np.testing.assert_allclose(turned, plain @ q.T.numpy(), atol=1e-8)


# No smallest curvature


@pytest.mark.parametrize("steps", [1, 10, 100])
def test_one_over_t(steps):
    """f(x_t) - f* <= L |x_0 - x*|^2 / (2t) at lr = 1 / L, for convex f: log cosh, and Nesterov's function."""
    last = iterates(partial(dlopt.SGD, lr=1.0), torch.tanh, [10.0, -3.0], steps)[-1]
    assert np.log(np.cosh(last)).sum() <= 109 / (2 * steps)
    matrix, target, gap, _ = worst(101)
    last = iterates(partial(dlopt.SGD, lr=0.25), lambda x: matrix @ (x - target), np.zeros(101), steps)[-1]
    assert gap(last) <= 4 * (target @ target).item() / (2 * steps)


# No smallest number of steps: Nesterov 2004, section 2.1.2


def worst(d):
    """Nesterov's function with L = 4: its matrix, minimizer, gap, and the bound after (d - 1) / 2 steps."""
    e = torch.eye(d, dtype=torch.float64)
    matrix = 2 * e - torch.diag(torch.ones(d - 1), 1) - torch.diag(torch.ones(d - 1), -1)
    target = torch.linalg.solve(matrix, e[0])

    def gap(x):
        error = torch.as_tensor(x) - target
        return (error @ matrix @ error / 2).item()

    return matrix, target, gap, 3 * 4 * (target @ target).item() / (32 * ((d + 1) / 2) ** 2)


def weights(steps):
    """The momenta of Beck & Teboulle 2009, eq. 4.2 and 4.3."""
    s = [1.0]
    for _ in range(steps + 1):
        s.append((1 + np.sqrt(1 + 4 * s[-1] ** 2)) / 2)
    return [(a - 1) / b for a, b in zip(s, s[1:], strict=False)]


def fista_paper(gradient, start, steps, lr):
    x, y = start, start
    for beta in weights(steps)[:steps]:
        before, x = x, y - lr * gradient(y)
        y = x + beta * (x - before)
    return x, y


def fista_sgd(gradient, start, steps, lr):
    """The same by dlopt.SGD. Torch's form applies the new momentum to the old buffer, so that the buffer is scaled."""
    beta = [1e-300, *weights(steps)[1:]]

    def before(opt, t):
        opt.param_groups[0]["momentum"] = beta[t]
        for state in opt.state.values():
            state["momentum_buffer"].mul_(beta[t - 1] / beta[t])

    points = iterates(partial(dlopt.SGD, lr=lr, momentum=0.5, nesterov=True), gradient, start, steps, before)
    ahead = torch.tensor(points[-2])
    return ahead - lr * gradient(ahead), torch.tensor(points[-1])


def conjugate(gradient, start, steps, lr):
    zero = torch.tensor(start)
    shift = gradient(zero)
    return (cg(lambda v: gradient(v + zero) - shift, -shift, tol=0.0, max_iter=steps).x,)


def stepping(**kw):
    def run(gradient, start, steps, lr):
        return (iterates(partial(dlopt.SGD, lr=lr, **kw), gradient, start, steps)[-1],)

    return run


METHODS = {
    "GD": stepping(),
    "heavy ball": stepping(momentum=0.9),
    "Nesterov": stepping(momentum=0.9, nesterov=True),
    "FISTA": fista_sgd,
    "CG": conjugate,
}


def test_fista_by_sgd_is_the_paper():
    matrix, target, _, _ = worst(31)
    ours, theirs = (
        run(lambda x: matrix @ (x - target), z, 40, 0.25)
        for run, z in ((fista_sgd, np.zeros(31)), (fista_paper, torch.zeros(31).double()))
    )
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", METHODS)
def test_nothing_gets_below_the_bound(name):
    for steps in (1, 2, 5, 15, 50):
        matrix, target, gap, bound = worst(2 * steps + 1)
        for point in METHODS[name](lambda x: matrix @ (x - target), np.zeros(len(target)), steps, 0.25):  # noqa: B023
            assert gap(point) >= bound


@pytest.mark.parametrize("name, expected", [("GD", 10.5935), ("FISTA", 3.1616), ("CG", 1.01488)])
def test_how_near_they_come_after_50_steps(name, expected):
    matrix, target, gap, bound = worst(101)
    point = METHODS[name](lambda x: matrix @ (x - target), np.zeros(101), 50, 0.25)[0]
    assert gap(point) / bound == pytest.approx(expected, rel=1e-5)


def test_the_model_answer_of_the_exercise_is_cg():
    rng = np.random.default_rng(1)
    root = rng.normal(size=(9, 9))
    matrix, b = root @ root.T + np.eye(9), rng.normal(size=9)
    x, r, p = np.zeros(9), b, b
    for steps in range(1, 6):
        x, r, p = cg_step(x, r, p, matrix)
        np.testing.assert_allclose(x, cg(torch.tensor(matrix), torch.tensor(b), tol=0, max_iter=steps).x, rtol=1e-9)
