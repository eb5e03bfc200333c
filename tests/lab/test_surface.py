"""Loss surfaces against direct evaluation, a quadratic whose picture is known, and the symmetries of a network."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from dlopt.lab import Surface, digits_surfaces, filter_normalized, path_surface, random_surface
from dlopt.lab.models import convnet, mlp
from dlopt.lab.tasks import digits_mlp
from dlopt.lab.trained import METHODS, recorded_path, whole_loss


def inputs(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(20, 6, generator=generator), torch.randint(0, 3, (20,), generator=generator)


def loss_on(x, y):
    return lambda model: nn.functional.cross_entropy(model(x), y)


def put(model, theta):
    moved = copy.deepcopy(model)
    nn.utils.vector_to_parameters(theta, moved.parameters())
    return moved


def flat(model):
    return nn.utils.parameters_to_vector(model.parameters()).detach()


@pytest.mark.parametrize("seed", [0, 3])
def test_the_grid_holds_what_the_model_gives_there(seed):
    model, loss = mlp(6, 3, (5,), seed=1), loss_on(*inputs())
    surface = random_surface(model, loss, radius=0.8, points=5, seed=seed)
    first, second = (filter_normalized(model, 2 * seed + k) for k in (0, 1))
    for j, y in enumerate(surface.y):
        for i, x in enumerate(surface.x):
            direct = loss(put(model, flat(model) + float(x) * first + float(y) * second)).item()
            assert surface.loss[j, i] == pytest.approx(direct, rel=1e-5)
    assert surface.x.tolist() == pytest.approx([-0.8, -0.4, 0, 0.4, 0.8])


def test_the_model_is_left_as_it_is():
    model = mlp(6, 3, (5,), seed=1)
    before = flat(model).clone()
    random_surface(model, loss_on(*inputs()), points=4)
    assert torch.equal(flat(model), before)


def test_a_quadratic_is_what_its_matrix_says():
    line = nn.Linear(4, 1, bias=False).double()
    scales = torch.tensor([[1.0, 2.0, 3.0, 4.0]], dtype=torch.float64)
    surface = random_surface(line, lambda m: (scales * m.weight**2).sum() / 2, points=7, seed=5)
    a, b = (filter_normalized(line, 10 + k).numpy() for k in (0, 1))
    w, h = line.weight.detach().numpy()[0], scales.numpy()[0]
    x, y = np.meshgrid(surface.x, surface.y)
    points = w + x[..., None] * a + y[..., None] * b
    np.testing.assert_allclose(surface.loss, (h * points**2).sum(-1) / 2, rtol=1e-6)


@pytest.mark.parametrize("model", [mlp(6, 3, (5, 4), seed=2), convnet(width=4, seed=2)], ids=["mlp", "convnet"])
def test_every_filter_is_as_long_as_its_weights(model):
    for weight, direction in zip(model.parameters(), _parts(model, filter_normalized(model, 7)), strict=True):
        if weight.ndim < 2:
            assert not direction.any()
        else:
            torch.testing.assert_close(direction.flatten(1).norm(dim=1), weight.detach().flatten(1).norm(dim=1))
    assert not torch.equal(filter_normalized(model, 7), filter_normalized(model, 8))


def _parts(model, vector):
    sizes = [p.numel() for p in model.parameters()]
    return [part.view(p.shape) for part, p in zip(vector.split(sizes), model.parameters(), strict=True)]


def test_a_filter_of_zeros_stays():
    line = nn.Linear(3, 2)
    line.weight.data[0] = 0
    direction = filter_normalized(line)[:6].view(2, 3)
    assert not direction[0].any() and direction[1].any()


def scaled(model, factors):
    """The same ReLU network: neurons of the first layer times `factors`, the next layer divided by them."""
    other = copy.deepcopy(model)
    first, second = (layer for layer in other if isinstance(layer, nn.Linear))
    first.weight.data *= factors[:, None]
    first.bias.data *= factors
    second.weight.data /= factors
    return other


def test_the_picture_does_not_see_a_factor_between_layers():
    model, loss = mlp(6, 3, (5,), seed=3), loss_on(*inputs())
    model[1].bias.data.normal_(generator=torch.Generator().manual_seed(0))
    plain = random_surface(model, loss, points=7)
    same = random_surface(scaled(model, torch.full((5,), 20.0)), loss, points=7)
    np.testing.assert_allclose(same.loss, plain.loss, rtol=2e-4)
    each = random_surface(scaled(model, torch.tensor([20.0, 1.0, 1.0, 1.0, 0.1])), loss, points=7)
    assert each.loss[3, 3] == pytest.approx(plain.loss[3, 3], rel=1e-4), "it is the same network"
    assert not np.allclose(each.loss, plain.loss, rtol=0.05), "a factor for each neuron is seen, as the docstring says"


def test_the_plane_of_a_path_is_that_of_its_principal_directions():
    generator = torch.Generator().manual_seed(0)
    model, loss = mlp(6, 3, (5,), seed=4), loss_on(*inputs())
    path = flat(model) + torch.randn(9, len(flat(model)), generator=generator).cumsum(0)
    surface = path_surface(model, loss, {"walk": path}, points=6, every=10)
    [trace] = surface.traces
    offsets = (path.double() - path[-1].double()).numpy()
    _, lengths, rows = np.linalg.svd(offsets, full_matrices=False)
    np.testing.assert_allclose(np.abs(trace.points), np.abs(offsets @ rows[:2].T), atol=1e-9)
    assert trace.held == pytest.approx((lengths[:2] ** 2).sum() / (lengths**2).sum())
    assert 0.5 < trace.held < 1 and trace.every == 10
    np.testing.assert_allclose(trace.points[-1], 0, atol=1e-9)
    assert (trace.points[0] > 0).all()
    np.testing.assert_allclose(trace.loss, [loss(put(model, theta)).item() for theta in path], rtol=1e-5)
    signs = np.sign((offsets @ rows[:2].T)[0])
    first, second = torch.tensor(rows[:2] * signs[:, None], dtype=torch.float32)
    direct = loss(put(model, path[-1] + float(surface.x[1]) * first + float(surface.y[4]) * second)).item()
    assert surface.loss[4, 1] == pytest.approx(direct, rel=1e-4)
    for axis, places in ((surface.x, trace.points[:, 0]), (surface.y, trace.points[:, 1])):
        assert axis[0] < places.min() and places.max() < axis[-1]


def test_a_path_in_a_plane_is_held_whole():
    line = nn.Linear(5, 1, bias=False)
    a, b = torch.eye(5)[1], torch.eye(5)[3]
    circle = [torch.cos(t) * a + torch.sin(t) * b for t in torch.linspace(0, 5, 12)]
    half = [t * a + t * t * b for t in torch.linspace(0, 1, 6)]
    loss = lambda m: m.weight.square().sum()  # noqa: E731
    surface = path_surface(line, loss, {"circle": torch.stack(circle), "half": torch.stack(half)}, points=4)
    assert [round(trace.held, 9) for trace in surface.traces] == [1.0, 1.0]
    circle = surface.traces[0].points
    np.testing.assert_allclose(np.linalg.norm(np.diff(circle, axis=0), axis=1), 2 * np.sin(5 / 11 / 2), rtol=1e-6)


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        ({}, "no path"),
        ({"short": torch.zeros(3, 2)}, "'short' needs finite points of 3 parameters"),
        ({"nan": torch.full((3, 3), torch.nan)}, "finite points"),
        ({"line": torch.arange(3.0)[:, None] * torch.ones(3)}, "one line"),
        ({"still": torch.zeros(1, 3)}, "one line"),
    ],
)
def test_wrong_paths_are_refused(paths, said):
    with pytest.raises(ValueError, match=said):
        path_surface(nn.Linear(3, 1, bias=False), lambda m: m.weight.sum(), paths)


@pytest.mark.parametrize(
    ("x", "y", "loss", "said"),
    [
        (np.arange(5), np.arange(5), np.zeros((4, 5)), "shape"),
        (np.arange(3), np.arange(5), np.zeros((5, 3)), "at least 4"),
        (np.arange(5) ** 2, np.arange(5), np.zeros((5, 5)), "x must increase in equal steps"),
        (np.arange(5), -np.arange(5), np.zeros((5, 5)), "y must increase"),
    ],
)
def test_wrong_grids_are_refused(x, y, loss, said):
    with pytest.raises(ValueError, match=said):
        Surface("odd", x, y, loss)


def test_a_radius_is_positive():
    with pytest.raises(ValueError):
        random_surface(nn.Linear(3, 1), lambda m: m.weight.sum(), radius=-1.0)


@pytest.mark.timeout(400)
def test_the_digits_surfaces_are_of_trained_networks():
    surfaces = digits_surfaces(points=5)
    small, full, paths = surfaces["batches of 8"], surfaces["full batch"], surfaces["training paths"]
    assert small.loss[2, 2] == pytest.approx(full.loss[2, 2], abs=0.003), "two minima at one loss"
    assert full.loss[2, 2] < 0.03 < full.loss.max()
    for trace in paths.traces:
        assert len(trace.loss) == len(trace.points) and trace.every * (len(trace.loss) - 1) == 240
        assert trace.loss[-1] < trace.loss[0] / 10
        assert trace.held > 0.7
    cls, setting = METHODS["Adam"]
    path = recorded_path(digits_mlp(), lambda p: cls(p, **setting), steps=6, every=3, batch_size=32)
    reached = [trace for trace in paths.traces if trace.name == "Adam"][0]
    assert reached.loss[2] == pytest.approx(whole_loss(put(digits_mlp().model(0), path[2])).item(), rel=1e-5)
