"""The coding exercise of the page on schedules."""

import math

from tests.exercises import judge

CASES = [(0, 40, 0.0), (10, 50, 0.0), (7, 50, 0.1), (3, 4, 0.25)]  # warmup, total, floor


def _run(factor):
    return [[factor(t, *case) for t in range(case[1] + 6)] for case in CASES]


def warmup_cosine(t, warmup, total, floor):
    """The factor is 1 at ``t = warmup`` and the floor at ``t = total``; after that it is held."""
    if t < warmup:
        return t / warmup
    share = min((t - warmup) / (total - warmup), 1)
    return floor + (1 - floor) * (1 + math.cos(math.pi * share)) / 2


def _late(t, warmup, total, floor):
    return min(max((t - warmup) / (total - warmup), 0), 1)


def one_early(t, warmup, total, floor):
    return (t + 1) / warmup if t < warmup else warmup_cosine(t, warmup, total, floor)


def decay_from_zero(t, warmup, total, floor):
    return t / warmup if t < warmup else warmup_cosine(t, 0, total, floor)


def runs_late(t, warmup, total, floor):
    return t / warmup if t < warmup else warmup_cosine(t - warmup, 0, total, floor)


def floor_added(t, warmup, total, floor):
    if t < warmup:
        return t / warmup
    return floor + (1 + math.cos(math.pi * _late(t, warmup, total, floor))) / 2


def no_pi(t, warmup, total, floor):
    if t < warmup:
        return t / warmup
    return floor + (1 - floor) * (1 + math.cos(_late(t, warmup, total, floor))) / 2


def whole_turn(t, warmup, total, floor):
    if t < warmup:
        return t / warmup
    return floor + (1 - floor) * (1 + math.cos(2 * math.pi * _late(t, warmup, total, floor))) / 2


def rises_again(t, warmup, total, floor):
    if t < warmup:
        return t / warmup
    return floor + (1 - floor) * (1 + math.cos(math.pi * (t - warmup) / (total - warmup))) / 2


def warmup_from_the_floor(t, warmup, total, floor):
    return floor + (1 - floor) * t / warmup if t < warmup else warmup_cosine(t, warmup, total, floor)


MISTAKES = {
    one_early: "off by one: at t = 0 the factor is 0, and 1 is reached at t = warmup",
    decay_from_zero: "the cosine must count from the end of the warm-up; yours has begun before it",
    runs_late: "the cosine is as long as the whole run: it ends at total + warmup, not at total",
    floor_added: "the floor is mixed in, not added: at t = warmup the factor is 1",
    no_pi: "the cosine's argument runs from 0 to pi, not to 1",
    whole_turn: "half a cosine: its argument ends at pi, not at 2 pi, where it is back at 1",
    rises_again: "after the end the factor stays at the floor; yours rises again",
    warmup_from_the_floor: "the warm-up starts from 0, not from the floor",
}


def check_warmup_cosine(factor):
    """Compare `factor` with a linear warm-up and a cosine to a floor, at every step and past the end.

    Raises:
        AssertionError: naming the mistake where it is one of the usual ones.

    Example:
        >>> check_warmup_cosine(warmup_cosine)
        warm-up and cosine: correct
    """
    judge("warm-up and cosine", factor, warmup_cosine, MISTAKES, _run)


EXERCISES = {check_warmup_cosine: (warmup_cosine, MISTAKES)}
