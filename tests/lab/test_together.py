"""Stacked runs are the runs themselves, for methods that work element by element."""

import math
from dataclasses import replace
from functools import partial

import joblib
import pandas as pd
import pytest
import torch

import dlopt
from dlopt import lab
from dlopt.lab import workers
from dlopt.lab.class_sizes import class_sizes
from dlopt.lab.combined import muon_with_adamw
from dlopt.lab.rotated import rotated
from dlopt.lab.sharpness import few_digits, with_sharpness
from dlopt.lab.together import train_together
from dlopt.sgd import clip_before_step, schedules

METHODS = {
    "heavy ball": partial(dlopt.SGD, momentum=0.9),
    "Adam": dlopt.Adam,
    "torch's AdamW": torch.optim.AdamW,
    "signs": partial(dlopt.Lion, betas=(0.9, 0.9), weight_decay=0),
    "Schedule-Free": dlopt.ScheduleFreeAdamW,
}
RATES = {"heavy ball": 0.05, "Adam": 0.01, "torch's AdamW": 0.01, "signs": 0.003, "Schedule-Free": 0.01}
SETTINGS = {name: lab.grid(lr=[lr, 2 * lr]) for name, lr in RATES.items()}
MLP = lab.tasks.digits_mlp((8,))
TASKS = [
    MLP,
    class_sizes([4, 2, 2, 1, 1], 6),
    rotated(MLP),
    rotated(class_sizes([4, 2, 2, 1, 1], 6)),
    lab.tasks.digits_convnet(4),
    lab.tasks.logistic_regression(),
    lab.tasks.least_squares(),
    lab.tasks.character_transformer(width=8, layers=1, context=8, windows=2),
    with_sharpness(few_digits(examples=20, widths=(4,))),
]
QUICK = dict(steps=7, batch_size=8, every=3, progress=False)
GD = {"gd": torch.optim.SGD}


def compare(task, methods, **options):
    """The table of runs that were trained together, after it was compared with theirs by themselves."""
    options = QUICK | options
    stacked = lab.run(task, methods, **options, together=True, cache=False)
    alone = lab.run(task, methods, **options, n_jobs=1, cache=False)
    assert list(stacked.columns) == list(alone.columns)
    exact = ["task", "method", "trial", "lr", "seed", "step", "gradients", "diverged"]
    pd.testing.assert_frame_equal(stacked[exact], alone[exact])
    for name in set(stacked.columns) - {*exact, "seconds"}:
        assert stacked[name].to_numpy() == pytest.approx(alone[name].to_numpy(), rel=1e-3, abs=1e-4), name
    return stacked


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_every_run_is_as_by_itself(task):
    chosen = METHODS if task is MLP else {"Adam": dlopt.Adam}
    compare(task, chosen, settings={name: SETTINGS[name] for name in chosen}, seeds=[3, 4])


@pytest.mark.parametrize("method", ["heavy ball", "Adam"])
def test_a_schedule_reaches_every_run(method):
    options = dict(settings=SETTINGS[method], seeds=[0, 1])
    falling = compare(MLP, {method: METHODS[method]}, schedule=schedules.cosine(7), **options)
    constant = compare(MLP, {method: METHODS[method]}, **options)
    assert (falling.query("step == 7").val_loss.values != constant.query("step == 7").val_loss.values).all()


def test_a_run_stops_where_it_reaches_its_target():
    table = compare(MLP, GD, settings=lab.grid(lr=[0.001, 0.1]), seeds=[0, 1], steps=60, target=("val_loss", 2.3))
    assert table.query("lr == 0.1").step.max() < table.query("lr == 0.001").step.max() == 60


def test_when_all_have_reached_it_nothing_more_is_done():
    steps = []
    jobs = [workers.Job(MLP, torch.optim.SGD, {"lr": 0.5}, s, 3000, 32, 30, None, ("val_loss", 2.0)) for s in (0, 1)]
    records = train_together(jobs, steps.append)
    assert sum(steps) == 3000 and max(len(found["step"]) for found in records) < 5


def test_divergence_is_recorded_and_harms_no_other_run():
    """The one loses by its loss, the other by its evaluation; a run beside them is as ever."""
    table = compare(MLP, GD, settings=lab.grid(lr=[1e30, 0.1]), seeds=[0, 1], steps=8)
    lost = table.query("lr > 1 and step > 0")
    assert lost.diverged.all() and (lost[["train_loss", "val_loss"]] == math.inf).all(axis=None)
    assert (lost.val_accuracy == 0).all() and not table.query("lr < 1").diverged.any()


def test_each_model_is_judged_on_what_is_its_own():
    """A model that keeps its seed cannot stand for the others."""

    def model(seed):
        made = MLP.model(seed)
        made.place = seed
        return made

    task = replace(MLP, model=model, evaluate=lambda m: MLP.evaluate(m) | {"place": float(m.place)})
    table = compare(task, GD, settings=lab.grid(lr=[0.1, 0.2]), seeds=[3, 5])
    assert (table.place == table.seed).all()


def test_an_evaluation_may_differentiate_and_draw():
    def judge(model):
        slope = torch.autograd.grad(MLP.loss(model, next(MLP.batches(0, 8))), model.parameters())
        return {"length": float(sum(g.norm() for g in slope)), "drawn": float(torch.rand(()))}

    options = QUICK | dict(settings=[{"lr": 0.1}], seeds=[3, 4], cache=False)
    task = replace(MLP, evaluate=judge)
    first, again = (lab.run(task, GD, **options, together=True) for _ in range(2))
    assert first.drawn.tolist() == again.drawn.tolist()
    assert first.length.to_numpy() == pytest.approx(lab.run(task, GD, **options, n_jobs=1).length.to_numpy(), rel=1e-3)


def test_it_chooses_what_tune_chooses():
    options = dict(tuning_seeds=[0, 1], seeds=[2], steps=20, batch_size=8, cache=False, progress=False)
    grid = {"Adam": lab.grid(lr=[0.001, 0.02, 50.0])}
    ours, theirs = (lab.tune(MLP, {"Adam": dlopt.Adam}, grid, **options, together=flag) for flag in (True, False))
    assert ours.best == theirs.best and ours.edges == theirs.edges
    assert ours.results["val_loss"].iloc[-1] == pytest.approx(theirs.results["val_loss"].iloc[-1], rel=1e-3)


def test_the_group_is_what_the_cache_keeps(monkeypatch):
    """A run's rounding may depend on those beside it, so a group with one more seed is done anew."""
    done = []

    def counted(jobs, tell):
        done.append(len(jobs))
        return train_together(jobs, tell)

    monkeypatch.setattr(workers, "train_together", counted)
    options = dict(settings=lab.grid(lr=[0.1, 0.2]), together=True, **QUICK)
    first = lab.run(MLP, {**GD, "Adam": dlopt.Adam}, seeds=[0, 1], **options)
    pd.testing.assert_frame_equal(first, lab.run(MLP, {**GD, "Adam": dlopt.Adam}, seeds=[0, 1], **options))
    assert done == [4, 4]
    lab.run(MLP, GD, seeds=[0, 1], **options)
    assert done == [4, 4]
    lab.run(MLP, GD, seeds=[0, 1, 2], **options)
    assert done == [4, 4, 3, 3]
    alone = lab.run(MLP, GD, seeds=[0, 1], **options | {"together": False})
    assert done == [4, 4, 3, 3] and (alone.seconds.values != first.query("method == 'gd'").seconds.values).any()


def test_methods_are_shared_with_one_other_process(monkeypatch):
    for least in ("_FEW", "_MANY"):
        monkeypatch.setattr(workers, least, 2 * 7 * workers._AS_LONG)
    monkeypatch.setattr(workers, "_LONG", 0)
    monkeypatch.setattr(joblib, "cpu_count", lambda: 2)
    here = []
    monkeypatch.setattr(workers, "train_together", lambda *given: here.append(given) or train_together(*given))
    pair = {name: METHODS[name] for name in ("heavy ball", "Adam")}
    options = dict(settings=SETTINGS["Adam"], seeds=[0, 1], together=True, cache=False)
    alone = lab.run(MLP, pair, **options, n_jobs=1, **QUICK)
    assert len(here) == 2
    shared = lab.run(MLP, pair, **options, **QUICK)
    assert len(here) == 3
    pd.testing.assert_frame_equal(shared.drop(columns="seconds"), alone.drop(columns="seconds"), check_exact=True)
    lab.run(MLP, pair, **options, **QUICK | {"steps": 6})  # too little work
    assert len(here) == 5


@pytest.mark.parametrize(
    "seeds, lrs, halves", [(6, 1, (3, 3)), (3, 2, (3, 3)), (3, 3, (3, 6)), (1, 7, (3, 4)), (5, 1, (5,))]
)
def test_a_single_method_is_shared_by_halves_of_its_runs(monkeypatch, seeds, lrs, halves):
    monkeypatch.setattr(workers, "_may_fork", lambda: False)  # all is done here, for so few steps
    sizes = []
    monkeypatch.setattr(
        workers, "train_together", lambda jobs, *tell: sizes.append(len(jobs)) or train_together(jobs, *tell)
    )
    options = dict(settings=lab.grid(lr=[0.05 * (k + 1) for k in range(lrs)]), seeds=range(seeds), cache=False)
    table = lab.run(MLP, GD, **options, together=True, **QUICK)
    assert tuple(sizes) == halves
    sizes.clear()
    lab.run(MLP, GD, **options, together=True, n_jobs=1, **QUICK)
    assert sizes == [seeds * lrs]
    single = lab.run(MLP, GD, **options, **QUICK)
    pd.testing.assert_frame_equal(table.drop(columns="seconds"), single.drop(columns="seconds"), rtol=1e-4)


def test_the_bar_counts_steps(capsys):
    lab.run(MLP, GD, settings=[{"lr": 0.1}], seeds=[0], together=True, **QUICK | {"progress": True})
    shown = capsys.readouterr().err
    assert "0/7" in shown and "step" in shown


def test_torch_is_left_as_it_was():
    torch.set_num_threads(2)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    lab.run(MLP, GD, settings=[{"lr": 0.1}], seeds=[0], together=True, **QUICK)
    assert torch.get_num_threads() == 2 and torch.equal(torch.get_rng_state(), before)


def clipped(params, lr):
    return clip_before_step(dlopt.SGD(params, lr=lr), partial(dlopt.sgd.clip_grad_norm_, max_norm=1.0))


class Own(torch.optim.SGD):
    pass


@pytest.mark.parametrize(
    "factory, words",
    [
        (dlopt.Adafactor, "Adafactor is not known to work element by element"),
        (torch.optim.LBFGS, "LBFGS is not known"),
        (muon_with_adamw, "is not known"),
        (Own, "Own is not known"),
        (clipped, "looks at the gradients of SGD before it does"),
    ],
)
def test_what_looks_at_whole_tensors_is_refused(factory, words):
    with pytest.raises(ValueError, match=words):
        lab.run(MLP, {"m": factory}, settings=[{"lr": 0.1}], seeds=[0], together=True, **QUICK)


def test_a_model_that_vmap_cannot_take_is_refused():
    with pytest.raises(RuntimeError, match="rnn_tanh"):
        lab.run(lab.tasks.character_recurrent(8), GD, settings=[{"lr": 0.1}], seeds=[0], together=True, **QUICK)


def test_there_is_no_choice_of_workers():
    with pytest.raises(ValueError, match="two processes or one: n_jobs must be None or 1, got 2"):
        lab.run(MLP, GD, settings=[{"lr": 0.1}], seeds=[0], together=True, n_jobs=2, **QUICK)
