"""Warm-up before any schedule, and warm-up, plateau, decay in one (WSD: Hu et al. 2024, arXiv:2404.06395)."""

from dlopt.engine.checks import HyperparameterTypeError, number
from dlopt.engine.rule import xp
from dlopt.sgd.schedules.cosine import cosine
from dlopt.sgd.schedules.decay import constant, linear
from dlopt.sgd.schedules.schedule import Formula, Schedule, called, sequential, whole


def _geometric(t, *, steps, start_factor, end_factor):
    scale = start_factor * (end_factor / start_factor) ** (xp.minimum(t, steps) / steps)
    return scale


def _one_minus_sqrt(t, *, steps, floor):
    scale = floor + (1 - floor) * (1 - xp.sqrt(xp.minimum(t, steps) / steps))
    return scale


@called
def warmup(steps: int, then: Schedule, start: float = 0.0, kind: str = "linear") -> Schedule:
    """From `start` to 1 in `steps` steps, then the schedule `then`, which counts from 0 at the end of the warm-up.

    ``warmup(w, linear(n - w))`` and ``warmup(w, cosine(n - w))`` are Hugging Face's schedules with warm-up for a run
    of n steps; ``warmup(w, then, start)`` is torch's `SequentialLR` of `LinearLR` and `then`, with milestone w.

    Args:
        steps: the first step at the full rate is ``t = steps``.
        then: any schedule.
        start: the first factor, at least 0. At the default 0 the first step moves nothing; ``1 / steps`` wastes none.
        kind: "linear", or "exponential": by equal factors, from a start above 0.

    Raises:
        ValueError: for a value out of its range, or a `then` that is no schedule.

    Example:
        >>> from dlopt.sgd.schedules import cosine, warmup
        >>> [round(warmup(2, cosine(4))(t), 3) for t in range(7)]
        [0.0, 0.5, 1.0, 0.854, 0.5, 0.146, 0.0]
    """
    if not isinstance(then, Schedule):
        raise HyperparameterTypeError(f"{then!r} is no schedule to warm up to")
    return sequential([_rise(steps, start, kind), then], milestones=[steps])


@called
def warmup_stable_decay(
    steps: int, warmup: int, decay: int, floor: float = 0.0, kind: str = "1-sqrt", start: float = 0.0
) -> Schedule:
    """Up in a straight line, then a plateau at 1, then a quick decay (Hu et al. 2024, section 4), held after.

    The plateau does not depend on `steps`. One long run at the full rate serves for every budget: branch off at
    ``budget - decay``.

    Args:
        steps: of the whole run; the floor is reached at ``t = steps``, so the run itself never takes it.
        warmup: steps of the rise, 0 for none.
        decay: steps of the decay; warm-up and decay together are at most `steps`.
        floor: the factor at the end, at least 0.
        kind: of the decay: "1-sqrt" (Hägele et al. 2024, arXiv:2405.18392), "linear" or "cosine".
        start: the first factor of the warm-up, at least 0.

    Raises:
        ValueError: for a value out of its range.

    Example:
        >>> wsd = warmup_stable_decay(100, warmup=10, decay=20, kind="linear")
        >>> [wsd(t) for t in (0, 5, 10, 80, 90, 100)]
        [0.0, 0.5, 1.0, 1.0, 0.5, 0.0]
    """
    whole("steps", steps)
    whole("warmup", warmup, low=0)
    whole("decay", decay)
    if warmup + decay > steps:
        raise ValueError(f"warmup {warmup} and decay {decay} are more than all {steps} steps")
    number("floor", floor, low=0)
    falls = {
        "1-sqrt": Formula(_one_minus_sqrt, steps=decay, floor=floor),
        "linear": linear(decay, end_factor=floor),
        "cosine": cosine(decay, floor, hold=True),
    }
    if kind not in falls:
        raise ValueError(f"kind must be one of {', '.join(falls)}, instead got {kind}")
    parts: list[tuple[int, Schedule]] = [(warmup, constant()), (steps - decay, falls[kind])]
    if steps - decay == warmup:
        parts = parts[1:]
    if warmup:
        parts = [(0, _rise(warmup, start, "linear")), *parts]
    if len(parts) == 1:
        return parts[0][1]
    return sequential([part for _, part in parts], milestones=[begin for begin, _ in parts[1:]])


def _rise(steps: int, start: float, kind: str) -> Schedule:
    whole("steps", steps)
    number("start", start, low=0)
    if kind == "linear":
        return linear(steps, start, 1.0)
    if kind != "exponential":
        raise ValueError(f"kind must be one of 'linear' or 'exponential', instead got {kind}")
    if start == 0:
        raise ValueError("an exponential warm-up cannot start at 0: no factor leads away from it")
    return Formula(_geometric, steps=steps, start_factor=start, end_factor=1.0)
