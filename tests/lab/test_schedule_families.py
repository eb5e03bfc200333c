"""Composed schedules against the functions they are made of, and the record of training runs with them."""

import numpy as np
import pytest

from dlopt.lab.schedule_families import FAMILIES, composed
from dlopt.lab.schedule_runs import MOMENTUM, RATES, STEPS, recorded_runs, study
from dlopt.sgd import schedules

AS_THEY_ARE = {
    "constant": schedules.constant(),
    "cosine": schedules.cosine(300, hold=True),
    "linear": schedules.linear(300),
    "polynomial": schedules.polynomial(300, 2.0),
    "step": schedules.step(100),
    "multi_step": schedules.multi_step([150, 225]),
    "exponential": schedules.exponential(0.99),
    "inverse_time": schedules.inverse_time(50),
    "cosine_restarts": schedules.cosine_restarts(100, 1.0),
    "inverse_sqrt": schedules.inverse_sqrt(30),
    "one_cycle": schedules.one_cycle(300),
    "warmup_stable_decay": schedules.warmup_stable_decay(300, 30, 60),
}


def test_no_schedule_is_forgotten():
    made = {name for name in schedules.__all__ if name[0].islower()}
    assert made - set(FAMILIES) == {"one_cycle_momentum", "sequential", "warmup"}
    assert set(FAMILIES) == set(AS_THEY_ARE)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_as_it_is(name):
    assert composed(name, {}, 300) == AS_THEY_ARE[name]


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if not family.rises])
def test_a_warmup_goes_before_and_the_end_stays(name):
    found = composed(name, {"warmup": 20, "start": 0.1}, 300)
    factors = np.array([found(t) for t in range(301)])
    np.testing.assert_allclose(factors[:20], 0.1 + 0.9 * np.arange(20) / 20, rtol=1e-12)
    then = composed(name, {}, 280)
    assert factors[20:].tolist() == [then(t) for t in range(281)]


def test_settings_reach_the_schedule():
    assert composed("polynomial", {"power": 3.0}, 10)(5) == 0.125
    assert composed("linear", {"warmup": 4, "start": 0.01, "kind": "exponential"}, 10)(2) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("name", "settings", "error", "said"),
    [
        ("cosinus", {}, ValueError, "no family of schedules is called 'cosinus'"),
        ("cosine", {"power": 2}, TypeError, "cosine has no setting power; it has floor, warmup"),
        ("cosine", {"warmup": 10}, ValueError, "a warm-up of 10 steps leaves none of 10"),
        ("step", {"step_size": 0}, ValueError, "positive integer step_size"),
        ("cosine", {"warmup": 3, "kind": "exponential"}, ValueError, "cannot start at 0"),
    ],
)
def test_what_cannot_be_is_refused(name, settings, error, said):
    with pytest.raises(error, match=said):
        composed(name, settings, 10)


def test_the_record_holds_every_family_and_says_where_it_comes_from():
    record = recorded_runs()
    config = record["config"]
    assert {run["name"] for run in record["runs"]} == set(FAMILIES)
    assert (config["steps"], config["momentum"], config["rates"]) == (STEPS, MOMENTUM, [f"{lr:g}" for lr in RATES])
    assert record["machine"]["cpu"] and record["machine"]["torch"] and record["versions"]["digits"]
    for run in record["runs"]:
        composed(run["name"], run["settings"], STEPS)
        for rate in config["rates"]:
            assert np.shape(run["losses"][rate]) == (len(config["seeds"]), STEPS // config["every"] + 1)
            assert len(run["accuracy"][rate]) == len(config["seeds"])


def test_the_record_is_made_by_this_code():
    """The first records of one run, made again: the batches, the model and the schedule are those of the record."""
    record = recorded_runs()
    again = study(rates=[0.1], seeds=[0], steps=30, families=["constant"])
    [then] = [run for run in record["runs"] if run["name"] == "constant"]
    np.testing.assert_allclose(again["runs"][0]["losses"]["0.1"][0], then["losses"]["0.1"][0][:4], rtol=0.05)
