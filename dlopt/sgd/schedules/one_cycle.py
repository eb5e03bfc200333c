"""One cycle: up, down, and down again to almost nothing (Smith 2018, arXiv:1803.09820, and 1708.07120)."""

from dlopt.engine.checks import number
from dlopt.engine.rule import xp
from dlopt.sgd.schedules.schedule import Formula, Schedule, called, whole


def _one_cycle_cos(t, *, peak, foot, last, start, top, middle, end):
    u = xp.minimum(t, last)
    up = start + (top - start) * (1 - xp.cos(xp.pi * u / peak)) / 2
    down = top + (middle - top) * (1 - xp.cos(xp.pi * (u - peak) / (foot - peak))) / 2
    tail = middle + (end - middle) * (1 - xp.cos(xp.pi * (u - foot) / (last - foot))) / 2
    fall = xp.where(u <= foot, down, tail)
    scale = xp.where(u <= peak, up, fall)
    return scale


def _one_cycle_linear(t, *, peak, foot, last, start, top, middle, end):
    u = xp.minimum(t, last)
    up = start + (top - start) * u / peak
    down = top + (middle - top) * (u - peak) / (foot - peak)
    tail = middle + (end - middle) * (u - foot) / (last - foot)
    fall = xp.where(u <= foot, down, tail)
    scale = xp.where(u <= peak, up, fall)
    return scale


@called
def one_cycle(
    steps: int,
    pct_start: float = 0.3,
    anneal_strategy: str = "cos",
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    three_phase: bool = False,
) -> Schedule:
    """Up from ``1 / div_factor`` to 1, then down far below where it began; torch's `OneCycleLR`.

    The factor is relative to torch's `max_lr`: give the optimizer that as its `lr`. Past the end it is held. (torch
    raises an error beyond `total_steps`, and at that step itself runs on over the end of the curve.)

    Args:
        steps: torch's `total_steps`.
        pct_start: the share of the steps spent rising, in [0, 1]. The peak is at ``pct_start * steps - 1``, which
            need not be a whole step: then 1 is never quite reached.
        anneal_strategy: "cos" or "linear".
        div_factor: 1 over the first factor, above 0.
        final_div_factor: the first factor over the last, above 0.
        three_phase: first down to the first factor, as long as the rise took, and from there to the last.

    Raises:
        ValueError: for a value out of its range, or ``pct_start * steps == 1``, a rise that takes no step.

    Example:
        >>> [round(one_cycle(100)(t), 3) for t in (0, 29, 64, 99)]
        [0.04, 1.0, 0.5, 0.0]
    """
    for name, value in (("div_factor", div_factor), ("final_div_factor", final_div_factor)):
        number(name, value, low=0)
        if value == 0:
            raise ValueError(f"Invalid {name}: 0")
    start = 1 / div_factor
    return _cycle(steps, pct_start, anneal_strategy, three_phase, start, 1.0, start / final_div_factor)


@called
def one_cycle_momentum(
    steps: int,
    pct_start: float = 0.3,
    anneal_strategy: str = "cos",
    base_momentum: float = 0.85,
    max_momentum: float = 0.95,
    three_phase: bool = False,
) -> Schedule:
    """The momentum that goes with :func:`one_cycle`: down while the rate rises, and up again.

    Its value is the momentum itself: set ``group["momentum"]`` to it before each step, as torch's `OneCycleLR` does.

    Args:
        steps, pct_start, anneal_strategy, three_phase: as for :func:`one_cycle`.
        base_momentum: at the peak of the learning rate, at least 0.
        max_momentum: at the start and at the end, at least 0.

    Raises:
        ValueError: for a value out of its range.

    Example:
        >>> [round(one_cycle_momentum(100)(t), 3) for t in (0, 29, 64, 99)]
        [0.95, 0.85, 0.9, 0.95]
    """
    number("base_momentum", base_momentum, low=0)
    number("max_momentum", max_momentum, low=0)
    return _cycle(steps, pct_start, anneal_strategy, three_phase, max_momentum, base_momentum, max_momentum)


def _cycle(
    steps: int, pct_start: float, anneal_strategy: str, three_phase: bool, start: float, top: float, end: float
) -> Schedule:
    whole("steps", steps)
    number("pct_start", pct_start)
    if not 0 <= pct_start <= 1:
        raise ValueError(f"Expected float between 0 and 1 pct_start, but got {pct_start}")
    functions = {"cos": _one_cycle_cos, "linear": _one_cycle_linear}
    if anneal_strategy not in functions:
        raise ValueError(f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}")
    last, peak = steps - 1, float(pct_start * steps) - 1
    if peak == 0:
        raise ValueError(f"pct_start * steps = 1 leaves no step to rise in: take pct_start 0 or above {pct_start}")
    foot, middle = (float(2 * pct_start * steps) - 2, start) if three_phase else (last, end)
    phases = dict(peak=peak, foot=foot, last=last, start=start, top=top, middle=middle, end=end)
    return Formula(functions[anneal_strategy], **phases)
