"""AdaGrad: the paper in NumPy, torch's sparse one, and facts of mathematics."""

from functools import partial

import numpy as np
import pytest
import torch

import dlopt
from dlopt.engine import faces
from tests.bowl import DECAY, START, H, each_face, walk

iterates = partial(walk, dlopt.Adagrad)


# The paper


@each_face
def test_duchi_2011_figure_1(face):
    """s_t = |g_{1:t}|_2 per coordinate, H_t = delta I + diag(s_t), x = x - eta H_t^-1 g: the whole history is kept."""
    eta, delta = 0.3, 0.02
    x, history = START.copy(), []
    expected = [x]
    for _ in range(100):
        history.append(H * x + DECAY * x)
        s = np.linalg.norm(np.array(history), axis=0)
        x = x - eta * history[-1] / (delta + s)
        expected.append(x)
    points = iterates(face, 100, lr=eta, eps=delta, weight_decay=DECAY)
    np.testing.assert_allclose(points, expected, rtol=1e-11, atol=1e-14)


@each_face
def test_rate_decay_and_initial_value(face):
    """At step t the rate is lr / (1 + (t - 1) lr_decay), and the sum begins at its initial value."""
    x, total = START.copy(), np.full(3, 0.7)
    expected = [x]
    for t in range(1, 51):
        g = H * x + DECAY * x
        total = total + g**2
        x = x - 0.3 / (1 + (t - 1) * 0.1) * g / (np.sqrt(total) + 0.02)
        expected.append(x)
    kw = dict(lr=0.3, eps=0.02, weight_decay=DECAY, lr_decay=0.1, initial_accumulator_value=0.7)
    np.testing.assert_allclose(iterates(face, 50, **kw), expected, rtol=1e-11, atol=1e-14)


def test_the_initial_value_is_the_groups():
    ps = [torch.ones(1, requires_grad=True) for _ in range(2)]
    opt = dlopt.Adagrad([{"params": [p], "initial_accumulator_value": k} for k, p in enumerate(ps, 1)])
    for p in ps:
        p.grad = torch.full((1,), 2.0)
    opt.step()
    assert [opt.state[p]["sum"].item() for p in ps] == [5, 6]


# Sparse gradients


@pytest.fixture(autouse=True)
def invariants():
    """torch warns once a process when sparse tensors are made unchecked."""
    with torch.sparse.check_sparse_tensor_invariants():
        yield


def sparse_gradients(steps=30):
    """Gradients of a table of 7 rows of 3, of some rows each, some of them named twice."""
    g = torch.Generator().manual_seed(0)
    for _ in range(steps):
        rows = torch.randint(7, (4,), generator=g)
        values = torch.randn(4, 3, generator=g, dtype=torch.float64)
        yield torch.sparse_coo_tensor(rows[None], values, (7, 3))


SETTINGS = [
    dict(lr=0.3),
    dict(lr=0.3, lr_decay=0.2),
    dict(lr=0.3, initial_accumulator_value=0.5, eps=1e-3),
    dict(lr=0.3, maximize=True),
]


def trained(optimizer, face, dense=False, **kw):
    w = torch.linspace(-1, 1, 21, dtype=torch.float64).reshape(7, 3).requires_grad_()
    opt = optimizer([w], **kw)
    with faces.use(face):
        for grad in sparse_gradients():
            w.grad = grad.to_dense() if dense else grad
            opt.step()
    return w.detach(), opt.state[w]["sum"]


@each_face
@pytest.mark.parametrize("setting", [s for s in SETTINGS if "maximize" not in s], ids=str)
def test_sparse_as_torch(face, setting):
    for ours, theirs in zip(
        trained(dlopt.Adagrad, face, **setting), trained(torch.optim.Adagrad, face, **setting), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


@each_face
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_sparse_is_dense(face, setting):
    """An element whose gradient is 0 keeps its place and its sum, so leaving it out changes nothing."""
    for sparse, dense in zip(
        trained(dlopt.Adagrad, face, **setting), trained(dlopt.Adagrad, face, dense=True, **setting), strict=True
    ):
        torch.testing.assert_close(sparse, dense, rtol=1e-13, atol=1e-15)


def test_an_embedding_with_sparse_gradients_learns_as_the_dense_one():
    tables = []
    for sparse in (True, False):
        table = torch.nn.Embedding.from_pretrained(torch.zeros(50, 4), freeze=False, sparse=sparse)
        opt = dlopt.Adagrad(table.parameters(), lr=0.1)
        g = torch.Generator().manual_seed(1)
        for _ in range(20):
            words, letters = torch.randint(50, (8,), generator=g), torch.randint(4, (8,), generator=g)
            opt.zero_grad()
            torch.nn.functional.cross_entropy(table(words), letters).backward()
            opt.step()
        tables.append(table.weight.detach())
    torch.testing.assert_close(*tables, rtol=1e-5, atol=1e-6)


@each_face
def test_a_row_without_a_gradient_is_not_touched(face):
    w = torch.ones(7, 3, dtype=torch.float64, requires_grad=True)
    opt = dlopt.Adagrad([w], lr=0.3)
    w.grad = torch.sparse_coo_tensor([[2, 5]], torch.ones(2, 3, dtype=torch.float64), (7, 3))
    with faces.use(face):
        opt.step()
    moved = (w != 1).all(1)
    assert moved.nonzero().flatten().tolist() == [2, 5]
    assert (opt.state[w]["sum"] != 0).all(1).equal(moved)


def test_weight_decay_with_a_sparse_gradient_is_refused():
    w = torch.ones(7, 3, dtype=torch.float64, requires_grad=True)
    opt = dlopt.Adagrad([w], lr=0.3, weight_decay=DECAY)
    w.grad = next(sparse_gradients())
    with pytest.raises(RuntimeError, match="weight_decay"):
        opt.step()
    assert w.eq(1).all()


# Facts


@each_face
def test_the_first_step_is_a_sign(face):
    g = np.array([1e-8, -1.0, 1e8])
    step = np.diff(iterates(face, 1, grad=lambda x: g, lr=0.25, eps=0), axis=0)[0]
    np.testing.assert_allclose(step, -0.25 * np.sign(g), rtol=1e-12)


@each_face
def test_on_a_constant_gradient_the_step_is_lr_over_root_t(face):
    path = iterates(face, 400, grad=lambda x: np.full(3, 7.0), lr=0.25, eps=0)
    expected = np.outer(0.25 / np.sqrt(np.arange(1, 401)), np.ones(3))
    np.testing.assert_allclose(-np.diff(path, axis=0), expected, rtol=1e-10)


@each_face
@pytest.mark.parametrize("c", [1e-3, 1000.0])
def test_the_size_of_the_loss_does_not_matter(face, c):
    kw = dict(lr=0.3, eps=0)
    np.testing.assert_allclose(iterates(face, 100, **kw), iterates(face, 100, lambda x: c * (H * x), **kw), rtol=1e-9)


def test_without_noise_the_step_freezes():
    """On a quadratic the squared gradients have a finite sum, and the method converges linearly."""
    w = torch.tensor(START, requires_grad=True)
    opt = dlopt.Adagrad([w], lr=1.0)
    sums = []
    for _ in range(2000):
        w.grad = torch.tensor([1.0, 1.0, 1.0]).double() * w.detach()
        opt.step()
        sums.append(opt.state[w]["sum"].clone())
    torch.testing.assert_close(sums[200], sums[-1], rtol=1e-9, atol=0)
    assert w.abs().max() < 1e-12


@pytest.mark.parametrize("seed", range(5))
def test_lemma_of_the_regret_bound(seed):
    """sum g_t^2 / sqrt(G_t) <= 2 sqrt(G_T), read off the optimizer's own steps."""
    g = iter(np.random.default_rng(seed).standard_cauchy((300, 3)))
    given = []

    def gradient(x):
        given.append(next(g))
        return given[-1]

    path = iterates("numpy", 300, grad=gradient, lr=1.0, eps=0)
    paid = (-np.diff(path, axis=0) * np.array(given)).sum(0)
    assert (paid <= 2 * np.linalg.norm(np.array(given), axis=0)).all()


# Refusals

NOT = [float("nan"), float("inf"), "0.1", None]


@pytest.mark.parametrize("name", ["lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps"])
@pytest.mark.parametrize("value", [-0.1, *NOT, [0.1, 0.1]], ids=str)
def test_bad_hyperparameters_are_refused(name, value):
    words = {"lr": "learning rate", "eps": "epsilon value"}.get(name, f"{name} value")
    with pytest.raises((ValueError, TypeError), match=words):
        dlopt.Adagrad([torch.ones(2, requires_grad=True)], **{name: value})
