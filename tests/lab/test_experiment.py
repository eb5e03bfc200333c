import concurrent.futures
import functools
import json
import math
import multiprocessing
import os
import subprocess
import sys
import threading
import time
import types

import joblib
import numpy as np
import pandas as pd
import pytest
import torch

import dlopt
from dlopt.lab import experiment, workers
from dlopt.lab.experiment import run, steps_to, tune
from dlopt.lab.settings import grid
from dlopt.lab.tasks import digits_mlp, least_squares
from dlopt.lab.training import train
from dlopt.lab.workers import parallel_map

QUICK = dict(steps=12, every=4, progress=False)
METHODS = {"gd": torch.optim.SGD, "momentum": functools.partial(torch.optim.SGD, momentum=0.9)}
SETTINGS = grid(lr=[0.01, 0.1])


def same(a, b):
    pd.testing.assert_frame_equal(a.drop(columns="seconds"), b.drop(columns="seconds"), check_exact=True)


def count_runs(monkeypatch):
    done = []

    def counted(job):
        done.append(job)
        return train(job)

    monkeypatch.setattr(workers, "train", counted)
    return done


def test_table_is_tidy_and_complete():
    table = run(least_squares(), METHODS, settings=SETTINGS, seeds=[3, 1], **QUICK)
    assert list(table.columns) == ["task", "method", "trial", "lr", "seed", "step", "train_loss", "val_loss",
                                   "gradients", "seconds", "diverged"]  # fmt: skip
    assert len(table) == 2 * 2 * 2 * 4
    assert table["step"].dtype == "int64"
    assert table["diverged"].dtype == bool
    assert not table.isna().any().any()
    order = table[["method", "trial", "lr", "seed"]].drop_duplicates().values.tolist()
    assert order[:3] == [["gd", 0, 0.01, 3], ["gd", 0, 0.01, 1], ["gd", 1, 0.1, 3]]


def test_seeds_are_paired_over_methods():
    table = run(digits_mlp(), METHODS, settings=[{"lr": 0.1}], seeds=[0, 1], **QUICK)
    start = table[table["step"] == 0].pivot(index="seed", columns="method", values=["train_loss", "val_loss"])
    for metric in ("train_loss", "val_loss"):
        assert (start[metric, "gd"] == start[metric, "momentum"]).all()
        assert start[metric, "gd"].nunique() == 2
    end = table[table["step"] == 12].pivot(index="seed", columns="method", values="val_loss")
    assert (end["gd"] != end["momentum"]).all()


def test_our_optimizer_equals_torchs_through_run():
    methods = {"ours": functools.partial(dlopt.SGD, momentum=0.9), "torch": METHODS["momentum"]}
    table = run(digits_mlp(), methods, settings=[{"lr": 0.05}], seeds=[0], **QUICK)
    losses = table.pivot(index="step", columns="method", values="val_loss")
    assert losses["ours"].to_numpy() == pytest.approx(losses["torch"].to_numpy(), rel=1e-5)


def test_cached_runs_are_not_done_again_and_are_the_same(monkeypatch):
    done = count_runs(monkeypatch)
    first = run(least_squares(), METHODS, settings=SETTINGS, seeds=[0], **QUICK)
    assert len(done) == 4
    second = run(least_squares(), METHODS, settings=SETTINGS, seeds=[0], **QUICK)
    assert len(done) == 4
    pd.testing.assert_frame_equal(first, second, check_exact=True)  # seconds too
    uncached = run(least_squares(), METHODS, settings=SETTINGS, seeds=[0], cache=False, **QUICK)
    assert len(done) == 8
    same(first, uncached)
    run(least_squares(), METHODS, settings=SETTINGS, seeds=[0, 1], **QUICK)
    assert len(done) == 12  # seed 1 only


@pytest.mark.parametrize(
    "change",
    [
        {"methods": {"gd": lambda params, lr: torch.optim.SGD(params, lr=lr, momentum=0.5)}},
        {"task": least_squares(part="test")},
        {"settings": [{"lr": 0.2}]},
        {"steps": 13},
        {"every": 3},
        {"batch_size": 8},
        {"schedule": lambda step: 0.5},
        {"target": ("val_loss", 0.0)},
    ],
)
def test_what_matters_is_in_the_key(monkeypatch, change):
    done = count_runs(monkeypatch)
    base = dict(task=least_squares(), methods={"gd": lambda params, lr: torch.optim.SGD(params, lr=lr)},
                settings=[{"lr": 0.1}], seeds=[0], **QUICK)  # fmt: skip
    run(**base)
    run(**base)
    assert len(done) == 1
    run(**(base | change))
    assert len(done) == 2


def test_the_code_of_the_package_is_in_the_key(monkeypatch):
    done = count_runs(monkeypatch)
    base = dict(task=least_squares(), methods={"gd": torch.optim.SGD}, settings=[{"lr": 0.1}], seeds=[0], **QUICK)
    run(**base)
    monkeypatch.setattr(experiment, "environment", lambda: {"dlopt": "another version"})
    run(**base)
    assert len(done) == 2


def test_an_interrupted_experiment_resumes(monkeypatch):
    done = []

    def interrupted(job):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(job)
        return train(job)

    monkeypatch.setattr(workers, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(least_squares(), METHODS, settings=SETTINGS, seeds=[0, 1], **QUICK)
    assert len(done) == 3
    done = count_runs(monkeypatch)
    table = run(least_squares(), METHODS, settings=SETTINGS, seeds=[0, 1], **QUICK)
    assert len(done) == 5
    assert len(table) == 8 * 4


def test_workers_agree_with_this_process_and_take_lambdas():
    methods = {"gd": lambda params, lr: torch.optim.SGD(params, lr=lr), "adam": torch.optim.Adam}
    arguments = dict(task=digits_mlp(), methods=methods, settings=[{"lr": 0.01}], seeds=[0, 1], cache=False, **QUICK)
    alone = run(**arguments)
    with joblib.parallel_config(backend="loky", n_jobs=2):
        same(alone, run(**arguments))
    with joblib.parallel_config(backend="threading"):
        same(alone, run(**arguments, n_jobs=2))


FORKS = sorted({workers._may_fork(), False})
"""Whether the other process is a copy of this one: both, where it can be."""


@pytest.mark.parametrize("forks", FORKS)
def test_many_runs_are_shared_with_one_other_process(monkeypatch, forks):
    here = count_runs(monkeypatch)
    monkeypatch.setattr(workers, "_may_fork", lambda: forks)
    monkeypatch.setattr(workers, "_FEW" if forks else "_MANY", 20 * QUICK["steps"])
    monkeypatch.setattr(workers, "_LONG", 0)
    monkeypatch.setattr(joblib, "cpu_count", lambda: 2)
    arguments = dict(task=least_squares(), methods=METHODS, settings=[{"lr": 0.1}], cache=False, **QUICK)
    alone = run(**arguments, seeds=range(10), n_jobs=1)
    assert len(here) == 20
    same(alone, run(**arguments, seeds=range(10)))
    assert 20 < len(here) < 39
    here.clear()
    run(**arguments, seeds=range(9))  # too little work
    assert len(here) == 18


@pytest.mark.parametrize("forks", FORKS)
def test_the_other_process_starts_no_third_one(monkeypatch, forks):
    monkeypatch.setattr(workers, "_may_fork", lambda: forks)
    monkeypatch.setattr(joblib, "cpu_count", lambda: 2)
    found = workers.parallel_map(lambda _: (os.getpid(), workers._may_share()), range(6), progress=False)
    assert dict(found) == {process: process == os.getpid() for process, _ in found}
    assert len(dict(found)) == 2


def test_while_the_other_process_starts_nobody_waits(monkeypatch):
    never = concurrent.futures.Future()
    loky = types.SimpleNamespace(
        get_reusable_executor=lambda **options: types.SimpleNamespace(submit=lambda *given: never)
    )
    monkeypatch.setattr(workers, "require", lambda name: loky)
    assert list(workers._spawned(range(-5, 0), abs, abs, at_once=False)) == [5, 4, 3, 2, 1]


@pytest.mark.skipif(not workers._may_fork(), reason="no copy of this process could compute")
def test_a_copy_of_this_process_computes_at_once_without_pickling_and_is_gone_at_the_end(monkeypatch):
    monkeypatch.setattr(joblib, "cpu_count", lambda: 2)
    square = torch.eye(300, requires_grad=True)
    (square @ square).sum().backward()  # threads that the copy will not have
    started, lock = time.perf_counter(), threading.Lock()

    def stepped(k):
        with lock:  # cannot be pickled
            p = torch.full((300, 300), float(k), requires_grad=True)
            (p @ p).sum().backward()
            dlopt.Adam([p], lr=0.1).step()
            time.sleep(0.02)
        return os.getpid(), p.detach().sum().item()

    found = workers.parallel_map(stepped, range(8), progress=False)
    assert time.perf_counter() - started < 2  # to start a new process takes longer
    assert [value for _, value in found] == pytest.approx([90000 * (k - 0.1 * (k > 0)) for k in range(8)])
    (other,) = {pid for pid, _ in found} - {os.getpid()}
    for _ in range(100):
        if not any(child.pid == other for child in multiprocessing.active_children()):
            break
        time.sleep(0.05)
    else:
        pytest.fail("the copy is still there")


@pytest.mark.skipif(not workers._may_fork(), reason="no copy of this process could compute")
def test_a_copy_has_one_thread_its_own_random_numbers_and_gives_anything_back(monkeypatch):
    monkeypatch.setattr(joblib, "cpu_count", lambda: 2)
    torch.rand(300_000).exp().sum()  # on threads that the copy will not have
    net = torch.nn.Linear(1, 1, bias=False)

    def busy(k):
        torch.set_num_threads(2)
        torch.rand(300_000).exp().sum()
        with torch.no_grad():
            net.weight.fill_(k)
        time.sleep(0.02)
        drawn = np.random.rand(), torch.rand(1).item()
        there = multiprocessing.parent_process() is not None
        return there, drawn, lambda: k, 2 * net.weight, torch.get_num_threads()

    found = workers.parallel_map(busy, range(8), progress=False)
    there = [k for k, (elsewhere, *_) in enumerate(found) if elsewhere]
    assert there and len(there) < 8
    assert len({drawn for _, drawn, *_ in found}) == 8
    assert [function() for _, _, function, *_ in found] == list(range(8))
    assert [found[k][3].item() for k in there] == [2.0 * k for k in there]
    assert not any(found[k][3].is_shared() for k in there) and {found[k][4] for k in there} == {1}


@pytest.mark.parametrize("forks", FORKS)
def test_an_error_of_a_local_class_arrives_with_its_place(monkeypatch, forks):
    monkeypatch.setattr(workers, "_may_fork", lambda: forks)
    monkeypatch.setattr(joblib, "cpu_count", lambda: 2)

    class LocalError(Exception):
        pass

    def bad(k):
        if multiprocessing.parent_process() is not None:
            raise LocalError(f"no {k}")
        time.sleep(0.02)

    with pytest.raises(Exception, match="no [0-9]") as caught:
        workers.parallel_map(bad, range(8), progress=False)
    assert type(caught.value).__name__ == "LocalError"
    assert not forks or "in bad" in caught.value.__notes__[0]


@pytest.mark.skipif(not workers._may_fork(), reason="no copy of this process could compute")
def test_where_no_copy_is_allowed_all_is_done_here(monkeypatch):
    monkeypatch.setattr(joblib, "cpu_count", lambda: 2)

    def refused():
        raise BlockingIOError("Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refused)
    assert workers.parallel_map(lambda k: (os.getpid(), k), range(3), progress=False) == [
        (os.getpid(), k) for k in range(3)
    ]


@pytest.mark.parametrize("count", range(8))
@pytest.mark.parametrize("instant", [True, False])
@pytest.mark.parametrize("at_once", [True, False])
def test_shared_work_is_done_once_whichever_side_is_quicker(monkeypatch, count, instant, at_once):
    monkeypatch.setattr(workers, "_GRACE", 0.0)

    class Part(concurrent.futures.Future):
        def result(self, timeout=None):
            return self.value

        def done(self):
            return instant

    class Pool:
        def submit(self, function, *items):
            part = Part()
            part.value = function(*items)
            return part

    loky = types.SimpleNamespace(get_reusable_executor=lambda **options: Pool())
    monkeypatch.setattr(workers, "require", lambda name: loky)
    assert sorted(workers._spawned(range(count), abs, abs, at_once)) == list(range(count))


@pytest.mark.parametrize("forks", FORKS)
def test_an_error_in_the_other_process_is_raised_here(monkeypatch, forks):
    monkeypatch.setattr(workers, "_may_fork", lambda: forks)
    monkeypatch.setattr(workers, "_FEW" if forks else "_MANY", 0)
    monkeypatch.setattr(joblib, "cpu_count", lambda: 2)

    def broken(params, lr):
        raise ZeroDivisionError("made to fail")

    with pytest.raises(ZeroDivisionError, match="made to fail"):
        run(least_squares(), {"bad": broken}, settings=[{"lr": 0.1}], seeds=range(12), cache=False, **QUICK)


def test_each_method_may_have_a_schedule_of_its_own():
    shapes = {"falling": lambda t: 1 - t / 12, "constant": lambda t: 1.0}
    arguments = dict(settings=[{"lr": 0.1}], seeds=[0, 1], cache=False, **QUICK)
    table = run(least_squares(), dict.fromkeys(shapes, torch.optim.SGD), schedule=shapes, **arguments)
    for name, shape in shapes.items():
        one = run(least_squares(), {name: torch.optim.SGD}, schedule=shape, **arguments)
        same(table[table["method"] == name].reset_index(drop=True), one)
    with pytest.raises(ValueError, match=r"schedules are for \['falling'\], methods are \['constant', 'falling'\]"):
        run(least_squares(), dict.fromkeys(shapes, torch.optim.SGD), schedule={"falling": abs}, **arguments)


def test_threads_are_given_back():
    torch.set_num_threads(2)
    run(least_squares(), METHODS, settings=[{"lr": 0.1}], seeds=[0], **QUICK)
    assert torch.get_num_threads() == 2


def test_the_bar_counts_runs_and_can_be_switched_off(capsys):
    arguments = dict(task=least_squares(), methods=METHODS, settings=[{"lr": 0.1}], seeds=[0], steps=4)
    run(**arguments, cache=False, progress=False)
    assert capsys.readouterr().err == ""
    run(**arguments)
    assert "0/2" in capsys.readouterr().err
    run(**arguments)  # all in the cache: nothing to show
    assert capsys.readouterr().err == ""


def test_the_bars_own_switch_works(own_cache):
    program = """
import torch
from dlopt.lab import run, TASKS
run(TASKS["least_squares"](), {"gd": torch.optim.SGD}, settings=[{"lr": 0.1}], seeds=[0], steps=2)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "TQDM_DISABLE": "1"},
    )
    assert done.stderr == ""
    assert len(list(own_cache.rglob("*.npz"))) == 1


def test_divergence_is_recorded_never_dropped():
    table = run(digits_mlp(), {"gd": torch.optim.SGD}, settings=grid(lr=[0.1, 1e30]), seeds=[0, 1], **QUICK)
    last = table[table["step"] == 12]
    assert len(last) == 4
    assert last.loc[last["lr"] == 1e30, "val_loss"].tolist() == [math.inf, math.inf]
    assert last.loc[last["lr"] == 1e30, "diverged"].all()
    missed = steps_to(table, "val_loss", 2.0)
    assert missed.loc[missed["lr"] == 1e30, "steps"].tolist() == [math.inf, math.inf]
    assert missed.loc[missed["lr"] == 0.1, "steps"].max() <= 12


def test_steps_to_takes_the_first_record_in_either_direction():
    table = pd.DataFrame(dict(task="t", method="m", trial=[0] * 4 + [1] * 4, lr=[0.1] * 4 + [0.2] * 4, seed=0,
                              step=[0, 1, 2, 3] * 2, val_loss=[3.0, 1.0, 2.0, 0.5, 3.0, 3.0, 3.0, math.inf],
                              val_accuracy=[0.1, 0.5, 0.9, 0.8, 0.1, 0.1, 0.1, 0.0]))  # fmt: skip
    assert steps_to(table, "val_loss", 1.0)["steps"].tolist() == [1, math.inf]
    assert steps_to(table, "val_accuracy", 0.8)["steps"].tolist() == [2, math.inf]
    assert list(steps_to(table, "val_loss", 1.0).columns) == ["task", "method", "trial", "lr", "seed", "steps"]
    with pytest.raises(ValueError, match="no metric 'loss' among"):
        steps_to(table, "loss", 1.0)


def test_different_keywords_for_different_methods():
    settings = {"gd": [{"lr": 0.1}], "adam": [{"lr": 0.01, "betas": (0.5, 0.9)}]}
    table = run(
        least_squares(), {"gd": torch.optim.SGD, "adam": torch.optim.Adam}, settings=settings, seeds=[0], **QUICK
    )
    assert table.loc[table["method"] == "adam", "betas"].iloc[0] == (0.5, 0.9)
    assert table.loc[table["method"] == "gd", "betas"].isna().all()
    assert len(steps_to(table, "val_loss", 0.1)) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": {}}, "no methods"),
        ({"seeds": []}, "seeds must be distinct"),
        ({"seeds": [1, 1]}, "seeds must be distinct"),
        ({"seeds": [-1]}, "seeds must be distinct"),
        ({"settings": {"gd": SETTINGS, "momentum": SETTINGS[:1]}}, "same number of settings.*'gd': 2, 'momentum': 1"),
        ({"settings": {"gd": SETTINGS}}, "settings are for"),
        ({"settings": [{"lr": 0.1, "seed": 3}]}, "settings may not be called seed"),
        ({"steps": 0}, "at least 1"),
        ({"every": 0}, "at least 1"),
        ({"batch_size": 0}, "at least 1"),
        ({"target": ("loss", 1.0)}, "no metric 'loss'; it has val_loss"),
    ],
)
def test_bad_arguments_are_refused(change, message):
    arguments = dict(task=least_squares(), methods=METHODS, settings=SETTINGS, seeds=[0], **QUICK)
    with pytest.raises(ValueError, match=message):
        run(**(arguments | change))


def test_tune_chooses_on_some_seeds_and_reports_on_others(capsys):
    found = tune(least_squares(), METHODS, grid(lr=[1e-4, 0.05, 50.0]), tuning_seeds=[0, 1], seeds=[2, 3, 4], **QUICK)
    assert found.best == {"gd": {"lr": 0.05}, "momentum": {"lr": 0.05}}
    assert found.edges == {"gd": {}, "momentum": {}}
    assert set(found.trials["seed"]) == {0, 1}
    assert set(found.results["seed"]) == {2, 3, 4}
    assert set(found.results["lr"]) == {0.05}
    assert not found.results["at_edge"].any()
    assert "extend" not in capsys.readouterr().out


def test_tune_reports_on_another_task():
    options = dict(tuning_seeds=[0], seeds=[1], metric="val_accuracy", **QUICK)
    methods, settings = {"gd": torch.optim.SGD}, grid(lr=[1e-4, 0.1, 1e5])
    found = tune(digits_mlp(), methods, settings, test=digits_mlp(part="test"), **options)
    assert found.best == {"gd": {"lr": 0.1}}
    assert "val_accuracy" in found.trials and "test_accuracy" not in found.trials
    assert "test_accuracy" in found.results and "val_accuracy" not in found.results
    assert set(found.results["lr"]) == {0.1}
    with pytest.raises(ValueError, match="a target names a metric of one task"):
        tune(digits_mlp(), methods, settings, test=digits_mlp(), target=("val_loss", 1.0), **options)


def test_tune_warns_at_the_edge(capsys):
    settings = {"gd": grid(lr=[1e-4, 0.05, 50.0]), "momentum": grid(lr=[1e-5, 1e-4, 1e-3])}
    found = tune(least_squares(), METHODS, settings, tuning_seeds=[0], seeds=[1], **QUICK)
    assert found.edges == {"gd": {}, "momentum": {"lr": "largest"}}
    flagged = found.results.groupby("method")["at_edge"].first()
    assert (flagged["gd"], flagged["momentum"]) == (False, True)
    assert capsys.readouterr().out.splitlines() == [
        "momentum: the best lr = 0.001 is the largest tried; extend the range"
    ]


def test_tune_by_accuracy_and_by_steps_to_a_target():
    settings = grid(lr=[1e-4, 0.1, 1e5])
    best = functools.partial(
        tune, digits_mlp(), {"gd": torch.optim.SGD}, settings, tuning_seeds=[0], seeds=[1], **QUICK
    )
    assert best(metric="val_accuracy").best["gd"]["lr"] == 0.1
    assert best(target=("val_loss", 2.0)).best["gd"]["lr"] == 0.1


def test_tune_refuses_overlapping_seeds_and_unknown_metrics():
    with pytest.raises(ValueError, match=r"seeds \[1\] are used for tuning and for results"):
        tune(least_squares(), METHODS, SETTINGS, tuning_seeds=[0, 1], seeds=[1, 2], **QUICK)
    with pytest.raises(ValueError, match="no metric 'loss'"):
        tune(least_squares(), METHODS, SETTINGS, tuning_seeds=[0], seeds=[1], metric="loss", **QUICK)


def test_another_process_reads_what_this_one_stored(own_cache):
    program = """
import json, torch
from dlopt.lab import run, TASKS
table = run(TASKS["least_squares"](), {"gd": lambda params, lr: torch.optim.SGD(params, lr=lr)},
            settings=[{"lr": 0.1}], seeds=[0], steps=8, progress=False)
print(json.dumps([table["val_loss"].tolist(), table["seconds"].tolist()]))
"""
    methods = {"gd": lambda params, lr: torch.optim.SGD(params, lr=lr)}
    here = run(least_squares(), methods, settings=[{"lr": 0.1}], seeds=[0], steps=8, progress=False)
    there = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert json.loads(there) == [here["val_loss"].tolist(), here["seconds"].tolist()]
    assert len(list(own_cache.rglob("*.npz"))) == 1


def test_a_parallel_map_keeps_order_and_uses_one_more_process(monkeypatch):
    monkeypatch.setattr(joblib, "cpu_count", lambda: 2)
    torch.set_num_threads(2)

    def place(seed):
        return seed, os.getpid(), torch.get_num_threads(), float(torch.rand(1, generator=torch.manual_seed(seed)))

    found = parallel_map(place, range(6), progress=False)
    assert [seed for seed, *_ in found] == list(range(6))
    assert {threads for _, _, threads, _ in found} == {1} and torch.get_num_threads() == 2
    processes = {process for _, process, _, _ in found}
    assert len(processes) == 2 and os.getpid() in processes
    monkeypatch.setattr(joblib, "cpu_count", lambda: 1)
    alone = parallel_map(place, range(6), progress=False)
    assert {process for _, process, _, _ in alone} == {os.getpid()}
    assert [value for *_, value in alone] == [value for *_, value in found]
    assert parallel_map(place, [], progress=False) == []
