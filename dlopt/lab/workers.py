"""Who does the work: this process, others beside it, or all runs of a method at once."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import torch

from dlopt.lab.optional import require
from dlopt.lab.together import train_together
from dlopt.lab.training import Job, train

__all__ = ["Numbered", "parallel_map", "share", "stack"]

Records = dict[str, list[float]]
Numbered = tuple[int, Records]
_Stack = tuple[Sequence[int], list[Job]]
T = TypeVar("T")
R = TypeVar("R")
_MANY = 1000  # steps; to start another process takes the time of about so many short ones
_AS_LONG = 4  # such steps take about as long as a stacked one
_IDLE = 5  # seconds, after which the other process ends and gives its memory back


def parallel_map(function: Callable[[T], R], items: Iterable[T], progress: bool = True) -> list[R]:
    """`function` of every item, in their order: some here, the others in one more process, on one torch thread each.

    Args:
        function: of one argument. It takes what is global by value, and what it changes there may be lost. If it draws
            random numbers it should seed them, for which item is done where is left to chance.
        items: its arguments.
        progress: show a tqdm bar.

    Raises:
        ImportError: joblib or tqdm is missing.

    Example:
        >>> parallel_map(lambda seed: seed**2, range(4), progress=False)
        [0, 1, 4, 9]
    """
    work = list(enumerate(items))
    with _bar(len(work), "call", progress) as bar:
        call: Callable[[tuple[int, T]], tuple[int, R]] = partial(_called, function)
        done = {}
        for k, value in _shared(work, call, call) if _is_worth(_MANY, len(work)) else map(call, work):
            bar.update()
            done[k] = value
    return [done[k] for k, _ in work]


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
    backend, _ = joblib.parallel.get_active_backend()
    at_once = "generator_unordered" if backend.supports_return_generator else "list"
    work = [(i, jobs[i]) for i in missing]
    with _bar(len(missing), "run", progress) as bar:
        if n_jobs is None and _is_worth(sum(job.steps for _, job in work), len(work)):
            finished: Iterator[Numbered] = _shared(work, _numbered, _numbered)
        else:
            finished = joblib.Parallel(n_jobs=n_jobs, return_as=at_once)(map(joblib.delayed(_numbered), work))
        for numbered in finished:
            bar.update()
            yield numbered


def stack(
    jobs: Sequence[Job], missing: Sequence[Sequence[int]], n_jobs: int | None, progress: bool
) -> Iterator[Numbered]:
    """Do the missing groups of jobs, each group at once; see :func:`dlopt.lab.together.train_together`.

    Example:
        >>> from dlopt.lab.tasks import least_squares
        >>> jobs = [Job(least_squares(), torch.optim.SGD, {"lr": 0.1}, seed, 4, 265, 2) for seed in range(2)]
        >>> [(i, records["step"]) for i, records in stack(jobs, [[0, 1]], n_jobs=1, progress=False)]
        [(0, [0, 2, 4]), (1, [0, 2, 4])]
    """
    if not missing:
        return
    total = sum(jobs[group[0]].steps for group in missing)
    work = [(group, [jobs[i] for i in group]) for group in missing]
    with _bar(total, "step", progress) as bar:

        def here(item: _Stack) -> tuple[Sequence[int], list[Records], int]:
            return item[0], train_together(item[1], bar.update), 0

        shared = n_jobs is None and _is_worth(_AS_LONG * total, len(work))
        finished = _shared(work, here, _stacked) if shared else map(here, work)
        for group, records, unseen in finished:
            bar.update(unseen)
            yield from zip(group, records, strict=True)


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


def _is_worth(steps: int, parts: int) -> bool:
    """Whether to use a second process: the user has not said how to work, and there is enough to do."""
    parallel = require("joblib").parallel
    backend, configured = parallel.get_active_backend()
    free = configured is None and backend.nesting_level == 0 and require("joblib").cpu_count() > 1
    return free and parts > 1 and steps >= _MANY


def _shared(work: Sequence[T], here: Callable[[T], R], away: Callable[[T], R]) -> Iterator[R]:
    """Half of the work in one other process, half in this one: two cores for the memory of one more process."""
    pool = require("joblib.externals.loky").get_reusable_executor(max_workers=1, timeout=_IDLE)
    todo = list(reversed(work))
    waiting: list[Any] = []
    while todo or waiting:
        while len(todo) > 1 and len(waiting) < 2:  # one at work, one waiting, and one for this process
            waiting.append(pool.submit(away, todo.pop()))
        if todo:
            yield here(todo.pop())
        done = [part for part in waiting if part.done()]
        if waiting and not (todo or done):
            done = waiting[:1]
        waiting = [part for part in waiting if part not in done]
        yield from (part.result() for part in done)


def _called(function: Callable[[T], R], item: tuple[int, T]) -> tuple[int, R]:
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)
    return item[0], function(item[1])


def _numbered(item: tuple[int, Job]) -> Numbered:
    return item[0], train(item[1])


def _stacked(item: _Stack) -> tuple[Sequence[int], list[Records], int]:
    """With the steps that were taken where nobody saw them."""
    return item[0], train_together(item[1]), item[1][0].steps
