"""Seeds × methods × settings on one task: run, tuned fairly, cached, as a tidy table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlopt.lab.cache import cache_directory, environment, load_columns, save_columns
from dlopt.lab.fingerprint import fingerprint
from dlopt.lab.optional import require
from dlopt.lab.settings import Setting, at_edge
from dlopt.lab.tasks import Task
from dlopt.lab.training import Factory, Job, Schedule, is_better
from dlopt.lab.workers import share, stack

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Tuning", "run", "steps_to", "tune"]

_WIDE = 6  # runs: with fewer, halves would take as long as the whole
_RUN = ["task", "method", "trial", "seed"]
_WHOLE = {"step": "int64", "gradients": "int64", "diverged": "bool"}


def run(
    task: Task,
    methods: Mapping[str, Factory],
    *,
    seeds: Sequence[int],
    settings: Sequence[Setting] | Mapping[str, Sequence[Setting]] | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    every: int | None = None,
    schedule: Schedule | Mapping[str, Schedule] | None = None,
    target: tuple[str, float] | None = None,
    together: bool = False,
    n_jobs: int | None = None,
    progress: bool = True,
    cache: bool = True,
) -> "pd.DataFrame":
    """Train with every method, setting and seed, and return all records in one table.

    Runs are paired: the same seed gives every method the same initial weights and the same batches. A run
    whose loss is no longer finite is stopped and kept, with losses inf and accuracies 0. The same call gives
    the same table bit for bit (`seconds` apart), from the cache or not, with any number of workers.

    Args:
        task: what to train; see :mod:`dlopt.lab.tasks`.
        methods: name → factory ``(parameters, **setting)`` → optimizer; a class, a partial, a lambda.
        seeds: distinct integers from 0 on.
        settings: keywords for the factories: one list for all methods, or one list a method, all equally
            long; :func:`~dlopt.lab.settings.grid` and :func:`~dlopt.lab.settings.sample` make them. None: no
            keywords.
        steps, batch_size: the task's own by default.
        every: steps between two records; by default a twentieth of `steps`.
        schedule: step (from 0) → factor on the learning rates; one for all methods, or a mapping with one each.
        target: ``(metric, value)``: a run stops at the first record that reaches it, and has no later
            records.
        together: train all runs of a method side by side, stacked into one model: a small model's step is hardly
            more than the cost of calling PyTorch, and a stack pays it once. The same runs but for rounding; for
            methods that work element by element, see :mod:`dlopt.lab.together`. Methods may be shared between two
            processes, as runs are; a single method's runs are two stacks for that, unless `n_jobs` is 1. Which runs
            share a stack shows in the last bits.
        n_jobs: as in `joblib.Parallel`; -1 takes all cores. None leaves it to `joblib.parallel_config`, which
            also chooses other backends (Dask, Ray); where that says nothing, long work is shared between this
            process and one more, and 1 keeps it here. Each uses one thread.
        progress: show a tqdm bar over the runs that are not in the cache (``TQDM_DISABLE=1`` hides all bars).
        cache: keep finished runs in ``$DLOPT_CACHE`` (`~/.cache/dlopt`), each as soon as it is done, under a
            hash of the inputs, of the factories' code, of `dlopt`'s code and of the versions.

    Returns:
        A table with the columns `task`, `method`, `trial` (the number of the setting), the setting's
        keywords, `seed`, `step`, `train_loss`, the task's metrics, `gradients`, `seconds`, `diverged`; see
        :func:`dlopt.lab.training.train`.

    Raises:
        ValueError: no methods, repeated or negative seeds, methods with unequal numbers of settings, settings or
            schedules for other methods, a keyword that is also a column, steps, batch size or interval below 1, an
            unknown target metric, or runs that cannot be trained together.
        TypeError: something cannot be hashed for the cache (pass ``cache=False``).
        ImportError: pandas, joblib or tqdm is missing.

    Example:
        >>> import torch
        >>> from dlopt.lab.tasks import least_squares
        >>> table = run(least_squares(), {"gd": torch.optim.SGD}, settings=[{"lr": 0.1}], seeds=[0, 1],
        ...             steps=20, batch_size=265, every=10, cache=False, progress=False)
        >>> table.query("seed == 0")[["method", "lr", "step", "gradients"]]
          method   lr  step  gradients
        0     gd  0.1     0          0
        1     gd  0.1    10         10
        2     gd  0.1    20         20
    """
    chosen = _settings(methods, settings)
    steps = task.steps if steps is None else steps
    batch_size = task.batch_size if batch_size is None else batch_size
    every = max(1, steps // 20) if every is None else every
    if min(steps, batch_size, every) < 1:
        raise ValueError(f"steps, batch_size and every must be at least 1, got {steps}, {batch_size}, {every}")
    if isinstance(schedule, Mapping) and set(schedule) != set(methods):
        raise ValueError(f"schedules are for {sorted(schedule)}, methods are {sorted(methods)}")
    if not len(seeds) or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise ValueError(f"seeds must be distinct integers from 0 on, got {list(seeds)}")
    labels, jobs = [], []
    for method, factory in methods.items():
        factor = schedule[method] if isinstance(schedule, Mapping) else schedule
        for trial, setting in enumerate(chosen[method]):
            for seed in map(int, seeds):
                labels.append(dict(task=task.name, method=method, trial=trial, **setting, seed=seed))
                jobs.append(Job(task, factory, setting, seed, steps, batch_size, every, factor, target))
    if target and target[0] not in task.evaluate(task.model(0)):
        raise ValueError(f"the task has no metric {target[0]!r}; it has {', '.join(task.evaluate(task.model(0)))}")

    if together and n_jobs not in (None, 1):
        raise ValueError(
            f"methods that are trained together take two processes or one: n_jobs must be None or 1, got {n_jobs}"
        )
    alone = [[i] for i in range(len(jobs))]
    size = len(jobs) // len(methods)
    groups = _stacks(len(methods), size, len(seeds), halves=n_jobs is None) if together else alone
    surroundings = fingerprint((environment(), together)) if cache else ""
    files: dict[int, Path] = {}
    for group in groups:
        key = fingerprint((surroundings, [vars(jobs[i]) for i in group])) if cache else ""
        files |= {i: cache_directory() / "runs" / key[:2] / f"{key}-{place}.npz" for place, i in enumerate(group)}
    records = [load_columns(files[i]) if cache else None for i in range(len(jobs))]
    missing = [group for group in groups if any(records[i] is None for i in group)]
    single = [i for group in missing for i in group]
    work = stack(jobs, missing, n_jobs, progress) if together else share(jobs, single, n_jobs, progress)
    for i, record in work:
        records[i] = record
        if cache:
            save_columns(files[i], record)
    pandas = require("pandas")
    frames = [
        pandas.DataFrame({**{name: [value] * len(record["step"]) for name, value in label.items()}, **record})
        for label, record in zip(labels, records, strict=True)
        if record is not None
    ]
    return pandas.concat(frames, ignore_index=True).astype(_WHOLE)


def _stacks(methods: int, size: int, seeds: int, halves: bool) -> list[list[int]]:
    """The runs that are trained as one model: all `size` of a method; with `halves`, of a single method half of them.

    A half has half of the settings, or, where these cannot be halved, of the seeds. Two processes can share two halves,
    and what is beside what does not depend on whether they do.
    """
    if methods > 1 or size < _WIDE or not halves:
        return [list(range(first, first + size)) for first in range(0, methods * size, size)]
    settings = size // seeds
    place = [i // seeds if settings % 2 == 0 or seeds == 1 else i % seeds for i in range(size)]
    half = (max(place) + 1) // 2
    return [[i for i in range(size) if (place[i] < half) == first] for first in (True, False)]


def steps_to(table: "pd.DataFrame", metric: str, value: float) -> "pd.DataFrame":
    """The step of the first record at which each run's metric is at least as good as `value`.

    Args:
        table: what :func:`run` returned.
        metric: one of its columns; larger is better if "accuracy" is in its name, else smaller.
        value: the target.

    Returns:
        One row a run, in order: `task`, `method`, `trial`, the setting, `seed`, and `steps`, a float that is
        inf for a run that missed the target.

    Raises:
        ValueError: no such metric.

    Example:
        >>> import pandas
        >>> table = pandas.DataFrame(dict(task="t", method="m", trial=0, lr=0.1, seed=[0, 0, 1, 1],
        ...                               step=[0, 5, 0, 5], train_loss=[2.0, 0.5, 2.0, 1.5]))
        >>> steps_to(table, "train_loss", 1.0)[["seed", "steps"]].values.tolist()
        [[0.0, 5.0], [1.0, inf]]
    """
    if metric not in table:
        raise ValueError(f"no metric {metric!r} among {', '.join(table.columns)}")
    runs = table.loc[:, :"seed"].drop_duplicates(_RUN).reset_index(drop=True)
    hit = table[[is_better(metric, v, than=value) for v in table[metric]]]
    first = hit.groupby(_RUN)["step"].min().astype("float64").rename("steps").reset_index()
    return runs.merge(first, on=_RUN, how="left").fillna({"steps": float("inf")})


@dataclass(frozen=True)
class Tuning:
    """What :func:`tune` found.

    Attributes:
        best: method → the setting chosen for it.
        edges: method → the keywords whose best value is the smallest or largest tried; empty if none.
        trials: the table of all runs on the tuning seeds.
        results: the table of the best settings on the other seeds, with a column `at_edge`.
    """

    best: dict[str, Setting]
    edges: dict[str, dict[str, str]]
    trials: "pd.DataFrame"
    results: "pd.DataFrame"


def tune(
    task: Task,
    methods: Mapping[str, Factory],
    settings: Sequence[Setting] | Mapping[str, Sequence[Setting]],
    *,
    tuning_seeds: Sequence[int],
    seeds: Sequence[int],
    metric: str = "val_loss",
    test: Task | None = None,
    **options: Any,
) -> Tuning:
    """Choose each method's setting on some seeds, then run it on others.

    A setting's score is the mean of `metric` at the last step; with a `target`, of the steps to reach it. A
    diverged or missed run counts as infinite. A line is printed for every best value on the edge of what was
    tried: the comparison is not fair to that method until its range is extended.

    Args:
        task, methods, settings: as for :func:`run`; every method has the same number of settings.
        tuning_seeds, seeds: disjoint.
        metric: a column of the table; larger is better if "accuracy" is in its name.
        test: the task of the results, if another one: that with the test part, say.
        options: other arguments of :func:`run`, the same for tuning and results.

    Raises:
        ValueError: the seeds overlap, `metric` is unknown, `test` and a `target` are given, or as for :func:`run`.

    Example:
        >>> import torch
        >>> from dlopt.lab.settings import grid
        >>> from dlopt.lab.tasks import least_squares
        >>> found = tune(least_squares(), {"gd": torch.optim.SGD}, grid(lr=[0.01, 0.1, 10.0]),
        ...              tuning_seeds=[0], seeds=[1], steps=20, batch_size=265, cache=False, progress=False)
        >>> found.best
        {'gd': {'lr': 0.1}}
    """
    if set(tuning_seeds) & set(seeds):
        raise ValueError(f"seeds {sorted(set(tuning_seeds) & set(seeds))} are used for tuning and for results")
    if test is not None and options.get("target"):
        raise ValueError("a target names a metric of one task: leave it out, or `test`")
    chosen = _settings(methods, settings)
    trials = run(task, methods, seeds=tuning_seeds, settings=chosen, **options)
    if metric not in trials:
        raise ValueError(f"no metric {metric!r} among {', '.join(trials.columns)}")
    if options.get("target"):
        scored, column, sign = steps_to(trials, *options["target"]), "steps", 1
    else:
        scored, column = trials[trials["step"] == trials["step"].max()], metric
        sign = -1 if "accuracy" in metric else 1
    scores = sign * scored.groupby(["method", "trial"])[column].mean()
    best = {method: chosen[method][int(scores[method].idxmin())] for method in methods}
    edges = {method: at_edge(best[method], chosen[method]) for method in methods}
    for method, found in edges.items():
        for name, side in found.items():
            print(f"{method}: the best {name} = {best[method][name]:g} is the {side} tried; extend the range")
    kept = {method: [setting] for method, setting in best.items()}
    results = run(task if test is None else test, methods, seeds=seeds, settings=kept, **options)
    return Tuning(best, edges, trials, results.assign(at_edge=results["method"].map(lambda m: bool(edges[m]))))


def _settings(
    methods: Mapping[str, Factory], settings: Sequence[Setting] | Mapping[str, Sequence[Setting]] | None
) -> dict[str, list[Setting]]:
    """The settings of each method, checked: equally many for all, none named like a column of the table."""
    if not methods:
        raise ValueError("no methods given")
    if isinstance(settings, Mapping):
        if set(settings) != set(methods):
            raise ValueError(f"settings are for {sorted(settings)}, methods are {sorted(methods)}")
        chosen = {method: list(settings[method]) for method in methods}
    else:
        chosen = {method: list(settings or [{}]) for method in methods}
    counts = {method: len(tried) for method, tried in chosen.items()}
    if len(set(counts.values())) > 1 or 0 in counts.values():
        raise ValueError(f"every method needs the same number of settings, and at least one; got {counts}")
    taken = {*_RUN, *_WHOLE, "train_loss", "seconds", "at_edge"}
    clash = {name for tried in chosen.values() for setting in tried for name in setting} & taken
    if clash:
        raise ValueError(f"settings may not be called {', '.join(sorted(clash))}: columns of the table are")
    return chosen
