"""Eleven optimizers on the five tasks with equal tuning budgets: ``python -m dlopt.lab.choosing``.

Each method gets one list of learning rates for all tasks. It is tuned by the loss on the validation part, on some seeds,
and reported on the test part, on others. What the page on choosing plots is the record that this leaves. It may be
stopped at any time: finished runs are kept, and the next call goes on from there.
"""

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from dlopt.adaptive import Adafactor, Adagrad, AdamW, Lion, NAdam, RAdam, RMSprop, ScheduleFreeAdamW
from dlopt.lab import bench, data, tasks
from dlopt.lab.combined import muon_with_adamw
from dlopt.lab.experiment import run
from dlopt.lab.optional import require
from dlopt.lab.settings import at_edge
from dlopt.lab.task import Task
from dlopt.lab.training import Factory
from dlopt.sgd import SGD, schedules

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["METHODS", "TASKS", "Contest", "Method", "costs", "main", "measure", "study"]


@dataclass(frozen=True)
class Method:
    """An optimizer and what is tried with it.

    Attributes:
        factory: as for :func:`dlopt.lab.run`.
        lowest: the first of the learning rates.
        default: the learning rate of the class.
        scheduled: whether its rate follows a cosine to zero; if not, it has `warmup_steps` of its own.
        embeddings: whether the factory asks how many of the parameters are embeddings.
    """

    factory: Factory
    lowest: float
    default: float
    scheduled: bool = True
    embeddings: bool = False


@dataclass(frozen=True)
class Contest:
    """A task as it is used here.

    Attributes:
        make: the task's maker; it takes `part`, if there are parts.
        steps, batch_size: of a run.
        parts: it is tuned on the first, and reported on the second and the third, which is the training part.
        embeddings: how many of the model's first parameters are embeddings.
        shift: by how many half decades all learning rates are larger than elsewhere.
    """

    make: Callable[..., Task]
    steps: int
    batch_size: int
    parts: tuple[Any, ...] = ("validation", "test", "train")
    embeddings: int = 0
    shift: int = 0

    def task(self, *parts: str) -> Task:
        """The task, judged on all of `parts`.

        Example:
            >>> task = TASKS["digits_mlp"].task("test", "train")
            >>> sorted(task.evaluate(task.model(0)))
            ['full_accuracy', 'full_loss', 'test_accuracy', 'test_loss']
        """
        if not self.parts:
            return self.make()
        judged = [self.make(part=part) for part in parts]
        return replace(judged[0], evaluate=partial(_all, tuple(task.evaluate for task in judged)))

    def factory(self, method: Method) -> Factory:
        """The method's factory, told what depends on the task."""
        options: dict[str, Any] = {} if method.scheduled else {"warmup_steps": self.warmup}
        if method.embeddings:
            options["embeddings"] = self.embeddings
        return partial(method.factory, **options)

    def rates(self, method: Method, count: int) -> list[float]:
        """The learning rates to try: 1, 3, 10, 30 and so on times the lowest.

        Example:
            >>> TASKS["digits_mlp"].rates(METHODS["SGD"], 3), TASKS["heavy_tailed_softmax"].rates(METHODS["SGD"], 3)
            ([0.03, 0.1, 0.3], [1.0, 3.0, 10.0])
        """
        first = math.floor(2 * math.log10(method.lowest) + 0.1) + self.shift  # half decades are numbered
        return [float(f"{1 + 2 * (k % 2)}e{k // 2}") for k in range(first, first + count)]

    @property
    def warmup(self) -> int:
        """Steps of warm-up: a twentieth."""
        return max(1, self.steps // 20)


TASKS = {
    "digits_mlp": Contest(tasks.digits_mlp, 200, 32),
    "digits_convnet": Contest(partial(tasks.digits_convnet, width=8), 120, 32),
    "character_transformer": Contest(
        partial(tasks.character_transformer, width=32, layers=1, context=32), 160, 8, embeddings=2
    ),
    "digits_autoencoder": Contest(tasks.digits_autoencoder, 200, 64),
    "heavy_tailed_softmax": Contest(
        partial(tasks.heavy_tailed_softmax, groups=6, features=16), 160, 192, parts=(), shift=3
    ),
}
"""The five, small enough for some two thousand runs.

The last asks how fast the training loss falls, and has no parts. It starts at zero and wants far larger steps than
networks do, with every method: all its rates are shifted alike.
"""

METHODS = {
    "SGD": Method(SGD, 0.03, 1e-3),
    "SGD, momentum": Method(partial(SGD, momentum=0.9), 0.003, 1e-3),
    "Adagrad": Method(Adagrad, 0.01, 1e-2),
    "RMSprop": Method(RMSprop, 0.001, 1e-2),
    "AdamW": Method(partial(AdamW, weight_decay=0.0), 0.001, 1e-3),
    "NAdam": Method(NAdam, 0.001, 2e-3),
    "RAdam": Method(RAdam, 0.01, 1e-3),
    "Lion": Method(Lion, 0.0003, 1e-4),
    "Adafactor": Method(Adafactor, 0.01, 1e-2),
    "Schedule-Free": Method(ScheduleFreeAdamW, 0.001, 2.5e-3, scheduled=False),
    "Muon+AdamW": Method(muon_with_adamw, 0.001, 1e-3, embeddings=True),
}
"""Everything but the learning rate is the class's default. There is no weight decay anywhere, so AdamW is Adam."""


def measure(
    contest: Contest,
    methods: Mapping[str, Method],
    rates: Mapping[str, Sequence[float]],
    seeds: Sequence[int],
    *parts: str,
    every: int | None = None,
    **options: Any,
) -> "pd.DataFrame":
    """Train with every method, learning rate and seed, through :func:`dlopt.lab.run`.

    Args:
        contest: the task.
        methods: name → method.
        rates: name → learning rates, equally many for all.
        seeds: distinct integers from 0 on.
        parts: what the model is judged on; the first names `loss` and `accuracy`.
        every: steps between two records; by default there is one at the end.
        options: other arguments of :func:`dlopt.lab.run`.

    Returns:
        Its table, with two more columns: `loss`, and where there is one, `accuracy`.

    Raises:
        ValueError: as :func:`dlopt.lab.run` does.

    Example:
        >>> table = measure(TASKS["digits_mlp"], {"SGD": METHODS["SGD"]}, {"SGD": [0.3]}, [0], "test", cache=False,
        ...                 progress=False)
        >>> table["loss"].iloc[-1] < 0.3
        True
    """
    tables = []
    for scheduled in (True, False):
        group = {name: method for name, method in methods.items() if method.scheduled == scheduled}
        if group:
            cosine = schedules.warmup(contest.warmup, schedules.cosine(contest.steps - contest.warmup))
            table = run(
                contest.task(*parts), {name: contest.factory(method) for name, method in group.items()}, seeds=seeds,
                settings={name: [{"lr": lr} for lr in rates[name]] for name in group}, steps=contest.steps,
                batch_size=contest.batch_size, every=every or contest.steps,
                schedule=cosine if scheduled else None, **options,
            )  # fmt: skip
            tables.append(table)
    table = require("pandas").concat(tables, ignore_index=True)
    prefix = {"validation": "val", "train": "full"}.get(parts[0], parts[0]) if contest.parts else "full"
    for metric in ("loss", "accuracy"):
        if f"{prefix}_{metric}" in table:
            table[metric] = table[f"{prefix}_{metric}"]
    return table


def costs(
    contest: Contest, methods: Mapping[str, Method], rates: Mapping[str, float], rounds: int = 9, inner: int = 4
) -> dict[str, float]:
    """Seconds of the processor that one step takes: gradient, update and schedule, on one thread.

    Methods take turns, and processor time is counted and not the clock's, so that other work on the machine matters
    little.

    Args:
        contest, methods: as for :func:`measure`.
        rates: name → the learning rate.
        rounds: turns of each method; their median is returned.
        inner: steps a turn.

    Example:
        >>> costs(TASKS["digits_mlp"], {"SGD": METHODS["SGD"]}, {"SGD": 0.1}, rounds=3)["SGD"] > 0
        True
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    task = contest.task("train")
    ready = {name: _ready(task, contest, method, rates[name]) for name, method in methods.items()}
    spent: dict[str, list[float]] = {name: [] for name in methods}
    for turn in range(rounds + 1):
        for name, step in ready.items():
            started = time.process_time()
            for _ in range(inner):
                step()
            if turn:
                spent[name].append((time.process_time() - started) / inner)
    torch.set_num_threads(threads)
    return {name: statistics.median(times) for name, times in spent.items()}


def study(
    contests: Mapping[str, Contest] = TASKS,
    methods: Mapping[str, Method] = METHODS,
    *,
    trials: int = 7,
    tuning_seeds: Sequence[int] = range(2),
    seeds: Sequence[int] = range(10, 19),
    default_seeds: Sequence[int] = range(10, 16),
    rounds: int = 9,
    **options: Any,
) -> dict[str, Any]:
    """Tune every method on every task, report the best on other seeds, and say where all this was done.

    Args:
        contests, methods: by name.
        trials: learning rates a method; the same for all.
        tuning_seeds, seeds: disjoint.
        default_seeds: some of `seeds`, on which the default learning rate is run as well.
        rounds: of :func:`costs`.
        options: other arguments of :func:`dlopt.lab.run`.

    Returns:
        A record that can be written as JSON; infinite losses are None. For each task and method: `rates`, `tried`
        (final losses, one list a rate, one number a tuning seed), `best`, `edge`, `loss`, `accuracy`, `train_loss`,
        `train_accuracy` (one number a seed), `curve` (losses, one list a seed, at the task's `recorded` steps),
        `default_loss`, `default_accuracy`, `step_ms`.

    Raises:
        ValueError: the seeds overlap, or a default seed is not among `seeds`.
    """
    if set(tuning_seeds) & set(seeds) or not set(default_seeds) <= set(seeds):
        raise ValueError("tuning seeds and seeds must be disjoint, and default seeds be among the seeds")
    started, results, about = time.time(), {}, {}
    for title, contest in contests.items():
        tune, report, train = contest.parts or ("",) * 3
        rates = {name: contest.rates(method, trials) for name, method in methods.items()}
        tried = measure(contest, methods, rates, tuning_seeds, tune, **options)
        best = {name: _best(tried, name) for name in methods}
        each = {name: [lr] for name, lr in best.items()}
        final = measure(contest, methods, each, seeds, report, train, every=max(1, contest.steps // 20), **options)
        each = {name: [method.default] for name, method in methods.items()}
        default = measure(contest, methods, each, default_seeds, report, **options)
        spent = costs(contest, methods, best, rounds)
        about[title] = {
            "steps": contest.steps, "batch_size": contest.batch_size, "warmup": contest.warmup,
            "recorded": sorted({int(step) for step in final["step"]}),
        }  # fmt: skip
        results[title] = {
            name: {
                "rates": rates[name],
                "tried": [_ends(tried, name, "loss", lr) for lr in rates[name]],
                "best": best[name],
                "edge": at_edge({"lr": best[name]}, [{"lr": lr} for lr in rates[name]]).get("lr"),
                "loss": _ends(final, name, "loss"), "accuracy": _ends(final, name, "accuracy"),
                "train_loss": _ends(final, name, "full_loss"), "train_accuracy": _ends(final, name, "full_accuracy"),
                "curve": _curves(final, name),
                "default_loss": _ends(default, name, "loss"), "default_accuracy": _ends(default, name, "accuracy"),
                "step_ms": _short(1000 * spent[name]),
            }
            for name in methods
        }  # fmt: skip
        print(f"{title}: done after {time.time() - started:.0f} s", flush=True)
    packages = {name: version(name) for name in ("numpy", "scikit-learn", "llvmlite")}
    return {
        "config": {
            "tasks": about, "trials": trials, "tuning_seeds": list(tuning_seeds), "seeds": list(seeds),
            "default_seeds": list(default_seeds), "rounds": rounds,
            "methods": {name: {"default": m.default, "scheduled": m.scheduled} for name, m in methods.items()},
        },
        "machine": bench.machine() | {"threads": 1},
        "versions": packages | {"english_text": data.english_text().sha256},
        "results": results,
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study and write its record."""
    parser = argparse.ArgumentParser(prog="python -m dlopt.lab.choosing", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("book/adaptive/choosing.json"), help="the record")
    options = parser.parse_args(arguments)
    record = study()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(record, separators=(",", ":"), allow_nan=False) + "\n")
    return 0


def _all(evaluates: Sequence[Callable[[nn.Module], dict[str, float]]], model: nn.Module) -> dict[str, float]:
    return {name: value for evaluate in evaluates for name, value in evaluate(model).items()}


def _ready(task: Task, contest: Contest, method: Method, lr: float) -> Callable[[], None]:
    """A function that takes one step."""
    model, batches = task.model(0), task.batches(0, contest.batch_size)
    optimizer = contest.factory(method)(list(model.parameters()), lr=lr)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedules.cosine(contest.steps))

    def step() -> None:
        optimizer.zero_grad()
        task.loss(model, next(batches)).backward()
        optimizer.step()
        scheduler.step()

    return step


def _last(table: "pd.DataFrame", name: str) -> "pd.DataFrame":
    return table[(table["method"] == name) & (table["step"] == table["step"].max())]


def _best(table: "pd.DataFrame", name: str) -> float:
    """The learning rate of the lowest mean loss; a diverged run makes its mean infinite."""
    return float(_last(table, name).groupby("lr")["loss"].mean().idxmin())


def _ends(table: "pd.DataFrame", name: str, metric: str, lr: float | None = None) -> list[float | None] | None:
    """The metric at the end, one number a seed, or None where there is no such metric."""
    ends = _last(table, name)
    if lr is not None:
        ends = ends[ends["lr"] == lr]
    return [_short(value) for value in ends.sort_values("seed")[metric]] if metric in table else None


def _curves(table: "pd.DataFrame", name: str) -> list[list[float | None]]:
    runs = table[table["method"] == name].sort_values(["seed", "step"]).groupby("seed")["loss"]
    return [[_short(value) for value in run] for _, run in runs]


def _short(value: float) -> float | None:
    """Five digits; None for what is not finite, which JSON does not have."""
    return float(f"{value:.5g}") if math.isfinite(value) else None


if __name__ == "__main__":
    sys.exit(main())
