"""The study behind the page on choosing: from end to end in small, and the record that the page plots."""

import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dlopt import AdamW, Muon, ScheduleFreeAdamW
from dlopt.lab import choosing, tasks
from dlopt.lab.combined import Combined, muon_with_adamw
from dlopt.lab.contest import METHODS, TASKS, Contest, Method, measure
from dlopt.lab.training import Job, train
from dlopt.sgd import SGD, schedules

BOOK = Path(__file__).parents[2] / "book" / "adaptive"
SMALL = {
    "digits_mlp": Contest(partial(tasks.digits_mlp, widths=(4,)), 6, 8),
    "digits_autoencoder": Contest(partial(tasks.digits_autoencoder, widths=(64, 4, 64)), 5, 8),
    "heavy_tailed_softmax": Contest(partial(tasks.heavy_tailed_softmax, groups=3), 5, 12, parts=(), shift=3),
}
FEW = {name: METHODS[name] for name in ("SGD", "AdamW", "Schedule-Free", "Muon+AdamW")} | {
    "wild": Method(partial(SGD, momentum=0.9), 1e6, 1e6)
}
QUIET = dict(cache=False, progress=False, n_jobs=1)
LISTS = {"loss", "accuracy", "train_loss", "train_accuracy", "default_loss", "default_accuracy"}


def small_study(**changes):
    options = dict(trials=2, tuning_seeds=[0, 1], seeds=[2, 3], default_seeds=[2], rounds=1)
    return choosing.study(SMALL, FEW, **(options | changes), **QUIET)


def check_schema(record):
    """What every record holds, whatever was in it."""
    config = record["config"]
    assert set(record) == {"config", "machine", "versions", "results"}
    assert {"cpu", "cores", "torch", "python", "date"} <= set(record["machine"]) and record["machine"]["threads"] == 1
    assert {"numpy", "scikit-learn", "english_text"} <= set(record["versions"])
    assert not set(config["tuning_seeds"]) & set(config["seeds"])
    assert set(record["results"]) == set(config["tasks"])
    for task, methods in record["results"].items():
        assert set(methods) == set(config["methods"])
        assert config["tasks"][task]["recorded"][-1] == config["tasks"][task]["steps"]
        for found in methods.values():
            assert set(found) == {"rates", "tried", "best", "edge", "curve", "step_ms"} | LISTS
            assert len(found["rates"]) == len(found["tried"]) == config["trials"]
            assert all(len(losses) == len(config["tuning_seeds"]) for losses in found["tried"])
            means = [math.inf if None in losses else np.mean(losses) for losses in found["tried"]]
            assert found["best"] == found["rates"][int(np.argmin(means))]
            ends = {found["rates"][0]: "smallest", found["rates"][-1]: "largest"}
            assert found["edge"] == ends.get(found["best"])
            assert len(found["curve"]) == len(found["loss"]) == len(config["seeds"])
            assert [curve[-1] for curve in found["curve"]] == found["loss"]
            assert {len(curve) for curve in found["curve"]} == {len(config["tasks"][task]["recorded"])}
            assert len(found["default_loss"]) == len(config["default_seeds"])
            assert found["step_ms"] > 0


@pytest.fixture(scope="module")
def small():
    return small_study()


def test_a_small_study_from_end_to_end(small):
    check_schema(json.loads(json.dumps(small, allow_nan=False)))
    results = small["results"]
    assert results["digits_autoencoder"]["SGD"]["accuracy"] is None
    assert results["heavy_tailed_softmax"]["SGD"]["train_loss"] == results["heavy_tailed_softmax"]["SGD"]["loss"]
    wild = results["digits_autoencoder"]["wild"]
    assert wild["tried"] == [[None, None]] * 2 and wild["loss"] == [None] * 2  # kept, not dropped


def test_without_hidden_matrices_muon_with_adamw_is_adamw(small):
    softmax = small["results"]["heavy_tailed_softmax"]
    for key in ("tried", "best", "loss", "curve", "default_loss"):
        assert softmax["Muon+AdamW"][key] == softmax["AdamW"][key]
    assert small["results"]["digits_mlp"]["Muon+AdamW"]["loss"] != small["results"]["digits_mlp"]["AdamW"]["loss"]


def test_numbers_are_those_of_runs_by_hand(small):
    found, contest = small["results"]["digits_mlp"]["AdamW"], SMALL["digits_mlp"]
    job = Job(
        task=contest.make(part="test"), factory=partial(AdamW, weight_decay=0.0), setting={"lr": found["best"]}, seed=3,
        steps=6, batch_size=8, every=6, schedule=schedules.warmup(1, schedules.cosine(5)),
    )  # fmt: skip
    assert train(job)["test_loss"][-1] == pytest.approx(found["loss"][1], rel=1e-4)
    free = small["results"]["digits_mlp"]["Schedule-Free"]
    setting = {"lr": free["best"], "warmup_steps": 1}
    job = replace(job, factory=ScheduleFreeAdamW, setting=setting, schedule=None)
    assert train(job)["test_loss"][-1] == pytest.approx(free["loss"][1], rel=2e-3)  # it turned more often there


def test_tables_hold_the_record(small):
    record = choosing.read(small)
    assert len(record.trials) == 3 * 5 * 2 * 2 and len(record.results) == 3 * 5 * 2
    wild = record.trials.query("task == 'digits_autoencoder' and method == 'wild'")
    assert set(wild["loss"]) == {math.inf}
    one = record.results.query("task == 'digits_mlp' and method == 'SGD'")
    found = small["results"]["digits_mlp"]["SGD"]
    assert one["loss"].tolist() == found["loss"] and one["lr"].unique().tolist() == [found["best"]]
    assert one["default_loss"].tolist()[:1] == found["default_loss"] and math.isnan(one["default_loss"].tolist()[1])
    curve = record.curves.query("task == 'digits_mlp' and method == 'SGD' and seed == 2")
    assert curve["loss"].tolist() == found["curve"][0]
    assert curve["seconds"].iloc[-1] == pytest.approx(6 * found["step_ms"] / 1000)


def test_seeds_that_overlap_are_refused():
    with pytest.raises(ValueError, match="disjoint"):
        small_study(seeds=[1, 2])
    with pytest.raises(ValueError, match="among"):
        small_study(default_seeds=[9])


def test_the_command_writes_the_record(tmp_path, monkeypatch, small):
    monkeypatch.setattr(choosing, "study", lambda n_jobs: small)
    assert choosing.main(["--output", str(tmp_path / "a" / "b.json")]) == 0
    assert json.loads((tmp_path / "a" / "b.json").read_text()) == json.loads(json.dumps(small))


def test_a_study_goes_on_where_it_stopped(monkeypatch):
    options = dict(trials=2, tuning_seeds=[0], seeds=[1], default_seeds=[1], rounds=1, progress=False, n_jobs=1)
    first = choosing.study({"digits_mlp": SMALL["digits_mlp"]}, {"SGD": METHODS["SGD"]}, **options)
    monkeypatch.setattr("dlopt.lab.workers.train", lambda job: pytest.fail("it is in the cache"))
    again = choosing.study({"digits_mlp": SMALL["digits_mlp"]}, {"SGD": METHODS["SGD"]}, **options)
    for record in (first, again):
        record["results"]["digits_mlp"]["SGD"].pop("step_ms")
    assert first["results"] == again["results"]


def test_all_methods_have_equally_many_rates_on_every_task():
    for contest in TASKS.values():
        for method in METHODS.values():
            rates = contest.rates(method, 7)
            ratios = np.diff(np.log10(rates))
            assert len(rates) == 7 and 0.47 < ratios.min() and ratios.max() < 0.53
            assert rates[0] == pytest.approx(method.lowest * (1, 33)[contest.shift > 0], rel=0.1)


@pytest.mark.parametrize("name", METHODS)
def test_defaults_are_those_of_the_class(name):
    model = TASKS["digits_mlp"].task("test").model(0)
    factory = TASKS["digits_mlp"].factory(METHODS[name])
    expected = METHODS[name].default
    if name != "Muon+AdamW":
        assert factory(list(model.parameters())).param_groups[0]["lr"] == expected
    groups = factory(list(model.parameters()), lr=0.5).param_groups
    assert all(group["lr"] == 0.5 and group["weight_decay"] == 0 for group in groups)


def test_measure_names_what_it_was_told_to_judge():
    table = measure(SMALL["digits_mlp"], {"SGD": METHODS["SGD"]}, {"SGD": [0.1]}, [0], "test", "train", **QUIET)
    assert table["loss"].equals(table["test_loss"]) and "full_loss" in table and table["step"].tolist() == [0, 6]


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(5, 6), nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, 3)).double()


def backward(model):
    model(torch.tensor([0, 2, 4])).square().sum().backward()


def test_together_is_each_for_itself():
    one, two = net(), net()
    both = muon_with_adamw(one.parameters(), 0.01, embeddings=1, weight_decay=0.1)
    assert [type(part) for part in both.optimizers] == [Muon, AdamW]
    scaled = dict(weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    muon = Muon([two[1].weight], lr=0.01, **scaled)
    adam = AdamW([two[0].weight, two[1].bias, *two[3].parameters()], lr=0.01, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(both, lambda t: 1 / (1 + t))
    for t in range(4):
        for model in (one, two):
            model.zero_grad()
            backward(model)
        for group in (*muon.param_groups, *adam.param_groups):
            group["lr"] = 0.01 / (1 + t)
        both.step(), schedule.step(), muon.step(), adam.step()
    for p, q in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(p, q)


def test_together_resumes_exactly():
    whole, part = net(), net()
    ends = []
    for model, cut in ((whole, False), (part, True)):
        both = muon_with_adamw(model.parameters(), 0.01, embeddings=1)
        for t in range(4):
            if cut and t == 2:
                state = both.state_dict()
                both = muon_with_adamw(model.parameters(), 0.5, embeddings=1)
                both.load_state_dict(state)
            both.zero_grad()
            backward(model)
            both.step()
        ends.append(torch.cat([p.flatten() for p in model.parameters()]))
    assert torch.equal(*ends)


@pytest.mark.parametrize(
    "bad",
    [dict(lr=-1.0), dict(lr=math.nan), dict(lr="a"), dict(lr=0.1, weight_decay=-1.0), dict(lr=0.1, embeddings=99)],
)
def test_bad_settings_are_refused(bad):
    with pytest.raises(ValueError):
        muon_with_adamw(net().parameters(), **bad)


def test_nothing_and_twice_are_refused():
    w = torch.ones(2, requires_grad=True)
    with pytest.raises(ValueError):
        muon_with_adamw([], 0.1)
    with pytest.raises(ValueError):
        Combined([])
    with pytest.raises(ValueError, match="more than one"):
        Combined([torch.optim.SGD([w], lr=0.1), torch.optim.SGD([w], lr=0.1)])


def test_the_record_of_the_page():
    file = BOOK / "choosing.json"
    assert file.stat().st_size < 300_000
    record = json.loads(file.read_text())
    check_schema(record)
    config = record["config"]
    assert list(config["tasks"]) == list(TASKS) and list(config["methods"]) == list(METHODS)
    assert len(config["seeds"]) >= 8 and len(config["tuning_seeds"]) >= 2 and config["trials"] == 7
    for task, contest in TASKS.items():
        about = config["tasks"][task]
        assert (about["steps"], about["batch_size"], about["warmup"]) == (
            contest.steps, contest.batch_size, contest.warmup,
        )  # fmt: skip
        for name, method in METHODS.items():
            assert record["results"][task][name]["rates"] == contest.rates(method, config["trials"])
            assert config["methods"][name] == {"default": method.default, "scheduled": method.scheduled}


def test_the_page_reads_the_record_and_runs_a_slice_of_it_live():
    page = (BOOK / "text" / "choosing.md").read_text()
    assert 'choosing.read("choosing.json")' in page
    assert "TASKS[" in page and "measure(" in page
