import numpy as np
import pytest
import torch

import dlopt
from dlopt.lab.dynamics import iterates, rate, step_map
from tests.engine.toy import Toy


def test_the_map_is_the_step():
    """Stepping the optimizer and multiplying by its matrix give the same orbit."""

    def heavy_ball(ps):
        return dlopt.SGD(ps, lr=0.1, momentum=0.8)

    points = iterates(heavy_ball, lambda x: 3.0 * x, 1.0, 20)
    state, matrix = np.array([1.0, 0.0]), step_map(heavy_ball, 3.0)
    for point in points[1:]:
        state = matrix @ state
        assert state[0] == pytest.approx(point, abs=1e-14)


@pytest.mark.parametrize("h", [0.5, 3.0, 30.0])
def test_rate_of_gradient_descent(h):
    assert rate(lambda ps: dlopt.SGD(ps, lr=0.05), h) == pytest.approx(abs(1 - 0.05 * h), abs=1e-15)


def test_the_slowest_curvature_decides():
    def heavy_ball(ps):
        return dlopt.SGD(ps, lr=0.02, momentum=0.5)

    assert rate(heavy_ball, [0.1, 10.0, 50.0]) == rate(heavy_ball, 0.1) > rate(heavy_ball, 10.0)


def test_torch_has_the_same_map():
    for kw in (dict(momentum=0.9), dict(momentum=0.9, nesterov=True)):
        ours, theirs = (step_map(lambda ps, c=c, kw=kw: c(ps, lr=0.1, **kw), 2.0) for c in (dlopt.SGD, torch.optim.SGD))
        np.testing.assert_allclose(ours, theirs, rtol=1e-14)


def test_a_method_that_counts_is_refused():
    with pytest.raises(ValueError, match="Toy counts its steps"):
        step_map(lambda ps: Toy(ps), 1.0)


def test_a_schedule_runs_before_each_step():
    def halve(opt, t):
        opt.param_groups[0]["lr"] = 1.0 if t < 2 else 0.5

    assert iterates(lambda ps: dlopt.SGD(ps, lr=9.0), lambda x: 1.0, 0.0, 4, halve).tolist() == [0, -1, -2, -2.5, -3]
