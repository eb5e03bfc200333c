import numpy as np
import pytest
import torch

import dlopt
from dlopt import lab
from dlopt.lab.edge import Valley, valley


def test_all_four_numbers_on_a_loss_made_of_them():
    """f = (S₀ + c·w) x²/2 − a·w: at x = 0 the top eigenvector is the x axis, and S rises along c."""
    c, a = torch.tensor([0.3, -0.2, 0.5]).double(), torch.tensor([0.4, 0.1, 0.2]).double()
    w, x = torch.tensor([0.1, 0.2, -0.1], dtype=torch.float64, requires_grad=True), torch.zeros(1).double()
    x.requires_grad_()
    here = valley(lambda: ((7 + c @ w) * x**2 / 2 - a @ w).sum(), [w, x])
    assert here.sharpness == pytest.approx((7 + c @ w).item(), rel=1e-9)
    assert abs(here.vector).tolist() == pytest.approx([0, 0, 0, 1], abs=1e-6)
    assert (here.offset, here.alpha, here.beta) == pytest.approx((0, float(a @ c), float(c @ c)), rel=1e-6, abs=1e-9)


def test_the_gradient_of_the_sharpness_is_that_of_the_dense_matrix():
    """By finite differences of NumPy's eigenvalues, on a small net."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Tanh(), torch.nn.Linear(2, 2)).double()
    inputs, targets, parameters = torch.randn(9, 3).double(), torch.randn(9, 2).double(), list(model.parameters())

    def loss():
        return (model(inputs) - targets).square().mean()

    def dense():
        gradients = torch.autograd.grad(loss(), parameters, create_graph=True)
        flat = torch.cat([g.flatten() for g in gradients])
        rows = [torch.autograd.grad(g, parameters, retain_graph=True) for g in flat]
        matrix = torch.stack([torch.cat([r.flatten() for r in row]) for row in rows]).numpy()
        return flat.detach().numpy(), *np.linalg.eigh(matrix)

    here = valley(loss, parameters, tol=1e-10)
    gradient, values, vectors = dense()
    v = vectors[:, -1] * np.sign(vectors[:, -1] @ here.vector.numpy())
    point, r = torch.nn.utils.parameters_to_vector(parameters).detach(), 1e-5
    steeper = []
    for unit in torch.eye(len(point), dtype=torch.float64):
        sides = []
        for sign in (1, -1):
            torch.nn.utils.vector_to_parameters(point + sign * r * unit, parameters)
            sides.append(dense()[1][-1])
        steeper.append((sides[0] - sides[1]) / (2 * r))
    across = gradient - (gradient @ v) * v
    steeper = np.array(steeper) - (np.array(steeper) @ v) * v
    assert here.sharpness == pytest.approx(values[-1], rel=1e-8)
    assert here.offset == pytest.approx(gradient @ v / values[-1], rel=1e-6)
    assert here.alpha == pytest.approx(-across @ steeper, rel=1e-5)
    assert here.beta == pytest.approx(steeper @ steeper, rel=1e-5)


def test_the_prediction_is_gradient_descent_on_the_model_of_the_valley():
    """On f = (S₀ + c w) x²/2 − a w with one w, gradient descent itself is the map."""
    s, c, a, lr = 5.1, 3.0, 0.02, 0.4
    start = np.array([0.01, 0.0])
    points = lab.iterates(
        lambda ps: dlopt.SGD(ps, lr=lr),
        lambda p: torch.stack([(s + c * p[1]) * p[0], c * p[0] ** 2 / 2 - a]),
        start,
        60,
    )
    x, sharpness = Valley(s, 0.01, a * c, c * c, torch.ones(2)).predict(lr, 60)
    np.testing.assert_allclose(x, points[:, 0], rtol=1e-9)
    np.testing.assert_allclose(sharpness, s + c * points[:, 1], rtol=1e-9)


def test_the_sign_follows_the_start():
    w = torch.tensor([0.5, 2.0], requires_grad=True)

    def loss():
        return (w[0] * w[1] - 1) ** 2 / 2 + w[0]

    here = valley(loss, [w])
    there = valley(loss, [w], start=-here.vector)
    torch.testing.assert_close(there.vector, -here.vector, rtol=1e-3, atol=1e-3)
    assert there.offset == pytest.approx(-here.offset, rel=1e-3)


def test_frozen_parameters_and_bad_input():
    w, frozen = torch.tensor([0.5], requires_grad=True), torch.ones(2)
    assert valley(lambda: (w**4).sum() * frozen.sum(), [w, frozen]).sharpness == pytest.approx(6)
    with pytest.raises(ValueError, match="scalar"):
        valley(lambda: w * torch.ones(2), [w])
    for lr, steps in ((0.0, 1), (-1.0, 1), (float("nan"), 1), (0.1, -1)):
        with pytest.raises(ValueError, match="lr must be positive"):
            Valley(1.0, 0.0, 1.0, 1.0, frozen).predict(lr, steps)
