import math
import pickle

import numpy as np
import pytest
import torch
from scipy.optimize import check_grad

from dlopt.engine.rule import rule_of
from dlopt.lab import landscapes
from dlopt.lab.landscapes import LANDSCAPES, quadratic, ravine

NAMES = ["quadratic", "ravine", "rosenbrock", "beale", "himmelblau", "booth", "matyas", "goldstein_price",
         "six_hump_camel", "styblinski_tang", "branin", "rastrigin", "ackley", "saddle", "bounded_saddle",
         "monkey_saddle", "factorization", "absolute"]  # fmt: skip


def points(landscape, n=20):
    generator = np.random.default_rng(0)
    left, right, bottom, top = landscape.domain
    return np.stack([generator.uniform(left, right, n), generator.uniform(bottom, top, n)], axis=1)


def hessian(landscape, point):
    at = torch.tensor(point, dtype=torch.float64)
    return torch.autograd.functional.hessian(landscape.on_tensor, at)


def test_all_are_there():
    assert list(LANDSCAPES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_written_in_the_grammar_of_rules(name):
    landscape = LANDSCAPES[name]
    for function in (landscape.f, landscape.grad):
        rule = rule_of(function)
        assert rule.elements == ("x", "y")
        assert set(rule.scalars) == set(landscape.constants)
    assert len(rule.returns) == 2


@pytest.mark.parametrize("name", NAMES)
def test_gradient_is_that_of_autograd_and_of_differences(name):
    landscape = LANDSCAPES[name]
    for x, y in points(landscape):
        point = torch.tensor([x, y], dtype=torch.float64, requires_grad=True)
        value = landscape.on_tensor(point)
        value.backward()
        assert value.item() == pytest.approx(landscape(x, y), rel=1e-12, abs=1e-12)
        assert point.grad.numpy() == pytest.approx(np.array(landscape.gradient(x, y)), rel=1e-10, abs=1e-10)
        scale = 1 + np.abs(landscape.gradient(x, y)).max()
        error = check_grad(lambda z: landscape(*z), lambda z: np.array(landscape.gradient(*z)), [x, y])
        assert error / scale < 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_minima_are_stationary_have_the_value_and_none_is_lower(name):
    landscape = LANDSCAPES[name]
    left, right, bottom, top = landscape.domain
    for x, y in landscape.minima:
        assert left <= x <= right
        assert bottom <= y <= top
        assert landscape(x, y) == pytest.approx(landscape.minimum, rel=1e-13, abs=1e-13)
        assert landscape.gradient(x, y) == pytest.approx((0, 0), abs=2e-13)
    xs, ys = np.meshgrid(np.linspace(left, right, 201), np.linspace(bottom, top, 201))
    if landscape.minima:
        assert landscape(xs, ys).min() >= landscape.minimum - 1e-12
    else:
        assert landscape.minimum is None
        assert landscape(0.0, 10.0) < -99 or landscape(10.0, 10.0) < -99


@pytest.mark.parametrize("name", NAMES)
def test_start_is_in_the_picture_and_not_at_a_minimum(name):
    landscape = LANDSCAPES[name]
    left, right, bottom, top = landscape.domain
    assert left <= landscape.start[0] <= right
    assert bottom <= landscape.start[1] <= top
    assert np.hypot(*landscape.gradient(*map(np.float64, landscape.start))) > 0.01


@pytest.mark.parametrize("name", NAMES)
def test_values_and_gradients_are_elementwise(name):
    landscape = LANDSCAPES[name]
    xs, ys = np.meshgrid(np.linspace(-1, 1, 5), np.linspace(-1, 1, 4))
    value, gradient = landscape(xs, ys), landscape.gradient(xs, ys)
    assert value.shape == (4, 5)
    for i, j in ((0, 0), (3, 4), (1, 2)):
        x, y = xs[i, j], ys[i, j]
        assert value[i, j] == pytest.approx(landscape(x, y), rel=1e-14, abs=1e-14)
        at = [np.broadcast_to(part, (4, 5))[i, j] for part in gradient]
        assert at == pytest.approx(landscape.gradient(x, y), rel=1e-13, abs=1e-13)


def test_known_values():
    at = {name: landscape(*map(np.float64, landscape.minima[0])) for name, landscape in LANDSCAPES.items()
          if landscape.minima}  # fmt: skip
    assert at["goldstein_price"] == 3
    assert at["six_hump_camel"] == pytest.approx(-1.031628453, abs=1e-9)
    assert at["branin"] == pytest.approx(0.397887357, abs=1e-9)
    assert at["styblinski_tang"] == pytest.approx(2 * -39.16616570, abs=1e-7)
    assert at["ackley"] == 0
    assert LANDSCAPES["rosenbrock"](-1.2, 1.0) == pytest.approx(24.2)
    assert LANDSCAPES["beale"](0.0, 0.0) == pytest.approx(14.203125)
    assert LANDSCAPES["himmelblau"](0.0, 0.0) == 170
    assert LANDSCAPES["goldstein_price"](0.0, 0.0) == 600


def test_rosenbrock_is_ill_conditioned_at_its_minimum():
    eigenvalues = torch.linalg.eigvalsh(hessian(LANDSCAPES["rosenbrock"], (1.0, 1.0)))
    assert (eigenvalues[1] / eigenvalues[0]).item() == pytest.approx(2508, abs=0.5)


def test_ravine_is_the_turned_quadratic():
    turned = ravine(condition=50.0, angle=0.3)
    torch.testing.assert_close(
        torch.linalg.eigvalsh(hessian(turned, (0.4, -1.0))), torch.tensor([1.0, 50.0], dtype=torch.float64)
    )
    x, y, flat = 0.7, -0.4, quadratic(50.0)
    c, s = math.cos(0.3), math.sin(0.3)
    assert turned(c * x - s * y, s * x + c * y) == pytest.approx(flat(x, y), rel=1e-12)


def test_saddles_have_their_curvature_at_the_origin():
    for name in ("saddle", "bounded_saddle"):
        assert torch.linalg.eigvalsh(hessian(LANDSCAPES[name], (0.0, 0.0))).tolist() == [-2, 2]
    assert not hessian(LANDSCAPES["monkey_saddle"], (0.0, 0.0)).any()
    assert torch.linalg.eigvalsh(hessian(LANDSCAPES["factorization"], (0.0, 0.0))).tolist() == [-1, 1]


def test_path_is_gradient_descent():
    landscape, lr = LANDSCAPES["rosenbrock"], 1e-3
    path = landscape.path(lambda params: torch.optim.SGD(params, lr=lr), steps=50)
    assert path.shape == (51, 2)
    assert tuple(path[0]) == landscape.start
    for before, after in zip(path, path[1:], strict=False):
        assert after == pytest.approx(before - lr * np.array(landscape.gradient(*before)), rel=1e-13)


def test_path_of_a_method_with_closures_and_of_a_divergence():
    booth = LANDSCAPES["booth"]
    end = booth.path(lambda params: torch.optim.LBFGS(params, line_search_fn="strong_wolfe"), steps=3)[-1]
    assert end == pytest.approx((1, 3), abs=1e-6)
    far = booth.path(lambda params: torch.optim.SGD(params, lr=1e3), steps=200)[-1]
    assert not np.isfinite(far).any()


def test_bad_arguments_are_refused_and_landscapes_travel():
    with pytest.raises(ValueError, match="condition must be positive"):
        quadratic(0.0)
    with pytest.raises(ValueError, match="shape"):
        LANDSCAPES["booth"].on_tensor(torch.zeros(3))
    copy = pickle.loads(pickle.dumps(LANDSCAPES["ravine"]))
    assert copy(1.0, 2.0) == landscapes.ravine()(1.0, 2.0)
