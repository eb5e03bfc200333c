"""What a page tells its reader to try in an explorer, and says is then to be seen, is so."""

import inspect
import math
from functools import partial
from itertools import combinations

import numpy as np
import pytest

from dlopt.lab.landscapes import LANDSCAPES
from dlopt.lab.surface import flat_loss
from dlopt.lab.tasks import digits_mlp
from dlopt.lab.trained import METHODS, recorded_path, whole_loss
from dlopt.view.explore.controls import learning_rates

from .explorer_cells import calls, explorer

CELLS = {name: source for cells in calls().values() for name, source in cells.items()}


@pytest.fixture
def shown(request):
    """The explorer of the figure that the test names."""
    return explorer(CELLS[request.param])


@pytest.fixture
def try_(request):
    """Paths of the figure that the test names, after changes: one dict for each optimizer, and traits."""

    def paths(*hyper, **traits):
        shown = explorer(CELLS[request.param])
        shown.optimizers = [
            {"name": change.pop("name", each["name"]), "hyper": each["hyper"] | change}
            for each, change in zip(shown.optimizers, map(dict, hyper or ({},) * len(shown.optimizers)), strict=True)
        ]
        for key, value in traits.items():
            setattr(shown, key, value)
        return shown.paths()

    return paths


def loss(landscape, paths):
    return LANDSCAPES[landscape](paths[..., 0], paths[..., 1])


def in_valley(path):
    """Coordinates of a path along the ravine's valley and across it."""
    c, s = math.cos(math.pi / 6), math.sin(math.pi / 6)
    return path @ [c, s], path @ [-s, c]


def moves(paths):
    return np.diff(paths, axis=-2)


def distance(paths):
    """From the minimum of booth."""
    return np.linalg.norm(paths - np.array([1.0, 3.0]), axis=-1)


def rms(values):
    return np.sqrt((values**2).mean(-1))


def figure(name):
    """The test is of this figure: `try_` changes it, `shown` is it."""

    def marked(test):
        fixture = "try_" if "try_" in inspect.signature(test).parameters else "shown"
        return pytest.mark.parametrize(fixture, [name], ids=[name], indirect=True)(test)

    return marked


@figure("fig-conditioning-explorer")
def test_conditioning(try_):
    def across(lr):
        return abs(in_valley(try_({"lr": lr}, {})[0])[1])

    edge = across(0.02)
    np.testing.assert_allclose(edge, edge[0], rtol=1e-9)
    assert in_valley(try_({"lr": 0.02}, {})[0])[0][-1] > -0.6, "along the valley it goes on"
    assert (np.diff(across(0.0201)) > 0).all()
    ended = try_({"lr": 0.021}, {})[0][-1]
    assert abs(ended / (10.0, 8.0)).max() > 50, "the explorer says that it diverges"
    on_floor = in_valley(try_({}, {"lr": 0.01})[1])[1]
    assert abs(on_floor[0]) > 1 and abs(on_floor[1:]).max() < 1e-12
    along = in_valley(try_({}, {"lr": 0.01})[1])[0]
    np.testing.assert_allclose(along[1:] / along[:-1], 0.99)


@figure("fig-conditioning-explorer")
def test_conditioning_on_the_floor(try_):
    start = (-3.4641, -2.0)
    assert abs(in_valley(try_({"lr": 0.0199}, {}, start=start)[0])[1]).max() < 1e-5
    across = abs(in_valley(try_({"lr": 0.03}, {}, start=start)[0])[1])
    assert across[:13].max() < 0.01 and across[100] > 1e6
    np.testing.assert_allclose(across[1:30] / across[:29], 2, rtol=1e-4)


@figure("fig-momentum-explorer")
def test_momentum(try_):
    def beyond(mu):
        return in_valley(try_({"momentum": mu}, {})[0])[0].max()

    assert beyond(0.7) < 0 and beyond(0.8) < 0 < 0.3 < beyond(0.9)
    soon = [np.argmax(loss("ravine", try_({"momentum": mu}, {})[0]) < 1e-3) for mu in (0.7, 0.76, 0.81, 0.9)]
    assert soon[0] > soon[1] > soon[2] < soon[3]
    wide = in_valley(try_({}, {"momentum": 0.99})[1])[1]
    assert abs(wide[-20:]).max() > 0.4 * abs(wide[:20]).max() > 0.4
    plain, ahead = (in_valley(try_({}, {"nesterov": each})[1]) for each in (False, True))
    assert abs(plain[1][3:40]).max() > 0.5 and abs(ahead[1][3:]).max() < 1e-12
    assert ahead[0].max() > 1 and plain[0].max() > 1, "along the valley both swing"


@figure("fig-noise-explorer")
def test_noise_ball(try_):
    quiet = distance(try_(noise=0.0))
    assert quiet[0, -1] < 1e-9 and (quiet[0, 1:200] < quiet[1, 1:200]).all()
    balls = [rms(distance(try_(seed=seed))[0, 100:]) for seed in range(5)]
    assert max(balls) < 1.5 * min(balls)
    first = distance(try_())
    assert first[0, 30] < 1 < 7 < first[1, 30] and rms(first[1, 200:]) < 0.7 * rms(first[0, 200:])
    large, small = rms(distance(try_(steps=3000))[:, 1000:])
    assert 2.3 < large / small < 5
    late = distance(try_({}, {"lr": 0.0005}))[1]
    assert late[-1] > 0.5 * late[0]


@figure("fig-edge-explorer")
def test_edge_of_stability(try_):
    ends = {lr: try_({}, {"lr": lr})[1, -1] for lr in (0.4, 0.5, 0.6, 0.65)}
    for lr in (0.4, 0.5, 0.6):
        assert abs(ends[lr].prod() - 1) < 1e-6 and (ends[lr] ** 2).sum() < 2 / lr, lr
    np.testing.assert_allclose([(ends[lr] ** 2).sum() for lr in (0.5, 0.6)], 2.2, atol=0.06)
    assert ends[0.5].min() > 0 > ends[0.6].max()
    assert not np.isfinite(ends[0.65]).all()
    stays, thrown = try_()[0], try_(start=(0.345, 2.9))[0]
    assert np.abs(moves(stays)).max() < 0.05
    sharpness = (thrown[[0, -1]] ** 2).sum(1)
    assert abs(sharpness[0] - 8.5) < 0.05 and sharpness[1] < 2 / 0.3


@figure("fig-adagrad-explorer")
def test_adagrad(try_):
    first = np.abs(moves(try_()))[:, 0]
    np.testing.assert_allclose(first, [[5, 5], [0.5, 0.5]], rtol=1e-6)
    np.testing.assert_allclose(np.abs(moves(try_({"alpha": 0.9}, {})))[0, 0], 0.5 / 0.1**0.5, rtol=1e-6)
    long = distance(try_(steps=2000))
    assert rms(long[1, -300:]) < rms(long[1, 200:300]) and rms(long[0, -1000:]) > 3 * rms(long[1, -1000:])
    for noise in (20.0, 0.0):
        crawl = distance(try_({}, {"lr": 0.02}, steps=2000, noise=noise))[1]
        assert 2 < (crawl[0] - crawl[2000]) / (crawl[0] - crawl[300]) < 3, noise
    assert distance(try_(noise=0.0))[0, 100:].max() < 1e-6


@figure("fig-adam-explorer")
def test_adam(try_):
    steps = moves(try_())
    np.testing.assert_allclose(np.abs(steps[0, 0]), 0.05, rtol=1e-6)
    np.testing.assert_allclose(np.abs(steps[1, 0]), 0.05 / 0.001**0.5, rtol=1e-6)
    back = steps[1, 1] / steps[1, 0]
    assert (back < -0.5).all() and (back > -1).all()
    assert in_valley(try_()[1])[1][1] < 0 < in_valley(try_()[1])[1][0], "on the far wall"
    sign = try_({"betas": [0.0, 0.0]}, {})[0]
    np.testing.assert_allclose(np.abs(moves(sign)), 0.05, rtol=1e-4)
    across = in_valley(sign)[1][100:]
    assert (np.sign(across[1:]) != np.sign(across[:-1])).mean() > 0.45
    assert (np.abs(moves(try_({"eps": 100.0}, {}))[0, 0]) < 0.025).all()
    momentum = try_({"eps": 1e4, "lr": 100.0}, {})[0]
    np.testing.assert_allclose(np.abs(moves(momentum)[0]), 0.01 * np.array([60, 95.5]), rtol=0.01)
    swing = in_valley(momentum)[1][:60]
    assert swing.min() < -0.3 and (np.diff(np.sign(swing)) != 0).sum() >= 4


@figure("fig-variants-explorer")
def test_variants(try_):
    first = try_()
    np.testing.assert_allclose(np.abs(moves(first[1])), 0.1)
    assert np.abs(first[0, -20:]).max() < 1e-3 and np.abs(first[1, -20:]).max() > 0.09
    slow = try_({}, {"lr": 0.01})[1]
    np.testing.assert_allclose(np.abs(moves(slow)), 0.01)
    assert abs(slow[-1, 0] + 2) < 0.02
    thrown = try_({"name": "RAdam"}, {})[0]
    assert np.abs(thrown[1:6, 1]).max() > 2 and abs(thrown[1, 1] - 1 + 10) < 1e-3
    calm = try_({"name": "RAdam", "lr": 0.001}, {})[0]
    assert np.abs(calm[:, 1]).max() <= 1 and abs(calm[-1, 0] + 4) < 0.5
    far, near = (try_({}, {"betas": [0.9, beta]})[1, :, 0].max() for beta in (0.99, 0.9))
    assert far > 2 > 1 > near


@figure("fig-sf-explorer")
def test_schedule_free(try_):
    noisy = distance(try_())[:, 300:]
    assert rms(noisy[1]) < 0.6 * rms(noisy[0])
    same = try_({}, {"momentum": 0.0})
    np.testing.assert_allclose(same[0], same[1], rtol=1e-12)
    quiet = distance(try_(noise=0.0))
    assert quiet[0, 100] < 1e-3 < 0.3 < quiet[1, 100]
    both = try_({"lr": 0.2}, {"lr": 0.2}, noise=0.0)
    assert np.abs(both[0, -1]).max() > 50 * 20 and distance(both[1])[-1] < 1e-3


@figure("fig-explorers-first")
def test_home_page(try_):
    assert in_valley(try_()[1])[0].max() < 0.5 and in_valley(try_({}, {"momentum": 0.95})[1])[0].max() > 1
    walls = [np.abs(in_valley(try_({"lr": lr}, {})[0])[1]) for lr in (0.0195, 0.0205)]
    assert walls[0][-1] < walls[0][0] < walls[1][-1]
    assert (in_valley(try_({"lr": 0.0195}, {})[0])[1][:20:2] > 0).all(), "it zigzags"
    assert np.abs(try_({"lr": 0.022}, {})[0][-1] / (10, 8)).max() > 50, "the explorer says that it diverges"


@figure("fig-explorers-own")
def test_own_rule(try_):
    slow = try_({"longest": 0.02}, {})[0]
    assert np.abs(moves(slow)).max() < 0.0201 and np.linalg.norm(slow[-1]) > 1
    same = try_({"longest": 10.0}, {})
    np.testing.assert_allclose(same[0], same[1], rtol=1e-12)


@figure("fig-explorers-wrong")
def test_what_goes_wrong(try_):
    ends = np.isfinite(try_()[:, -1]).all(1)
    assert ends.tolist() == [False, False, True]
    assert np.isfinite(try_({"lr": 0.001}, {}, {})[0]).all()
    rates = learning_rates(LANDSCAPES["booth"])
    assert np.isfinite(try_({"lr": rates["proportional"]}, {}, {}, landscape="booth")[0]).all()


@figure("fig-explorers-schedule")
def test_schedules(shown):
    def ends(**traits):
        for key, value in ({"noise": 1.0, "lr": 0.05} | traits).items():
            setattr(shown, key, value)
        return shown.losses()[:, -1]

    constant, cosine, step = ends()
    assert cosine < step < constant / 3
    assert ends(noise=0.0)[0] < 1e-3 * ends(noise=0.0)[1:].min()
    np.testing.assert_allclose(ends(noise=3.0) / ends(), 9, rtol=0.05)
    constant, again, _ = ends(lr=0.1)
    assert constant > 10 and again < 1.5 * cosine


@figure("fig-explorers-surface")
def test_surface(shown):
    end = {name: way[-1] for name, way in shown.traces().items()}
    far = {pair: np.linalg.norm(np.subtract(*map(end.get, pair))) for pair in combinations(end, 2)}
    assert far.pop(("Adam", "Lion")) < 0.2 * min(far.values())
    for pair in combinations(end, 2):
        a, b = map(end.get, pair)
        assert rise([probed(shown, tuple(a + t * (b - a))) for t in np.linspace(0, 1, 41)]) < 1 / 20
    shown.surface, shown.beside = "batches of 8", "full batch"
    left, middle, right = (probed(shown, (x, 0.0), "full batch") / probed(shown, (x, 0.0)) for x in (-0.5, 0, 0.5))
    assert left > 1.3 and 0.7 < middle < 1.3 and 0.7 < right < 1.3


def test_among_all_parameters_the_ends_are_not_as_the_plane_shows_them():
    task = digits_mlp()
    settings = {name: partial(cls, **setting) for name, (cls, setting) in METHODS.items()}
    end = {name: recorded_path(task, make, 240, 240, 32)[-1] for name, make in settings.items()}
    loss, _ = flat_loss(task.model(0), whole_loss)
    assert 0.8 < (end["Adam"] - end["Lion"]).norm() / (end["SGD"] - end["SGD, momentum"]).norm() < 1.25
    for a, b in combinations(end.values(), 2):
        assert rise([float(loss(a + t * (b - a))) for t in np.linspace(0, 1, 41)]) < 1 / 20


def rise(losses):
    """How much higher it is between than at the higher end, as a share."""
    return max(losses) / max(losses[0], losses[-1]) - 1


def probed(shown, place, surface=None):
    shown.probe = place
    return shown.probed()[surface or shown.surface]


def test_every_explorer_that_has_things_to_try_is_tried():
    marks = [mark for test in globals().values() for mark in getattr(test, "pytestmark", [])]
    assert {mark.args[1][0] for mark in marks} == CELLS.keys()
