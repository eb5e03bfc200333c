"""The coding exercise of the page on choosing."""

import numpy as np

from tests.exercises import judge

CASES = [
    np.array([[0.3, 0.1, 0.2], [5.0, 1.0, 3.0]]),
    np.array([[0.3, 0.1, 0.2, 0.4], [10.0, 30.0, 20.0, 5.0], [1.0, 2.0, 4.0, 3.0]]),
    np.array([[1.0, 1.0, 2.0, 0.5], [0.1, 0.2, 0.3, 0.2]]),
    np.array([[np.inf, 1.0, np.inf, 0.5], [0.5, 0.4, 0.3, np.inf], [0.9, 0.7, 0.8, 0.6]]),
]


def average_ranks(losses):
    """1 for the lowest; equal losses, infinite ones too, share the mean of their ranks."""
    losses = np.asarray(losses, dtype=float)
    below = (losses[:, None, :] < losses[:, :, None]).sum(axis=2)
    equal = (losses[:, None, :] == losses[:, :, None]).sum(axis=2)
    return (below + (equal + 1) / 2).mean(axis=0)


def _ranks(losses):
    below = (losses[:, None, :] < losses[:, :, None]).sum(axis=2)
    equal = (losses[:, None, :] == losses[:, :, None]).sum(axis=2)
    return below + (equal + 1) / 2


def from_zero(losses):
    return average_ranks(losses) - 1


def largest_first(losses):
    return _ranks(-losses).mean(axis=0)


def sorted_twice(losses):
    return (losses.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable") + 1).mean(axis=0)


def sorted_once(losses):
    return (losses.argsort(axis=1, kind="stable") + 1).mean(axis=0)


def losses_averaged(losses):
    return _ranks(losses.mean(axis=0, keepdims=True))[0]


def diverged_dropped(losses):
    return np.nanmean(np.where(np.isfinite(losses), _ranks(losses), np.nan), axis=0)


def lowest_of_equals(losses):
    return ((losses[:, None, :] < losses[:, :, None]).sum(axis=2) + 1).mean(axis=0)


MISTAKES = {
    from_zero: "the best has rank 1, not 0",
    largest_first: "the lowest loss has rank 1: the order is upside down",
    sorted_twice: "equal losses must share the mean of their ranks; sorting gives the first of them the better one",
    sorted_once: "argsort tells which method is first, not which rank a method has",
    losses_averaged: "rank on each task first, then average: losses of different tasks have different units",
    diverged_dropped: "a run that diverged is the worst on its task, it may not be dropped",
    lowest_of_equals: "equal losses share the mean of their ranks, not the best of them",
}


def check_average_ranks(answer):
    """Compare `answer` with average ranks, on tasks with ties and with runs that diverged.

    Raises:
        AssertionError: naming the mistake where it is one of the usual ones.

    Example:
        >>> check_average_ranks(average_ranks)
        average ranks: correct
    """
    judge("average ranks", answer, average_ranks, MISTAKES, lambda f: [f(case.copy()) for case in CASES])


EXERCISES = {check_average_ranks: (average_ranks, MISTAKES)}
