"""Who does the runs: this process, others beside it, or all runs of a method at once."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from dlopt.lab.optional import require
from dlopt.lab.together import train_together
from dlopt.lab.training import Job, train

__all__ = ["Numbered", "share", "stack"]

Numbered = tuple[int, dict[str, list[float]]]
_MANY = 10  # runs; to start another process takes the time of some ten short ones


def share(jobs: Sequence[Job], missing: Sequence[int], n_jobs: int | None, progress: bool) -> Iterator[Numbered]:
    """Do the missing jobs, in any order, each given back with its number as soon as it is done.

    Example:
        >>> from dlopt.lab.tasks import least_squares
        >>> job = Job(least_squares(), torch.optim.SGD, {"lr": 0.1}, seed=0, steps=4, batch_size=265, every=2)
        >>> [(i, records["step"]) for i, records in share([job] * 3, [2], n_jobs=1, progress=False)]
        [(2, [0, 2, 4])]
    """
    if not missing:
        return
    joblib = require("joblib")
    backend, configured = joblib.parallel.get_active_backend()
    at_once = "generator_unordered" if backend.supports_return_generator else "list"
    with _bar(len(missing), "run", progress) as bar:
        if n_jobs is None and configured is None and backend.nesting_level == 0 and len(missing) >= _MANY:
            finished: Iterator[Numbered] = _shared(jobs, missing)
        else:
            work = (joblib.delayed(_numbered)(i, jobs[i]) for i in missing)
            finished = joblib.Parallel(n_jobs=n_jobs, return_as=at_once)(work)
        for numbered in finished:
            bar.update()
            yield numbered


def stack(jobs: Sequence[Job], missing: Sequence[Sequence[int]], progress: bool) -> Iterator[Numbered]:
    """Do the missing groups of jobs, each group at once; see :func:`dlopt.lab.together.train_together`.

    Example:
        >>> from dlopt.lab.tasks import least_squares
        >>> jobs = [Job(least_squares(), torch.optim.SGD, {"lr": 0.1}, seed, 4, 265, 2) for seed in range(2)]
        >>> [(i, records["step"]) for i, records in stack(jobs, [[0, 1]], progress=False)]
        [(0, [0, 2, 4]), (1, [0, 2, 4])]
    """
    if not missing:
        return
    with _bar(sum(jobs[group[0]].steps for group in missing), "step", progress) as bar:
        for group in missing:
            yield from zip(group, train_together([jobs[i] for i in group], bar.update), strict=True)


@contextlib.contextmanager
def _bar(total: int, unit: str, progress: bool) -> Iterator[Any]:
    """A progress bar, after which torch has as many threads as before."""
    hidden = {} if progress else {"disable": True}  # given, it would overrule TQDM_DISABLE
    threads = torch.get_num_threads()
    try:
        with require("tqdm.auto").tqdm(total=total, unit=unit, leave=False, **hidden) as bar:
            yield bar
    finally:
        torch.set_num_threads(threads)


def _shared(jobs: Sequence[Job], missing: Sequence[int]) -> Iterator[Numbered]:
    """Half of the jobs in one other process, half in this one: two cores for the memory of one more process."""
    pool = require("joblib.externals.loky").get_reusable_executor(max_workers=1)
    todo: list[int] = list(reversed(missing))
    away: list[Any] = []
    while todo or away:
        while todo and len(away) < 2:  # one at work, one waiting
            i = todo.pop()
            away.append(pool.submit(_numbered, i, jobs[i]))
        if todo:
            yield _numbered(i := todo.pop(), jobs[i])
        away, done = [job for job in away if not job.done()], [job for job in away if job.done()]
        if not (todo or done):
            done = [away.pop(0)]
        yield from (job.result() for job in done)


def _numbered(i: int, job: Job) -> Numbered:
    return i, train(job)
