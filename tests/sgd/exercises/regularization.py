"""The coding exercises of the page on early stopping, L1, L2 and averaging."""

import numpy as np

from tests.exercises import judge

LOSSES = [
    [1.0, 0.75, 0.75, 0.75, 0.5, 0.75, 0.25, 0.5, 0.5, 0.5],
    [1.0, 1.0, 1.0, 1.0, 1.0, 0.5],
    [2.0, 1.875, 1.75, 1.625, 1.5, 1.375, 1.25, 1.125, 1.0],
    [1.0, 0.5, 0.75, 0.625, 0.25, 0.5, 0.375, 0.625],
    [1.0, 2.0, 1.5, 0.5],
    [4.0, 3.0, 2.0, 1.0],
]
SETTINGS = [(1, 0.0), (2, 0.0), (3, 0.0), (2, 0.25), (3, 0.25)]


def _stops(stop):
    return [stop(list(losses), patience, delta) for losses in LOSSES for patience, delta in SETTINGS]


def stop(losses, patience, min_delta):
    """The end and the best check, from 1: a check improves if it beats the best by more than min_delta."""
    lowest, best = float("inf"), 0
    for check, loss in enumerate(losses, 1):
        if lowest - loss > min_delta:
            lowest, best = loss, check
        elif check - best >= patience:
            return check, best
    return len(losses), best


def one_too_many(losses, patience, min_delta):
    return stop(losses, patience + 1, min_delta)


def ties_improve(losses, patience, min_delta):
    lowest, best = float("inf"), 0
    for check, loss in enumerate(losses, 1):
        if lowest - loss >= min_delta:
            lowest, best = loss, check
        elif check - best >= patience:
            return check, best
    return len(losses), best


def against_the_last(losses, patience, min_delta):
    last, best, waited = float("inf"), 0, 0
    for check, loss in enumerate(losses, 1):
        if last - loss > min_delta:
            best, waited = check, 0
        else:
            waited += 1
        last = loss
        if waited >= patience:
            return check, best
    return len(losses), best


def creeping_best(losses, patience, min_delta):
    lowest, best, waited = float("inf"), 0, 0
    for check, loss in enumerate(losses, 1):
        waited = 0 if lowest - loss > min_delta else waited + 1
        if loss < lowest:
            lowest, best = loss, check
        if waited >= patience:
            return check, best
    return len(losses), best


def never_reset(losses, patience, min_delta):
    lowest, best, waited = float("inf"), 0, 0
    for check, loss in enumerate(losses, 1):
        if lowest - loss > min_delta:
            lowest, best = loss, check
        else:
            waited += 1
        if waited >= patience:
            return check, best
    return len(losses), best


def from_zero(losses, patience, min_delta):
    end, best = stop(losses, patience, min_delta)
    return end - 1, best - 1


STOP_MISTAKES = {
    one_too_many: "stop at the check that makes it `patience` without improvement, not at the one after",
    ties_improve: "a tie, or a gain of exactly min_delta, is no improvement",
    against_the_last: "compare with the best loss so far, not with the last one",
    creeping_best: "gains within min_delta must not lower the best: slow progress would never add up",
    never_reset: "an improvement starts the count again",
    from_zero: "checks are counted from 1",
}


def check_stop(stop_):
    """Compare `stop_` with early stopping as the page has it, on ties, exact gains and slow progress.

    Raises:
        AssertionError: naming the mistake where it is one of the usual ones.

    Example:
        >>> check_stop(stop)
        early stopping: correct
    """
    judge("early stopping", stop_, stop, STOP_MISTAKES, _stops)


def _means(mean):
    points = np.random.default_rng(0).normal(size=8) + 5
    return [mean(points.copy(), decay) for decay in (0.0, 0.5, 0.9, 0.99)]


def mean(points, decay):
    """A sum that fades, over the sum of its weights."""
    total, weight, means = 0.0, 0.0, []
    for point in points:
        total, weight = decay * total + point, decay * weight + 1
        means.append(total / weight)
    return np.array(means)


def from_nothing(points, decay):
    average, means = 0.0, []
    for point in points:
        average = decay * average + (1 - decay) * point
        means.append(average)
    return np.array(means)


def from_the_first(points, decay):
    average, means = points[0], []
    for point in points:
        average = decay * average + (1 - decay) * point
        means.append(average)
    return np.array(means)


def one_late(points, decay):
    steps = np.arange(len(points))
    return from_nothing(points, decay) / np.maximum(1 - decay**steps, 1 - decay)


def corrected_in_place(points, decay):
    average, means = 0.0, []
    for k, point in enumerate(points, 1):
        average = (decay * average + (1 - decay) * point) / (1 - decay**k)
        means.append(average)
    return np.array(means)


def swapped(points, decay):
    return mean(points, 1 - decay)


def uniform(points, decay):
    return np.cumsum(points) / np.arange(1, len(points) + 1)


MEAN_MISTAKES = {
    from_nothing: "the mean starts from zero and is too small: divide by the sum of the weights, 1 - d^k after k points",
    from_the_first: "the first point keeps the weight d^(k-1) without the factor 1 - d: it counts for too much",
    one_late: "after the k-th point the weights sum to 1 - d^k, not 1 - d^(k-1)",
    corrected_in_place: "correct what you return, not what you keep: the next step would correct it again",
    swapped: "the decay is what the past keeps; the new point enters with 1 - d",
    uniform: "this is the uniform mean: old points must fade",
}


def check_mean(mean_):
    """Compare `mean_` with the exponential mean that is right from the first step.

    Raises:
        AssertionError: naming the mistake where it is one of the usual ones.

    Example:
        >>> check_mean(mean)
        exponential mean: correct
    """
    judge("exponential mean", mean_, mean, MEAN_MISTAKES, _means)


EXERCISES = {check_stop: (stop, STOP_MISTAKES), check_mean: (mean, MEAN_MISTAKES)}
