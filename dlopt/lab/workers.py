"""Who does the work: this process, others beside it, or all runs of a method at once."""

import concurrent.futures
import contextlib
import multiprocessing
import pickle
import random
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
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
_FEW = 200  # steps; with fewer, this process is not copied
_MANY = 1000  # steps; with fewer, another process is not started, where a copy will not do
_LONG = 5000  # steps; from so many on it has work from the beginning, and is waited for
_AS_LONG = 4  # such steps take about as long as a stacked one
_GRACE = 0.05  # seconds, in which a process answers that has been started before
_IDLE = 5  # seconds, after which the other process ends and gives its memory back


def parallel_map(function: Callable[[T], R], items: Iterable[T], progress: bool = True) -> list[R]:
    """`function` of every item, in their order: some here, the others in one more process, on one torch thread each.

    Args:
        function: of one argument. It takes what is global by value, and what it changes there may be lost; what it
            returns is pickled (by cloudpickle), so that it may be a copy. If it draws random numbers it should seed
            them, for which item is done where is left to chance.
        items: its arguments.
        progress: show a tqdm bar.

    Raises:
        ImportError: cloudpickle, joblib or tqdm is missing.

    Example:
        >>> parallel_map(lambda seed: seed**2, range(4), progress=False)
        [0, 1, 4, 9]
    """
    work = list(enumerate(items))
    with _bar(len(work), "call", progress) as bar:
        call: Callable[[tuple[int, T]], tuple[int, R]] = partial(_called, function)
        done = {}
        for k, value in _divided(_LONG, work, call, call):
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
        if n_jobs is None and _may_share():
            finished = _divided(sum(job.steps for _, job in work), work, _numbered, _numbered)
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

        steps = _AS_LONG * total if n_jobs is None else 0
        for group, records, unseen in _divided(steps, work, here, _stacked):
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


def _may_share() -> bool:
    """Whether a second process may be used: the user has not said how to work, and this is the first one."""
    if multiprocessing.parent_process() is not None:
        return False
    backend, configured = require("joblib").parallel.get_active_backend()
    return configured is None and backend.nesting_level == 0 and require("joblib").cpu_count() > 1


def _divided(steps: int, work: Sequence[T], here: Callable[[T], R], away: Callable[[T], R]) -> Iterator[R]:
    """All here, or half of it in one other process: `steps` says how much there is to do."""
    if len(work) < 2 or steps < _FEW or not _may_share():
        return map(here, work)
    if _may_fork():
        return _forked(work, here, away)
    return _spawned(work, here, away, at_once=steps >= _LONG) if steps >= _MANY else map(here, work)


def _may_fork() -> bool:
    """Whether a copy of this process could compute: a GPU's threads, and Apple's libraries, do not survive a fork."""
    return sys.platform == "linux" and not torch.accelerator.is_available()


def _forked(work: Sequence[T], here: Callable[[T], R], away: Callable[[T], R]) -> Iterator[R]:
    """The other process is a copy of this one: there at once, and what it does not change takes no memory."""
    context = multiprocessing.get_context("fork")
    pool = concurrent.futures.ProcessPoolExecutor(1, context, initializer=_inherit, initargs=(away, work))
    try:
        with warnings.catch_warnings():  # it computes on its only thread, and waits for no other
            warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
            pool.submit(_started)
    except OSError:  # the system allows no copy
        yield from map(here, work)
        return
    try:
        mine, other = (lambda k: here(work[k])), (lambda k: pool.submit(_inherited, k))
        for found in _halved(range(len(work)), mine, other, lambda: True):
            yield _opened(found) if isinstance(found, _Parcel) else found
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _spawned(work: Sequence[T], here: Callable[[T], R], away: Callable[[T], R], at_once: bool) -> Iterator[R]:
    """The other process is a new one, which takes seconds to start.

    Unless it is to have work `at_once`, this process goes on alone until it is there.
    """
    pool = require("joblib.externals.loky").get_reusable_executor(max_workers=1, timeout=_IDLE)
    started = pool.submit(_started)
    if not at_once:
        concurrent.futures.wait([started], timeout=_GRACE)
    yield from _halved(work, here, partial(pool.submit, away), lambda: at_once or started.done())


def _halved(
    work: Sequence[T], here: Callable[[T], R], submit: Callable[[T], Any], ready: Callable[[], bool]
) -> Iterator[R]:
    """Work that is done here and, as far as it is `ready`, where it is submitted to: results as they come."""
    todo = list(reversed(work))
    waiting: list[Any] = []
    while todo or waiting:
        # one at work, one waiting, and one for this process
        while len(todo) > 1 and len(waiting) < 2 and ready():
            waiting.append(submit(todo.pop()))
        if todo:
            yield here(todo.pop())
        done = [part for part in waiting if part.done()]
        if waiting and not (todo or done):
            done = waiting[:1]
        waiting = [part for part in waiting if part not in done]
        yield from (part.result() for part in done)


def _started() -> None:
    """What takes the time is the import of this module, and of torch with it."""


_heritage: tuple[Callable[[Any], Any], Sequence[Any]]


class _Parcel(bytes):
    """What comes out of a copy of a process, pickled: a tensor as it is at this moment, not in shared memory."""


def _inherit(function: Callable[[Any], Any], work: Sequence[Any]) -> None:
    """Keep what a copy of a process has of its parent, so that it need not be pickled; but no random numbers."""
    global _heritage
    _heritage = function, work
    torch.set_num_threads(1)
    torch.set_num_threads = lambda nthreads: None  # the others did not survive, and would be waited for
    random.seed(), np.random.seed(), torch.seed()


def _inherited(k: int) -> _Parcel:
    function, work = _heritage
    told: tuple[Any, Exception | None]
    try:
        told = function(work[k]), None
    except Exception as error:
        error.add_note(f"in another process:\n{traceback.format_exc()}")
        told = None, error
    return _Parcel(require("cloudpickle").dumps(told))


def _opened(parcel: _Parcel) -> Any:
    value, error = pickle.loads(parcel)
    if error is not None:
        raise error
    return value


def _called(function: Callable[[T], R], item: tuple[int, T]) -> tuple[int, R]:
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)
    return item[0], function(item[1])


def _numbered(item: tuple[int, Job]) -> Numbered:
    return item[0], train(item[1])


def _stacked(item: _Stack) -> tuple[Sequence[int], list[Records], int]:
    """With the steps that were taken where nobody saw them."""
    return item[0], train_together(item[1]), item[1][0].steps
