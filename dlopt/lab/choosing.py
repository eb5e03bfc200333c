"""Eleven optimizers on the five tasks with equal tuning budgets: ``python -m dlopt.lab.choosing``.

Each method gets one list of learning rates for all tasks. It is tuned by the loss on the validation part, on some
seeds, and reported on the test part, on others. What the page on choosing plots is the record that this leaves. It may
be stopped at any time: finished runs are kept, and the next call goes on from there.
"""

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from dlopt.lab import bench, data
from dlopt.lab.contest import METHODS, TASKS, Contest, Method, measure
from dlopt.lab.optional import require
from dlopt.lab.settings import at_edge
from dlopt.lab.task import Task
from dlopt.sgd import schedules

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["METHODS", "TASKS", "Record", "costs", "main", "measure", "read", "study"]


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


class Record(NamedTuple):
    """A record as tables, in which losses that were not finite are infinite again.

    Attributes:
        config, machine, versions: as they stand in the record.
        trials: every run of the tuning: `task`, `method`, `lr`, `seed`, `loss`.
        results: the best learning rates on other seeds: `task`, `method`, `lr`, `seed`, `loss`, `accuracy`,
            `train_loss`, `train_accuracy`, and `default_loss` and `default_accuracy` of the class's own learning
            rate, on some of the seeds; NaN where there is none.
        curves: the same runs: `task`, `method`, `seed`, `step`, `seconds`, `loss`.
    """

    config: dict[str, Any]
    machine: dict[str, Any]
    versions: dict[str, Any]
    trials: "pd.DataFrame"
    results: "pd.DataFrame"
    curves: "pd.DataFrame"


def read(source: Path | str | Mapping[str, Any] = "choosing.json") -> Record:
    """The record as tables.

    Args:
        source: a file, or what :func:`study` returned.

    Raises:
        FileNotFoundError: no such file.
        KeyError: something is missing in the record.
    """
    record = source if isinstance(source, Mapping) else json.loads(Path(source).read_text())
    config, pandas = record["config"], require("pandas")
    tables: dict[str, list[Any]] = {"trials": [], "results": [], "curves": []}
    for task, methods in record["results"].items():
        steps = config["tasks"][task]["recorded"]
        for method, found in methods.items():
            label = {"task": task, "method": method}
            for lr, losses in zip(found["rates"], found["tried"], strict=True):
                tried = {"lr": lr, "seed": config["tuning_seeds"], "loss": _long(losses)}
                tables["trials"].append(pandas.DataFrame(label | tried))
            table = pandas.DataFrame(label | {"lr": found["best"], "seed": config["seeds"]})
            for metric in ("loss", "accuracy", "train_loss", "train_accuracy"):
                table[metric] = math.nan if found[metric] is None else _long(found[metric])
            for metric in ("default_loss", "default_accuracy"):
                values = dict(zip(config["default_seeds"], _long(found[metric] or []), strict=False))
                table[metric] = table["seed"].map(values).astype(float)
            tables["results"].append(table)
            for seed, losses in zip(config["seeds"], found["curve"], strict=True):
                seconds = [step * found["step_ms"] / 1000 for step in steps]
                run = {"seed": seed, "step": steps, "seconds": seconds, "loss": _long(losses)}
                tables["curves"].append(pandas.DataFrame(label | run))
    joined = {name: pandas.concat(parts, ignore_index=True) for name, parts in tables.items()}
    return Record(config, record["machine"], record["versions"], **joined)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study and write its record."""
    parser = argparse.ArgumentParser(prog="python -m dlopt.lab.choosing", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("book/adaptive/choosing.json"), help="the record")
    parser.add_argument("--jobs", type=int, help="processes at a time; by default this one and one more")
    options = parser.parse_args(arguments)
    record = study(n_jobs=options.jobs)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(record, separators=(",", ":"), allow_nan=False) + "\n")
    return 0


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


def _long(values: Sequence[float | None]) -> list[float]:
    return [math.inf if value is None else value for value in values]


def _short(value: float) -> float | None:
    """Five digits; None for what is not finite, which JSON does not have."""
    return float(f"{value:.5g}") if math.isfinite(value) else None


if __name__ == "__main__":
    sys.exit(main())
