"""Truths for conjugate gradients: SciPy, NumPy's solve, and facts of mathematics."""

import numpy as np
import pytest
import scipy.sparse.linalg
import torch

from dlopt.curvature import cg


def problem(spectrum, seed=0):
    """A symmetric matrix with this spectrum, in random coordinates, and a right-hand side."""
    rng = np.random.default_rng(seed)
    d = len(spectrum)
    q = np.linalg.qr(rng.normal(size=(d, d)))[0]
    matrix = (q * spectrum) @ q.T
    return torch.tensor((matrix + matrix.T) / 2), torch.tensor(rng.normal(size=d))


def path(matrix, b, **kw):
    points = [torch.zeros_like(b)]
    found = cg(matrix, b, callback=points.append, **kw)
    return found, torch.stack(points)


@pytest.mark.parametrize("start", [False, True], ids=["from zero", "from x0"])
@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "preconditioned"])
def test_scipy_takes_the_same_steps(start, scaled):
    matrix, b = problem(np.linspace(1, 100, 40))  # where rounding does not yet part two right methods
    m = torch.diag(1 / matrix.diagonal()) if scaled else None
    x0 = torch.linspace(-1, 1, 40, dtype=torch.float64) if start else None
    theirs = []
    kw = dict(x0=None if x0 is None else x0.numpy(), M=None if m is None else m.numpy(), rtol=1e-10)
    expected, info = scipy.sparse.linalg.cg(matrix.numpy(), b.numpy(), callback=lambda x: theirs.append(x.copy()), **kw)
    found, points = path(matrix, b, x0=x0, preconditioner=m, tol=1e-10)
    assert info == 0 and found.converged and found.negative_curvature is None
    np.testing.assert_allclose(points[1:21], theirs[:20], rtol=1e-8, atol=1e-8)
    assert abs(found.iterations - len(theirs)) <= 1
    np.testing.assert_allclose(found.x, expected, rtol=1e-7)
    np.testing.assert_allclose(found.x, np.linalg.solve(matrix, b), rtol=1e-6)


@pytest.mark.parametrize("distinct", [1, 2, 5, 12])
def test_as_many_steps_as_distinct_eigenvalues(distinct):
    matrix, b = problem(np.repeat(np.linspace(1, 10, distinct), 60 // distinct))
    found = cg(matrix, b, tol=1e-10)
    assert (found.iterations, found.converged) == (distinct, True)
    assert cg(matrix, b, tol=1e-10, max_iter=distinct - 1).converged is False


def test_directions_are_conjugate_and_residuals_orthogonal():
    matrix, b = problem(np.linspace(1, 50, 20))
    _, points = path(matrix, b, max_iter=15)
    directions, residuals = points.diff(dim=0), b - points @ matrix
    for vectors, gram in ((directions, directions @ matrix @ directions.T), (residuals, residuals @ residuals.T)):
        size = gram.diagonal().sqrt()
        assert len(vectors) >= 15
        assert (gram / size / size[:, None] - torch.eye(len(gram))).abs().max() < 1e-8


@pytest.mark.parametrize("kappa", [10, 100, 1000])
def test_within_chebyshevs_bound(kappa):
    """The error in the norm of A is at most 2 ((sqrt k - 1) / (sqrt k + 1))^i: Nocedal & Wright, eq. 5.36."""
    matrix, b = problem(np.linspace(1, kappa, 80))
    _, points = path(matrix, b, max_iter=40)
    error = points - torch.linalg.solve(matrix, b)
    size = (error @ matrix * error).sum(1).sqrt()
    factor = (kappa**0.5 - 1) / (kappa**0.5 + 1)
    assert (size <= 2 * size[0] * factor ** torch.arange(len(size))).all()
    assert (size.diff() < 0).all()


def test_the_best_point_of_its_krylov_space():
    matrix, b = problem(np.geomspace(1, 100, 12))
    _, points = path(matrix, b, max_iter=6)
    space = torch.linalg.qr(torch.stack([torch.linalg.matrix_power(matrix, i) @ b for i in range(6)], 1))[0]
    best = space @ torch.linalg.solve(space.T @ matrix @ space, space.T @ b)
    torch.testing.assert_close(points[6], best, rtol=1e-8, atol=1e-10)


def test_the_inverse_as_preconditioner_takes_one_step():
    matrix, b = problem(np.geomspace(1, 100, 12))
    assert cg(matrix, b, preconditioner=torch.cholesky_inverse(torch.linalg.cholesky(matrix))).iterations == 1


def test_nesterovs_worst_function_leaves_it_at_the_floor():
    """The k-th point spans k coordinates, so its gap is at least 1/(2(k+1)) - 1/(2(d+1)): Nesterov 2004, 2.1.2."""
    d = 101
    matrix = 2 * torch.eye(d).double() - torch.diag(torch.ones(d - 1), 1) - torch.diag(torch.ones(d - 1), -1)
    target = torch.linalg.solve(matrix, torch.eye(d).double()[0])
    _, points = path(matrix, torch.eye(d).double()[0], tol=1e-12)
    error = points - target
    gap = (error @ matrix * error).sum(1) / 2
    floor = 1 / (2 * torch.arange(1.0, d + 2).double()) - 1 / (2 * (d + 1))
    torch.testing.assert_close(gap[:d], floor[:d], rtol=1e-9, atol=1e-14)
    bound = 3 * 4 * (target @ target) / (32 * 51**2)
    assert (gap[50] / bound).item() == pytest.approx(1.0149, abs=5e-5)
    assert len(points) == d + 1 and gap[d] < 1e-25


@pytest.mark.parametrize("shape", [(), (1,), (3, 4), (2, 3, 2)])
def test_any_shape_and_both_forms_of_a_matrix(shape):
    torch.manual_seed(0)
    b = torch.randn(shape, dtype=torch.float64)
    d = b.numel()
    root = torch.randn(d, d, dtype=torch.float64)
    matrix = root @ root.T + torch.eye(d)
    found = cg(matrix, b, tol=1e-12)
    assert found.x.shape == b.shape
    torch.testing.assert_close((matrix @ found.x.flatten()).view(shape), b)
    torch.testing.assert_close(cg(lambda v: (matrix @ v.flatten()).view(shape), b, tol=1e-12).x, found.x)


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_float32_of_any_size(size):
    matrix, b = (t.float() for t in problem(np.geomspace(1, 100, 30)))
    found = cg(matrix, size * b, tol=1e-5)
    assert found.converged and found.x.dtype == torch.float32
    torch.testing.assert_close(found.x / size, torch.linalg.solve(matrix, b), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("start", [False, True], ids=["from zero", "from x0"])
@pytest.mark.parametrize("size", [5e-324 * 2**60, 1e-170, 1e-120, 1e120, 1e160, 1e306])
def test_float64_whose_squares_leave_the_range(size, start):
    matrix, b = problem(np.geomspace(1, 100, 30))
    x0, points = (size * torch.ones(30, dtype=torch.float64) if start else None), []
    found = cg(matrix, size * b, x0, tol=1e-8, callback=points.append)
    assert found.converged and found.residual <= 1e-8 * torch.linalg.vector_norm(b).item() * size
    torch.testing.assert_close(found.x / size, torch.linalg.solve(matrix, b), rtol=1e-6, atol=1e-7)
    assert torch.equal(points[-1], found.x)


def test_tolerances_and_counts_of_other_types():
    matrix, b = problem(np.geomspace(1, 100, 30))
    found = cg(matrix, b, tol=torch.tensor(1e-3), atol=torch.tensor(0.0), max_iter=np.int64(50))
    assert found.converged is True and found.iterations == cg(matrix, b, tol=float(torch.tensor(1e-3))).iterations


# Negative curvature, limits


def test_negative_curvature_is_a_direction_of_descent():
    matrix, b = problem([-1.0, *np.linspace(1, 10, 19)])
    found, points = path(matrix, b)
    p = found.negative_curvature
    assert not found.converged and p @ matrix @ p <= 0 and p @ b > 0
    assert found.iterations == len(points) - 1 > 0
    torch.testing.assert_close(found.residual, torch.linalg.vector_norm(b - matrix @ found.x).item())


def test_negative_curvature_at_once_returns_the_start():
    found = cg(lambda v: -v, torch.ones(3), torch.full((3,), 2.0))
    assert found.x.tolist() == [2, 2, 2] and found.iterations == 0 and not found.converged
    assert found.negative_curvature.tolist() == [3, 3, 3]


def test_flat_directions_count_as_negative():
    assert cg(torch.zeros(2, 2), torch.ones(2)).negative_curvature.tolist() == [1, 1]
    singular = torch.diag(torch.tensor([1.0, 0.0]))
    assert cg(singular, torch.tensor([3.0, 0.0])).x.tolist() == [3, 0]
    assert cg(singular, torch.tensor([3.0, 1.0])).negative_curvature is not None


def test_nothing_to_do():
    for x0 in (None, torch.ones(4)):
        found = cg(torch.eye(4), torch.zeros(4), x0)
        assert found.x.tolist() == [0] * 4 and found.iterations == 0 and found.converged
    found = cg(torch.eye(4), torch.ones(4), torch.ones(4))
    assert found.iterations == 0 and found.converged and found.residual == 0


def test_running_out_of_steps_and_absolute_tolerance():
    matrix, b = problem(np.geomspace(1, 1e3, 30))
    assert cg(matrix, b, max_iter=3)[1:2] == (3,) and not cg(matrix, b, max_iter=3).converged
    found = cg(matrix, b, tol=0, atol=0.1)
    assert found.converged and torch.linalg.vector_norm(b - matrix @ found.x) <= 0.1 + 1e-12


def test_callback_may_keep_points_and_stop():
    matrix, b = problem(np.geomspace(1, 1e3, 30))
    kept = []
    found = cg(matrix, b, callback=lambda x: kept.append(x) or len(kept) == 4)
    assert found.iterations == 4 and not found.converged
    assert len({tuple(x.tolist()) for x in kept}) == 4 and torch.equal(kept[-1], found.x)


def test_a_callback_that_writes_into_its_point_changes_nothing():
    matrix, b = problem(np.geomspace(1, 10, 5))
    found = cg(matrix, b, tol=1e-10, callback=lambda x: x.zero_() is None)
    assert torch.equal(found.x, cg(matrix, b, tol=1e-10).x)


def test_arguments_are_left_alone_and_no_graph_is_kept():
    matrix, b = problem(np.geomspace(1, 10, 5))
    b.requires_grad_()
    w = torch.ones(5, dtype=torch.float64, requires_grad=True)
    x0, before = torch.ones(5, dtype=torch.float64), b.detach().clone()
    found = cg(lambda v: (matrix @ v) * w, b, x0)
    assert not found.x.requires_grad and torch.equal(b, before) and torch.equal(x0, torch.ones(5).double())


ONES = torch.ones(2)


@pytest.mark.parametrize(
    "args, kw, words",
    [
        ((torch.eye(2), torch.ones(2).double()), {}, "matvec must be torch.float64"),
        ((torch.eye(3), ONES), {}, r"matvec must be torch.float32 of shape \(2, 2\)"),
        ((torch.tensor([[1.0, 0.5], [0.0, 1.0]]), ONES), {}, "matvec is not symmetric"),
        ((torch.eye(2) * float("nan"), ONES), {}, "matvec is not finite"),
        (("A", ONES), {}, "matvec must be a function or a matrix, got a str"),
        ((lambda v: v[:1], ONES), {}, "the product by matvec must be torch.float32 of shape"),
        ((lambda v: v.double(), ONES), {}, "the product by matvec must be torch.float32"),
        ((lambda v: v / 0, ONES), {}, "the product by matvec is not finite"),
        ((lambda v: 1.0, ONES), {}, "the product by matvec must be a tensor, got a float"),
        ((torch.eye(2), [1.0, 1.0]), {}, "b must be a tensor, got a list"),
        ((torch.eye(2), torch.tensor([1.0, float("inf")])), {}, "b is not finite"),
        ((torch.eye(2), torch.ones(2).long()), {}, "b must be float32 or float64"),
        ((torch.eye(2), torch.ones(2).half()), {}, "b must be float32 or float64"),
        ((torch.eye(0), torch.ones(0)), {}, "b must be float32 or float64 and not empty"),
        ((torch.eye(2), ONES, torch.ones(3)), {}, "x0 must be torch.float32 of shape"),
        ((torch.eye(2), ONES, torch.ones(2).double()), {}, "x0 must be torch.float32"),
        ((torch.eye(2), ONES, ONES * float("nan")), {}, "x0 is not finite"),
        ((torch.eye(2), ONES), dict(tol=-1e-3), "Invalid tol: -0.001"),
        ((torch.eye(2), ONES), dict(tol=float("nan")), "Invalid tol"),
        ((torch.eye(2), ONES), dict(tol="1"), "Invalid tol"),
        ((torch.eye(2), ONES), dict(atol=float("inf")), "Invalid atol"),
        ((torch.eye(2), ONES), dict(max_iter=-1), "max_iter must be at least 0"),
        ((torch.eye(2), ONES), dict(max_iter=1.5), "max_iter must be an integer"),
        ((torch.eye(2), ONES), dict(max_iter=True), "max_iter must be an integer"),
        ((torch.eye(2), ONES), dict(preconditioner=-torch.eye(2)), "the preconditioner is not positive definite"),
        ((torch.eye(2), ONES), dict(preconditioner=lambda r: 0 * r), "the preconditioner is not positive definite"),
        ((torch.eye(2), ONES), dict(preconditioner=torch.eye(3)), "preconditioner must be torch.float32 of shape"),
    ],
)
def test_refuses(args, kw, words):
    with pytest.raises(ValueError, match=words):
        cg(*args, **kw)
