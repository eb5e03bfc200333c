"""Truths for FTRL: McMahan et al. 2013 in NumPy, the problem that its closed form solves, its reductions, its zeros."""

import itertools

import numpy as np
import pytest
import scipy.optimize
import torch
from torch import nn

import dlopt
from dlopt.engine import faces
from dlopt.engine.faces import llvm

FACES = ["numpy", "torch", "llvm"] if llvm.missing() is None else ["numpy", "torch"]
each_face = pytest.mark.parametrize("face", FACES)
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
SETTING = dict(lr=0.3, beta=0.7, l1=0.8, l2=0.2)


def gradients(steps=60, size=7, seed=0, scale=1.0):
    return scale * np.random.default_rng(seed).normal(0.3, 1.0, size=(steps, size))


def walk(grads, face="torch", dtype=torch.float64, start=None, **kw):
    """The points dlopt.FTRL visits under given gradients, and the optimizer."""
    w = torch.zeros(grads.shape[1:], dtype=dtype) if start is None else torch.tensor(start, dtype=dtype)
    w.requires_grad_()
    opt, points = dlopt.FTRL([w], **kw), []
    with faces.use(face):
        for g in grads:
            w.grad = torch.tensor(g).to(dtype)
            opt.step()
            points.append(w.detach().clone())
    return torch.stack(points), opt


def algorithm_1(grads, lr, beta, l1, l2):
    """McMahan et al. 2013, algorithm 1, coordinate by coordinate; the weight is made anew when it is needed."""
    z, n = np.zeros(grads.shape[1]), np.zeros(grads.shape[1])

    def weight(i):
        if abs(z[i]) <= l1:
            return 0.0
        return -1 / ((beta + np.sqrt(n[i])) / lr + l2) * (z[i] - np.sign(z[i]) * l1)

    points = []
    for g in grads:
        w = [weight(i) for i in range(len(z))]
        for i in range(len(z)):
            sigma = (np.sqrt(n[i] + g[i] ** 2) - np.sqrt(n[i])) / lr
            z[i] += g[i] - sigma * w[i]
            n[i] += g[i] ** 2
        points.append([weight(i) for i in range(len(z))])
    return np.array(points), z, n


# The paper


@each_face
@pytest.mark.parametrize(
    "kw", [SETTING, dict(lr=0.1, beta=1.0, l1=0.0, l2=0.5), dict(lr=2.0, beta=0.0, l1=3.0, l2=0.1)], ids=str
)
def test_algorithm_1_from_zero_weights(face, kw):
    grads = gradients()
    points, opt = walk(grads, face, **kw)
    expected, z, n = algorithm_1(grads, **kw)
    np.testing.assert_allclose(points.numpy(), expected, rtol=1e-11, atol=1e-13)
    [state] = opt.state.values()
    np.testing.assert_allclose(state["z"].numpy(), z, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(state["n"].numpy(), n, rtol=1e-12)
    if kw["l1"]:
        assert 0 < (points == 0).sum() < points.numel()


def test_the_closed_form_solves_the_problem_it_comes_from():
    """argmin over w of g_1..t . w + 1/2 sum sigma_s (w - w_s)^2 + l1 |w| + (l2 + beta/lr)/2 w^2, by SciPy."""
    grads = gradients(steps=12, size=3)
    points = walk(grads, **SETTING)[0].numpy()
    before = np.vstack([np.zeros(3), points[:-1]])
    roots = np.sqrt(np.vstack([np.zeros(3), (grads**2).cumsum(0)]))
    sigma = np.diff(roots, axis=0) / SETTING["lr"]
    for t, i in itertools.product(range(1, 13), range(3)):

        def objective(w, t=t, i=i):
            past = grads[:t, i].sum() * w + 0.5 * (sigma[:t, i] * (w - before[:t, i]) ** 2).sum()
            ridge = 0.5 * (SETTING["l2"] + SETTING["beta"] / SETTING["lr"]) * w**2
            return past + ridge + SETTING["l1"] * abs(w)

        options = {"xatol": 1e-12}
        sides = [(-9, 0), (0, 9)]  # on each side of the kink the problem is smooth
        found = [scipy.optimize.minimize_scalar(objective, bounds=b, method="bounded", options=options) for b in sides]
        best = min(found, key=lambda one: one.fun)
        assert points[t - 1, i] == pytest.approx(best.x, abs=1e-6)
        assert objective(points[t - 1, i]) <= best.fun + 1e-14


@each_face
def test_a_weight_is_zero_exactly_where_z_is_within_l1(face):
    """The condition of optimality at the kink, after every step."""
    grads = gradients(steps=100, size=50)
    w = torch.zeros(50, dtype=torch.float64, requires_grad=True)
    opt = dlopt.FTRL([w], **SETTING)
    for g in grads:
        w.grad = torch.tensor(g)
        with faces.use(face):
            opt.step()
        z = opt.state[w]["z"]
        assert torch.equal(w.detach() == 0, z.abs() <= SETTING["l1"])
        moved = w.detach() != 0
        assert torch.equal(torch.sign(w.detach()[moved]), -torch.sign(z[moved]))


# Reductions


@each_face
def test_without_penalties_it_is_adagrad_with_beta_in_the_denominator(face):
    grads, lr, beta = gradients(), 0.3, 0.7
    points, _ = walk(grads, face, lr=lr, beta=beta, l1=0.0, l2=0.0)
    # w_t = -lr / (beta + sqrt n_t) * z_t unrolls to AdaGrad's step, the shrinkage by a growing beta term apart
    w, n, expected = np.zeros(7), np.zeros(7), []
    for g in grads:
        n = n + g * g
        w = w - lr * g / (beta + np.sqrt(n))
        expected.append(w)
    np.testing.assert_allclose(points.numpy(), expected, rtol=1e-11, atol=1e-13)
    ours = torch.zeros(7, dtype=torch.float64, requires_grad=True)
    adagrad = dlopt.Adagrad([ours], lr=lr, eps=beta)
    for g in grads:
        ours.grad = torch.tensor(g)
        adagrad.step()
    torch.testing.assert_close(points[-1], ours.detach(), rtol=1e-11, atol=1e-13)


def test_a_weight_that_begins_elsewhere():
    """A gradient of zero sets it to 0; any other lets its start into z, sigma times over."""
    grads = gradients()
    two = walk(grads, start=np.full(7, 100.0), **SETTING)[0]
    assert not walk(0 * grads[:1], start=np.full(7, 100.0), **SETTING)[0][-1].any()
    sigma = np.abs(grads[0]) / SETTING["lr"]
    z = grads[0] - sigma * 100.0
    expected = -(z - np.sign(z) * SETTING["l1"]) / (
        (SETTING["beta"] + np.abs(grads[0])) / SETTING["lr"] + SETTING["l2"]
    )
    np.testing.assert_allclose(two[0].numpy(), np.where(np.abs(z) <= SETTING["l1"], 0, expected), rtol=1e-12)


# Zeros


@each_face
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("writing", ["plain", "kahan"])
def test_zeros_are_exact(face, dtype, writing):
    """A weight that was away and comes back is 0.0, not a rounding error; whatever was lost on the way is forgotten."""
    away = [[1.7, -2.3, 0.31, 5.0]] * 3
    back = [[-0.9, 1.3, -0.2, -2.9]] * 20
    points, opt = walk(np.array(away + back), face, dtype, lr=0.1, beta=1.0, l1=2.0, writing=writing)
    assert (points[2] != 0).sum() == 3
    z = next(iter(opt.state.values()))["z"]
    history = points.double()
    returned = ((history[1:] == 0) & (history[:-1] != 0)).sum()
    assert returned >= 3  # through zero, exactly
    assert torch.equal(points[-1] == 0, z.abs() <= 2.0)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("writing", ["plain", "kahan"])
def test_every_face_has_the_same_zeros(dtype, writing):
    grads = gradients(steps=200, size=40) - 0.3  # without a drift, so that some sums stay near zero
    zeros = [walk(grads, face, dtype, l1=3.0, writing=writing)[0] == 0 for face in FACES]
    assert all(torch.equal(zeros[0], other) for other in zeros[1:])
    assert zeros[0][-1].any() and not zeros[0][-1].all()


# Sparse gradients


@each_face
def test_sparse_rows_equal_dense(face):
    """Rows not seen have a gradient of zero, which would not move them: the two agree to the last bit."""
    torch.manual_seed(0)
    tables = [nn.Embedding(12, 3, sparse=sparse, dtype=torch.float64) for sparse in (True, False)]
    for table in tables:
        nn.init.zeros_(table.weight)
    opts = [dlopt.FTRL(table.parameters(), **SETTING) for table in tables]
    for _ in range(40):
        words, targets = torch.randint(10, (4,)), torch.randn(4, 3, dtype=torch.float64)
        for table, opt in zip(tables, opts, strict=True):
            opt.zero_grad()
            (3 * (table(words) - targets) ** 2).sum().backward()
            with faces.use(face):
                opt.step()
    torch.testing.assert_close(tables[0].weight, tables[1].weight, rtol=1e-13, atol=0)
    assert torch.equal(tables[0].weight == 0, tables[1].weight == 0)
    assert not tables[0].weight[10:].any() and (tables[0].weight[:10] != 0).any()


@each_face
def test_rows_without_a_gradient_are_not_read_or_written(face):
    table = nn.Embedding(5, 2, sparse=True)
    nn.init.zeros_(table.weight)
    with torch.no_grad():
        table.weight[3], table.weight[4] = 1.0, float("nan")
    opt = dlopt.FTRL(table.parameters(), **SETTING)
    for _ in range(3):
        opt.zero_grad()
        table(torch.tensor([0, 0, 2])).sum().backward()
        with faces.use(face):
            opt.step()
    assert table.weight[:3].isfinite().all() and (table.weight[3] == 1).all() and table.weight[4].isnan().all()
    assert not opt.state[table.weight]["n"][[1, 3, 4]].any()


# Bad input


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "0.1", None, torch.ones(2)], ids=str)
@pytest.mark.parametrize("name, words", [("lr", "learning rate"), ("beta", "beta"), ("l1", "l1"), ("l2", "l2")])
def test_bad_hyperparameters_are_refused(name, words, value):
    with pytest.raises(ValueError, match=f"Invalid {words}|Tensor {words}"):
        dlopt.FTRL([torch.zeros(2, requires_grad=True)], **{name: value})


def test_a_learning_rate_of_zero_is_refused_now_and_when_a_schedule_brings_it():
    w = torch.zeros(2, requires_grad=True)
    with pytest.raises(ValueError, match="Invalid learning rate: 0"):
        dlopt.FTRL([w], lr=0)
    opt = dlopt.FTRL([w], lr=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(opt, lambda t: 1 - t / 3)
    for _ in range(3):
        w.grad = torch.ones(2)
        opt.step()
        schedule.step()
    before, state = w.detach().clone(), {k: v.clone() for k, v in opt.state[w].items()}
    with pytest.raises(ValueError, match="Invalid learning rate: 0"):
        opt.step()
    assert torch.equal(w.detach(), before)
    assert all(torch.equal(opt.state[w][k], v) for k, v in state.items())
