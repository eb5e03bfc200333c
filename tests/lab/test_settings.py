import math

import pytest

from dlopt.lab.settings import at_edge, grid, sample


def test_grid_is_every_combination():
    found = grid(lr=[0.1, 1.0], betas=[(0.9, 0.99), (0.9, 0.999)], nesterov=[True])
    assert len(found) == 4
    assert len({tuple(setting.values()) for setting in found}) == 4
    assert found[1] == {"lr": 0.1, "betas": (0.9, 0.999), "nesterov": True}
    with pytest.raises(ValueError, match="no value to try for lr"):
        grid(lr=[])


def test_sample_is_log_uniform_and_seeded():
    found = sample(4000, seed=3, lr=(1e-4, 1.0), momentum=[0.0, 0.9])
    assert found == sample(4000, seed=3, lr=(1e-4, 1.0), momentum=[0.0, 0.9])
    assert found != sample(4000, seed=4, lr=(1e-4, 1.0), momentum=[0.0, 0.9])
    logs = [math.log10(setting["lr"]) for setting in found]
    assert min(logs) >= -4
    assert max(logs) <= 0
    # a quarter of the draws in each decade
    assert all(sum(low <= v < low + 1 for v in logs) / 4000 == pytest.approx(0.25, abs=0.03) for low in range(-4, 0))
    assert sum(setting["momentum"] == 0.9 for setting in found) / 4000 == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("bad", [(0.0, 1.0), (1.0, 0.1), (1.0,), (0.1, math.inf), (math.nan, 1.0)])
def test_bad_ranges_are_refused(bad):
    with pytest.raises(ValueError, match="a range is"):
        sample(3, lr=bad)


def test_edges():
    tried = grid(lr=[0.01, 0.1, 1.0], momentum=[0.0, 0.9], nesterov=[False, True])
    assert at_edge({"lr": 0.1, "momentum": 0.9, "nesterov": True}, tried) == {"momentum": "largest"}
    assert at_edge({"lr": 0.01, "momentum": 0.0, "nesterov": False}, tried) == {"lr": "smallest"}
    assert at_edge({"lr": 0.1}, [{"lr": 0.1}]) == {}
