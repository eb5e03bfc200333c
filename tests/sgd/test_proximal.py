"""Truths for proximal SGD: the papers in NumPy, scikit-learn's solutions, and the conditions at a minimum."""

import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import ElasticNet, Lasso, LogisticRegression

from dlopt.engine import faces
from dlopt.engine.faces import llvm
from dlopt.sgd import SGD, ProximalSGD, l1_prox, soft_threshold

FACES = ["numpy", "torch", "llvm"] if llvm.missing() is None else ["numpy", "torch"]
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
each_face = pytest.mark.parametrize("face", FACES)
each_writing = pytest.mark.parametrize("writing", ["plain", "kahan"])

H = np.diag([1.0, 10.0, 100.0])
START = np.array([1.0, -2.0, 0.5])
TARGET = np.array([0.3, -0.01, 0.2])


def shrink(x, k):
    """The soft threshold, case by case."""
    return np.where(x > k, x - k, np.where(x < -k, x + k, 0.0))


@each_face
@each_writing
@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_forward_then_backward(face, writing, decay):
    """Duchi & Singer 2009, eq. 2, 3 and 19: w' = w - lr g, then w = sign(w') max(|w'| - lr l1, 0)."""
    lr, l1 = 0.005, 0.7
    x, w = START.copy(), torch.tensor(START, requires_grad=True)
    opt = ProximalSGD([w], lr=lr, l1=l1, weight_decay=decay, writing=writing)
    for _ in range(200):
        x = shrink(x - lr * (H @ (x - TARGET) + decay * x), lr * l1)
        w.grad = torch.tensor(H @ (w.detach().numpy() - TARGET))
        with faces.use(face):
            opt.step()
        np.testing.assert_allclose(w.detach().numpy(), x, rtol=1e-11, atol=1e-14)
    assert x[1] == 0 == w[1].item() and (x[[0, 2]] != 0).all()


@each_face
@each_writing
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_zeros_are_exact(face, writing, dtype):
    """An element is 0.0 exactly where the threshold, taken in float64, clearly says so; none is left almost zero."""
    g = torch.Generator().manual_seed(0)
    w = torch.randn(2048, generator=g).to(dtype).requires_grad_()
    opt = ProximalSGD([w], lr=0.1, l1=0.5, writing=writing)
    zeros = []
    for _ in range(60):
        w.grad = (0.3 * w.detach().float() + 0.2 * torch.randn(2048, generator=g)).to(dtype)
        u = w.detach().double() - 0.1 * w.grad.double()
        with faces.use(face):
            opt.step()
        assert (w[u.abs() < 0.049] == 0).all() and (w[u.abs() > 0.051] != 0).all()
        zeros.append(int((w == 0).sum()))
    assert zeros[-1] > 1900 and not ((w != 0) & (w.abs() < 1e-5)).any()


@each_face
def test_without_a_penalty_it_is_sgd(face):
    ours, theirs = (torch.tensor(START, requires_grad=True) for _ in range(2))
    a, b = ProximalSGD([ours], lr=0.005, weight_decay=0.1), SGD([theirs], lr=0.005, weight_decay=0.1)
    for _ in range(50):
        for w, opt in ((ours, a), (theirs, b)):
            w.grad = torch.tensor(H @ w.detach().numpy())
            with faces.use(face):
                opt.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-15)


def descend(x, y, residual, steps, lr, **kw):
    """Full gradients of a linear model in float64; returns its weights and its last gradient."""
    w = torch.zeros(x.shape[1], dtype=torch.float64, requires_grad=True)
    b = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    opt = ProximalSGD([{"params": [w]}, {"params": [b], "l1": 0, "weight_decay": 0}], lr=lr, **kw)
    x, y = torch.tensor(x), torch.tensor(y)
    for _ in range(steps):
        error = residual(x @ w.detach() + b.detach(), y) / len(y)
        w.grad, b.grad = x.T @ error, error.sum()[None]
        opt.step()
    error = residual(x @ w.detach() + b.detach(), y) / len(y)
    return w.detach().numpy(), (x.T @ error).numpy()


def standard(load):
    x, y = load(return_X_y=True)
    return (x - x.mean(0)) / x.std(0), y


def test_optimality_conditions_and_lasso():
    """scikit-learn minimizes |y - Xw|^2 / (2 n) + alpha |w|_1; |gradient| is alpha off zero and no more at zero."""
    x, y = standard(load_diabetes)
    y = (y - y.mean()) / y.std()
    w, gradient = descend(x, y, lambda out, y: out - y, 4000, lr=0.24, l1=0.1)
    theirs = Lasso(alpha=0.1, tol=1e-12, max_iter=100_000).fit(x, y).coef_
    np.testing.assert_allclose(w, theirs, atol=1e-9)
    assert (w == 0).tolist() == (theirs == 0).tolist() and 3 <= (w == 0).sum() <= 8
    assert (np.abs(gradient[w == 0]) <= 0.1).all()
    np.testing.assert_allclose(gradient[w != 0], -0.1 * np.sign(w[w != 0]), atol=1e-10)


def test_elastic_net():
    """alpha (r |w|_1 + (1 - r) |w|^2 / 2) is l1 = alpha r with weight_decay = alpha (1 - r)."""
    x, y = standard(load_diabetes)
    y = (y - y.mean()) / y.std()
    w, _ = descend(x, y, lambda out, y: out - y, 4000, lr=0.2, l1=0.06, weight_decay=0.14)
    theirs = ElasticNet(alpha=0.2, l1_ratio=0.3, tol=1e-12, max_iter=100_000).fit(x, y).coef_
    np.testing.assert_allclose(w, theirs, atol=1e-9)
    assert (w == 0).tolist() == (theirs == 0).tolist() and (w == 0).any()


def test_logistic_regression():
    """scikit-learn weighs the summed loss by C and the penalty by its share, so C = 1 / (n (l1 + l2))."""
    x, y = standard(load_breast_cancer)
    w, _ = descend(x, y * 1.0, lambda out, y: torch.sigmoid(out) - y, 2000, lr=0.3, l1=0.05, weight_decay=0.05)
    model = LogisticRegression(l1_ratio=0.5, C=1 / (len(y) * 0.1), solver="saga", tol=1e-9, max_iter=20_000)
    theirs = model.fit(x, y).coef_[0]
    np.testing.assert_allclose(w, theirs, atol=1e-6)
    assert (w == 0).tolist() == (theirs == 0).tolist() and 8 < (w == 0).sum() < 25


def test_a_subgradient_step_gets_no_zeros():
    """The reason for all this: SGD on the penalty hops over zero, and stays off it by up to lr l1."""
    w = torch.tensor(START, requires_grad=True)
    opt = SGD([w], lr=0.01)
    for _ in range(500):
        w.grad = 0.5 * w.detach() + 2.0 * torch.sign(w.detach())
        opt.step()
    assert (w != 0).all() and (w.abs() <= 0.02).all()


def test_sparse_gradients():
    """With a penalty every row shrinks, without one only those of the gradient move."""
    for l1, untouched in ((0.0, 1.0), (0.5, 0.95)):
        w = torch.ones(3, 2, requires_grad=True)
        w.grad = torch.sparse_coo_tensor(torch.tensor([[1]]), torch.tensor([[2.0, 2.0]]), (3, 2), check_invariants=True)
        ProximalSGD([w], lr=0.1, l1=l1).step()
        expected = torch.full((3, 2), untouched)
        expected[1] -= 0.2
        torch.testing.assert_close(w.detach(), expected)


def test_complex_and_maximize():
    w = torch.tensor([1 + 0.01j], dtype=torch.complex128, requires_grad=True)
    w.grad = torch.zeros_like(w)
    ProximalSGD([w], lr=0.1, l1=0.5).step()
    assert w.item() == pytest.approx(0.95) and w.imag.item() == 0
    v = torch.tensor([1.0], requires_grad=True)
    v.grad = torch.tensor([1.0])
    ProximalSGD([v], lr=0.1, l1=0.5, maximize=True).step()
    assert v.item() == pytest.approx(1.0 + 0.1 - 0.05)


@pytest.mark.parametrize("name", ["l1", "weight_decay"])
@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), "0.1", None])
def test_refuses(name, value):
    w = torch.ones(2, requires_grad=True)
    with pytest.raises(ValueError, match=f"Invalid {name} value"):
        ProximalSGD([w], lr=0.1, **{name: value})
    with pytest.raises(ValueError, match=f"Invalid {name} value"):
        ProximalSGD([{"params": [w], name: value}], lr=0.1)


def test_nan_is_passed_on():
    w = torch.tensor([1.0, 1.0], requires_grad=True)
    for face in FACES:
        w.grad = torch.tensor([float("nan"), 0.0])
        with faces.use(face):
            ProximalSGD([w], lr=0.1, l1=0.5).step()
        assert w[0].isnan() and not w[1].isnan()


def test_checkpoint_without_state():
    w = torch.ones(2, requires_grad=True)
    opt = ProximalSGD([w], lr=0.1, l1=0.5)
    again = ProximalSGD([w], lr=9.0, l1=9.0)
    again.load_state_dict(copy.deepcopy(opt.state_dict()))
    assert again.param_groups[0]["l1"] == 0.5 and not again.state


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_prox_of_tensors_and_arrays(dtype):
    """The prox is the point that minimizes strength |z| + (z - w)^2 / (2 lr): searched on a fine grid."""
    prox = pickle.loads(pickle.dumps(l1_prox(2.0)))
    w = torch.tensor([1.0, -0.75, 0.25, 0.0, -0.5], dtype=dtype)
    grid = np.linspace(-2, 2, 4001)
    best = [grid[np.argmin(2.0 * abs(grid) + (grid - v) ** 2 / (2 * 0.25))] for v in w.tolist()]
    found = prox(w, 0.25)
    assert found.dtype == dtype and found.tolist() == pytest.approx(best, abs=1e-9)
    assert not torch.signbit(found[3:]).any() and torch.equal(w[:1], torch.ones(1, dtype=dtype))
    np.testing.assert_array_equal(prox(w.double().numpy(), 0.25), found.double().numpy())


def test_soft_threshold_by_hand():
    x = np.linspace(-2, 2, 41)
    np.testing.assert_allclose(soft_threshold(x, k=0.7), shrink(x, 0.7), atol=1e-15)


@pytest.mark.parametrize("strength", [-1, float("nan"), float("inf"), "1", None])
def test_prox_refuses(strength):
    with pytest.raises(ValueError, match="Invalid strength"):
        l1_prox(strength)


@pytest.mark.parametrize("w", [np.array([1 + 2j]), torch.tensor([1 + 2j])])
def test_l1_prox_refuses_complex_numbers(w):
    with pytest.raises(TypeError, match="takes real numbers"):
        l1_prox(2.0)(w, 0.25)
