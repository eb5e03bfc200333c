import numpy as np
import pytest
import torch
from scipy.sparse.linalg import eigsh

from dlopt.curvature import lanczos, top_eigenvalues


def symmetric(n=60, seed=0):
    a = np.random.default_rng(seed).normal(size=(n, n))
    return (a + a.T) / 2


def product(matrix, count=None):
    a = torch.as_tensor(matrix)

    def matvec(v):
        if count is not None:
            count.append(1)
        return a.to(v.dtype) @ v

    return matvec


def test_all_steps_give_all_eigenvalues():
    a = symmetric()
    krylov = lanczos(product(a), 60, 60)
    t = np.diag(krylov.diagonal) + np.diag(krylov.off_diagonal, 1) + np.diag(krylov.off_diagonal, -1)
    np.testing.assert_allclose(np.linalg.eigvalsh(t), np.linalg.eigvalsh(a), atol=1e-12)
    assert krylov.basis.shape == (60, 60) and krylov.residual < 1e-10


def test_the_three_term_recurrence_and_the_orthogonality():
    a, m = symmetric(), 25
    krylov = lanczos(product(a), 60, m, seed=3)
    q = krylov.basis.numpy().T
    t = np.diag(krylov.diagonal) + np.diag(krylov.off_diagonal, 1) + np.diag(krylov.off_diagonal, -1)
    left = a @ q - q @ t
    np.testing.assert_allclose(q.T @ q, np.eye(m), atol=1e-13)
    np.testing.assert_allclose(left[:, :-1], 0, atol=1e-12)
    assert np.linalg.norm(left[:, -1]) == pytest.approx(krylov.residual, rel=1e-10)


def test_orthogonality_survives_converged_eigenvalues():
    """Where the plain recurrence loses it: one huge eigenvalue, many steps."""
    a = np.diag(np.r_[np.linspace(0, 1, 199), 1e3])
    krylov = lanczos(product(a), 200, 120)
    np.testing.assert_allclose(krylov.basis @ krylov.basis.T, np.eye(120), atol=1e-12)


@pytest.mark.parametrize("which, order", [("largest", slice(None, None, -1)), ("smallest", slice(None))])
def test_extreme_eigenvalues_are_those_of_numpy_and_scipy(which, order):
    a = symmetric(120)
    found = top_eigenvalues(product(a), 120, 4, which=which, tol=1e-8)
    np.testing.assert_allclose(found.values, np.linalg.eigvalsh(a)[order][:4], rtol=1e-10)
    theirs = eigsh(a, 4, which="LA" if which == "largest" else "SA", return_eigenvectors=False)
    np.testing.assert_allclose(np.sort(found.values), np.sort(theirs), rtol=1e-10)
    v = found.vectors.numpy()
    np.testing.assert_allclose(v @ v.T, np.eye(4), atol=1e-12)
    left = np.linalg.norm(v @ a - found.values.numpy()[:, None] * v, axis=1)
    np.testing.assert_allclose(left, found.residuals, atol=1e-9)


def test_largest_means_algebraically():
    a = np.diag([3.0, -5.0, 1.0, 0.5])
    assert float(top_eigenvalues(product(a), 4).values[0]) == pytest.approx(3)
    assert float(top_eigenvalues(product(a), 4, which="smallest").values[0]) == pytest.approx(-5)
    assert float(top_eigenvalues(product(-np.diag([1.0, 2.0, 4.0])), 3).values[0]) == pytest.approx(-1)


@pytest.mark.parametrize("tol", [1e-1, 1e-2, 1e-4])
def test_the_residual_bounds_the_error(tol):
    a = symmetric(200, seed=5)
    found = top_eigenvalues(product(a), 200, tol=tol)
    truth = np.linalg.eigvalsh(a)
    assert np.abs(truth - float(found.values[0])).min() <= float(found.residuals[0]) + 1e-12
    assert float(found.residuals[0]) <= tol * np.abs(truth).max()


def test_residuals_are_never_below_what_rounding_hides():
    found = top_eigenvalues(product(np.diag([1e4, 1.0, 0.5])), 3, 3, dtype=torch.float32)
    errors = np.abs(found.values.numpy() - [1e4, 1.0, 0.5])
    assert errors.max() > 0 and (errors <= found.residuals.numpy()).all() and found.residuals.max() < 0.05
    found = top_eigenvalues(product(np.eye(5)), 5, 5)
    assert (found.residuals > 0).all() and (found.residuals < 1e-13).all()


def test_a_product_that_works_in_place():
    scale = torch.tensor(np.linspace(1, 9, 30))
    plain, writing = (lanczos(f, 30, 12) for f in (lambda v: scale * v, lambda v: v.mul_(scale)))
    for a, b in zip(plain, writing, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert float(top_eigenvalues(lambda v: v.mul_(scale), 30).values[0]) == pytest.approx(9)


def test_float32():
    a = symmetric(80)
    found = top_eigenvalues(product(a), 80, 2, dtype=torch.float32, tol=1e-4)
    assert found.vectors.dtype == torch.float32 and found.values.dtype == torch.float64
    np.testing.assert_allclose(found.values, np.linalg.eigvalsh(a)[::-1][:2], rtol=1e-4)


def test_an_invariant_space_ends_the_iteration():
    krylov = lanczos(product(np.diag([1.0, 1, 1, 2, 2, 7])), 6, 6, start=torch.ones(6, dtype=torch.float64))
    assert len(krylov.diagonal) == 3 and krylov.residual == 0
    t = np.diag(krylov.diagonal) + np.diag(krylov.off_diagonal, 1) + np.diag(krylov.off_diagonal, -1)
    np.testing.assert_allclose(np.linalg.eigvalsh(t), [1, 2, 7], rtol=1e-12)


@pytest.mark.parametrize("matrix", [np.zeros((5, 5)), np.eye(5), np.diag([1.0, 1, 1, 2, 2])])
def test_the_search_goes_on_behind_an_invariant_space(matrix):
    for dtype in (torch.float32, torch.float64):
        found = top_eigenvalues(product(matrix), 5, 5, dtype=dtype)
        np.testing.assert_allclose(found.values, np.linalg.eigvalsh(matrix)[::-1], atol=1e-6)


def test_a_size_of_one():
    assert top_eigenvalues(lambda v: -3 * v, 1).values.tolist() == [-3]


def test_an_eigenvector_as_start_does_not_hide_a_larger_eigenvalue():
    start = torch.zeros(50, dtype=torch.float64)
    start[3] = 1.0
    found = top_eigenvalues(product(np.diag(np.arange(50.0))), 50, start=start, tol=1e-8)
    assert float(found.values[0]) == pytest.approx(49)


def test_a_near_eigenvector_as_start_saves_products():
    a = np.diag(1 / np.arange(1.0, 401))
    first = top_eigenvalues(product(a), 400, tol=1e-3)
    again = top_eigenvalues(product(a), 400, tol=1e-3, start=first.vectors[0])
    assert again.products < first.products


def test_products_are_counted():
    count = []
    found = top_eigenvalues(product(symmetric(), count), 60)
    assert found.products == len(count) < 60


def test_no_convergence_is_an_error():
    with pytest.raises(RuntimeError, match="not converged after 3 products"):
        top_eigenvalues(product(symmetric(200)), 200, tol=1e-10, steps=3)


@pytest.mark.parametrize(
    "change, reason",
    [
        (dict(k=0), "k must be from 1 to the size 4"),
        (dict(k=5), "k must be"),
        (dict(k=1.5), "k must be"),
        (dict(which="LM"), "which must be"),
        (dict(tol=0.0), "tol must be"),
        (dict(tol=float("nan")), "tol must be"),
        (dict(steps=0), "steps at least k"),
        (dict(steps=2.5), "steps must be an integer"),
        (dict(size=0), "k must be"),
        (dict(size=4.0), "whole number"),
        (dict(start=torch.ones(3)), r"shape \(4,\), got \(3,\)"),
        (dict(start=torch.ones(4, dtype=torch.int64)), "real tensor"),
        (dict(start=torch.zeros(4)), "finite length above 0"),
        (dict(start=torch.full((4,), float("nan"))), "finite length"),
        (dict(matvec=lambda v: v * float("inf")), "product is not finite"),
        (dict(matvec=lambda v: v[:2]), "product is not finite, or not of shape"),
        (dict(matvec=lambda v: v.float()), "float64"),
    ],
)
def test_bad_input_is_refused(change, reason):
    with pytest.raises(ValueError, match=reason):
        top_eigenvalues(**(dict(matvec=lambda v: v, size=4) | change))


@pytest.mark.parametrize(
    "steps, reason",
    [(0, "at least 1"), (-1, "at least 1"), (5, "from 1 to the size 4"), (2.5, "an integer"), (True, "an integer")],
)
def test_a_bad_number_of_steps_is_refused(steps, reason):
    with pytest.raises(ValueError, match=f"steps must be {reason}"):
        lanczos(lambda v: v, 4, steps)
