"""Truths for Newton's method: SciPy's minimizers, the closed form on quadratics, and facts of mathematics."""

import numpy as np
import pytest
import scipy.optimize
import torch
from torch.nn.functional import softplus

from dlopt.curvature import newton, newton_step
from dlopt.lab import data

DOUBLE = torch.float64


def logistic(l2=1e-2):
    """Breast cancer, 30 weights and a bias: mean logistic loss plus l2/2 |w|^2, as a function of 31 numbers."""
    train = data.breast_cancer().train
    x = torch.cat([train.inputs, torch.ones(len(train), 1)], 1).double()
    sign = (2 * train.targets - 1).double()
    return lambda w: softplus(-sign * (x @ w)).mean() + l2 / 2 * (w @ w)


def rosenbrock(x):
    return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2


def path(f, x0, **kw):
    points = [x0]
    found = newton(f, x0, callback=points.append, **kw)
    return found, points


@pytest.mark.parametrize("shape", [(), (5,), (2, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE], ids=str)
def test_a_quadratic_takes_one_step(shape, dtype):
    torch.manual_seed(0)
    x0 = torch.randn(shape, dtype=dtype)
    d = x0.numel()
    root = torch.randn(d, d, dtype=dtype)
    matrix, b = root @ root.T + torch.eye(d, dtype=dtype), torch.randn(d, dtype=dtype)

    def f(x):
        return x.flatten() @ matrix @ x.flatten() / 2 - b @ x.flatten()

    expected = torch.linalg.solve(matrix, b).view(shape)
    tolerance = dict(rtol=1e-3, atol=1e-4) if dtype == torch.float32 else {}
    torch.testing.assert_close(x0 + newton_step(f, x0), expected, **tolerance)
    found = newton(f, x0, tol=1e-4 if dtype == torch.float32 else 1e-10)
    assert (found.iterations, found.converged, found.shift) == (1, True, 0.0)
    assert found.x.dtype == dtype and found.x.shape == shape
    torch.testing.assert_close(found.x, expected, **tolerance)
    assert found.value == pytest.approx(f(expected).item(), rel=1e-4)


def test_logistic_regression_is_scipys():
    f = logistic()
    found = newton(f, torch.zeros(31, dtype=DOUBLE), tol=1e-12)
    value = torch.func.grad_and_value(f)

    def as_numpy(w):
        g, v = value(torch.tensor(w))
        return v.item(), g.numpy()

    for method in ("trust-ncg", "Newton-CG"):
        hessian = torch.func.jacrev(torch.func.grad(f))
        theirs = scipy.optimize.minimize(
            as_numpy,
            np.zeros(31),
            jac=True,
            hess=lambda w, h=hessian: h(torch.tensor(w)).numpy(),
            method=method,
            tol=1e-10,
        )
        assert found.value == pytest.approx(theirs.fun, abs=1e-12)
        np.testing.assert_allclose(found.x, theirs.x, atol=1e-6)
    assert found.converged and found.gradient_norm <= 1e-12


def test_the_digits_double():
    """Quadratic convergence: each error is at most a constant times the square of the one before."""
    f = logistic()
    found, points = path(f, torch.zeros(31, dtype=DOUBLE), tol=1e-13)
    errors = [float((x - found.x).norm()) for x in points[:-1]]
    ends = [e for e in errors if 1e-7 < e < 0.5]
    assert len(ends) >= 3
    for before, after in zip(ends, ends[1:], strict=False):
        assert after < before**1.7


def test_affine_invariance():
    """f(M y) from M^-1 x takes the same steps, seen through M, whatever the condition number of M."""
    torch.manual_seed(0)
    m = torch.randn(31, 31, dtype=DOUBLE) @ torch.diag(torch.logspace(-2, 2, 31, dtype=DOUBLE))
    f = logistic()
    start = torch.full((31,), 0.1, dtype=DOUBLE)
    _, plain = path(f, start, max_iter=6, tol=0)
    _, mapped = path(lambda y: f(m @ y), torch.linalg.solve(m, start), max_iter=6, tol=0)
    for x, y in zip(plain, mapped, strict=True):
        torch.testing.assert_close(m @ y, x, rtol=1e-5, atol=1e-6)


def test_rosenbrock_descends_to_its_minimum():
    found, points = path(rosenbrock, torch.tensor([-1.2, 1.0], dtype=DOUBLE))
    values = [rosenbrock(x).item() for x in points]
    assert found.converged and found.shift == 0 and found.iterations < 30
    assert all(b < a for a, b in zip(values, values[1:], strict=False))
    torch.testing.assert_close(found.x, torch.ones(2, dtype=DOUBLE))


def saddle(x):
    return x[0] ** 2 - x[1] ** 2 + x[1] ** 4 / 4


def test_the_pure_step_goes_to_the_saddle_and_the_method_to_a_minimum():
    x = torch.tensor([1.5, 0.1], dtype=DOUBLE)
    for _ in range(6):
        x = x + newton_step(saddle, x)
    torch.testing.assert_close(x, torch.zeros(2, dtype=DOUBLE))
    found = newton(saddle, torch.tensor([1.5, 0.1], dtype=DOUBLE))
    assert found.converged and found.shift == 0 and found.value == pytest.approx(-1)
    torch.testing.assert_close(found.x, torch.tensor([0, 2**0.5], dtype=DOUBLE))


def test_a_start_on_the_saddle_says_so():
    found = newton(saddle, torch.zeros(2, dtype=DOUBLE))
    assert found.converged and found.iterations == 0 and found.shift > 2


def test_a_flat_hessian_is_shifted():
    found = newton(lambda x: (x**4).sum(), torch.ones(2, dtype=DOUBLE), tol=1e-6)
    assert found.converged and abs(found.x).max() < 0.01
    assert newton(lambda x: x.sum(), torch.zeros(2), max_iter=3).iterations == 3


@pytest.mark.parametrize("diagonal, off", [(0.0, 1.0), (1.0, 2.0), (0.5, 1.0)])
def test_the_shift_is_the_first_of_its_doubling_sequence(diagonal, off):
    """Of 1e-3 |H| 2^k the first that exceeds off - diagonal: the least eigenvalue, with its sign turned."""
    size = (2 * diagonal**2 + 2 * off**2) ** 0.5
    found = newton(lambda x: diagonal * x @ x / 2 + off * x[0] * x[1], torch.zeros(2, dtype=DOUBLE), max_iter=0)
    sequence = [1e-3 * size * 2**k for k in range(20)]
    assert found.shift == pytest.approx(next(s for s in sequence if s > off - diagonal), rel=1e-12)


def test_a_callback_that_writes_into_its_point_changes_nothing():
    start = torch.tensor([-1.2, 1.0], dtype=DOUBLE)
    found = newton(rosenbrock, start, max_iter=np.int64(50), callback=lambda x: x.zero_())
    assert found.converged and torch.equal(found.x, newton(rosenbrock, start, max_iter=50).x)


def test_log_cosh_needs_the_halving():
    """The pure step overshoots from |x| > 1.09 and diverges; the method does not."""
    f = lambda x: x.cosh().log().sum()  # noqa: E731
    x = torch.tensor([1.2], dtype=DOUBLE)
    jumps = [x := x + newton_step(f, x) for _ in range(3)]
    assert abs(jumps[-1].item()) > 5
    found = newton(f, torch.tensor([1.2], dtype=DOUBLE))
    assert found.converged and abs(found.x.item()) < 1e-8


def test_running_out_and_no_descent_left():
    assert not newton(rosenbrock, torch.tensor([-1.2, 1.0]).double(), max_iter=2).converged
    found = newton(lambda x: (x - 1 / 3).square().sum() + 1e6, torch.zeros(3), tol=0)
    assert found.iterations < 100


def test_the_start_is_left_alone():
    x0 = torch.zeros(31, dtype=DOUBLE, requires_grad=True)
    found = newton(logistic(), x0, max_iter=2)
    assert not found.x.requires_grad and torch.equal(x0, torch.zeros(31).double())
    same = newton(saddle, torch.zeros(2))
    assert same.x.tolist() == [0, 0]


TWO = torch.ones(2)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: newton(rosenbrock, [1.0, 1.0]), "the point must be a tensor"),
        (lambda: newton(rosenbrock, torch.ones(2).half()), "the point must be a tensor of float32 or float64"),
        (lambda: newton(torch.sum, torch.ones(0)), "and not empty"),
        (lambda: newton(torch.sum, TWO * float("nan")), "the point is not finite"),
        (lambda: newton(lambda x: x, TWO), "f must return a scalar tensor"),
        (lambda: newton(lambda x: 1.0, TWO), "f must return a scalar tensor"),
        (lambda: newton(lambda x: (x - 1).sqrt().sum(), TWO), "its gradient is not finite"),
        (lambda: newton(lambda x: (x - 2).log().sum(), TWO), "f is not finite"),
        (lambda: newton(rosenbrock, TWO, tol=-1), "Invalid tol: -1"),
        (lambda: newton(rosenbrock, TWO, tol=float("nan")), "Invalid tol"),
        (lambda: newton(rosenbrock, TWO, max_iter=1.5), "max_iter must be an integer"),
        (lambda: newton(rosenbrock, TWO, max_iter=True), "max_iter must be an integer"),
        (lambda: newton(rosenbrock, TWO, max_iter=-1), "max_iter must be at least 0"),
        (lambda: newton_step(torch.sum, TWO), "the Hessian is singular"),
        (lambda: newton_step(lambda x: x, TWO), "f must return a scalar tensor"),
    ],
)
def test_refuses(call, words):
    with pytest.raises(ValueError, match=words):
        call()
