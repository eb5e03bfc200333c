"""Stacked runs are the runs themselves, for methods that work element by element."""

from functools import partial

import pytest
import torch

import dlopt
from dlopt import lab
from dlopt.lab.class_sizes import class_sizes
from dlopt.lab.rotated import rotated
from dlopt.lab.together import run_together, tune_together

METHODS = {
    "heavy ball": partial(dlopt.SGD, momentum=0.9),
    "Adam": dlopt.Adam,
    "signs": partial(dlopt.Lion, betas=(0.9, 0.9), weight_decay=0),
}
SETTINGS = {name: lab.grid(lr=[lr, 2 * lr]) for name, lr in {"heavy ball": 0.05, "Adam": 0.01, "signs": 0.003}.items()}
TASKS = [class_sizes([4, 2, 2, 1, 1], 6), lab.tasks.digits_mlp((8,)), rotated(lab.tasks.digits_mlp((8,)))]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_every_run_is_as_by_itself(task):
    options = dict(seeds=[3, 4], settings=SETTINGS, steps=7, batch_size=8, every=3)
    stacked = run_together(task, METHODS, **options)
    alone = lab.run(task, METHODS, **options, cache=False, progress=False, n_jobs=1)
    key = ["method", "trial", "seed", "step"]
    stacked, alone = (table.set_index(key).sort_index() for table in (stacked, alone))
    assert list(stacked.index) == list(alone.index)
    for name in ("lr", "train_loss", *task.evaluate(task.model(0))):
        assert stacked[name].to_numpy() == pytest.approx(alone[name].to_numpy(), rel=1e-3, abs=1e-4), name


def test_it_chooses_what_tune_chooses():
    options = dict(tuning_seeds=[0, 1], seeds=[2], steps=20, batch_size=8)
    grid = {"Adam": lab.grid(lr=[0.001, 0.02, 50.0])}
    ours = tune_together(TASKS[1], {"Adam": dlopt.Adam}, grid, **options)
    theirs = lab.tune(TASKS[1], {"Adam": dlopt.Adam}, grid, **options, cache=False, progress=False, n_jobs=1)
    assert ours.best == theirs.best and ours.edges == theirs.edges
    assert ours.results["val_loss"].iloc[-1] == pytest.approx(theirs.results["val_loss"].iloc[-1], rel=1e-3)


def test_a_run_that_diverges_is_never_chosen(capsys):
    grid = {"gd": lab.grid(lr=[1e30, 0.1])}
    found = tune_together(TASKS[1], {"gd": torch.optim.SGD}, grid, tuning_seeds=[0], seeds=[1], steps=5)
    assert found.best["gd"] == {"lr": 0.1}
    assert "largest" not in capsys.readouterr().out


def test_the_loss_of_a_run_that_diverges_is_infinite():
    """Not NaN, which a mean over seeds would leave out."""
    table = run_together(TASKS[1], {"gd": torch.optim.SGD}, settings={"gd": [{"lr": 1e30}]}, seeds=[0, 1], steps=5)
    assert (table.groupby("seed")[["train_loss", "val_loss"]].last() == float("inf")).all(axis=None)


@pytest.mark.parametrize(
    "seeds, count, words", [([0], 2, "used for tuning and for results"), ([1], 3, "the same number of settings")]
)
def test_unfair_comparisons_are_refused(seeds, count, words):
    settings = {"a": lab.grid(lr=[0.1, 0.2]), "b": lab.grid(lr=[0.1 * k for k in range(1, count + 1)])}
    with pytest.raises(ValueError, match=words):
        tune_together(TASKS[0], dict.fromkeys("ab", dlopt.SGD), settings, tuning_seeds=[0], seeds=seeds)
