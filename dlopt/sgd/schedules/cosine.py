"""Half a cosine, once or again and again (SGDR: Loshchilov & Hutter 2017, arXiv:1608.03983, eq. 5)."""

from dlopt.engine.checks import number
from dlopt.engine.rule import xp
from dlopt.sgd.schedules.schedule import Formula, Schedule, called, whole


def _cosine(t, *, steps, floor):
    scale = floor + (1 - floor) * (1 + xp.cos(xp.pi * t / steps)) / 2
    return scale


def _cosine_held(t, *, steps, floor):
    scale = floor + (1 - floor) * (1 + xp.cos(xp.pi * xp.minimum(t, steps) / steps)) / 2
    return scale


def _cosine_equal_restarts(t, *, steps, floor):
    since = t - steps * xp.floor(t / steps)
    scale = floor + (1 - floor) * (1 + xp.cos(xp.pi * since / steps)) / 2
    return scale


def _cosine_growing_restarts(t, *, steps, multiplier, floor):
    # The logarithm may fall short of a whole number by a rounding error: 1e-12 is more than that, and less than a step.
    restarts = xp.floor(xp.log(1 + (multiplier - 1) * t / steps) / xp.log(multiplier) + 1e-12)
    length = steps * multiplier**restarts
    since = t - (length - steps) / (multiplier - 1)
    scale = floor + (1 - floor) * (1 + xp.cos(xp.pi * since / length)) / 2
    return scale


@called
def cosine(steps: int, floor: float = 0.0, *, hold: bool = False) -> Schedule:
    """Half a cosine from 1 to `floor` in `steps` steps; torch's `CosineAnnealingLR`.

    Past the end it **rises again**, with period ``2 * steps``, as torch's does. ``hold=True`` stays at the floor.
    torch steps by a recursion, which drifts from the closed form past `T_max` (where that is 100, by 2e-13 of the
    learning rate within 1,000 steps and 2e-12 within 10,000); this is the closed form and does not.

    Args:
        steps: torch's `T_max`; the floor is reached at ``t = steps``, so a run of `steps` steps never takes it.
        floor: torch's `eta_min` divided by the learning rate; at least 0.
        hold: stay at the floor after the end.

    Raises:
        ValueError: for steps that are no positive integer, or a floor that is negative or not finite.

    Example:
        >>> [round(cosine(100)(t), 3) for t in (0, 25, 50, 100, 150)]
        [1.0, 0.854, 0.5, 0.0, 0.5]
        >>> cosine(100, floor=0.1, hold=True)(150)
        0.1
    """
    whole("steps", steps)
    number("floor", floor, low=0)
    return Formula(_cosine_held if hold else _cosine, steps=steps, floor=floor)


@called
def cosine_restarts(steps: int, multiplier: float = 1, floor: float = 0.0) -> Schedule:
    """Half cosines one after another, each `multiplier` times as long; torch's `CosineAnnealingWarmRestarts`.

    Args:
        steps: length of the first, torch's `T_0`.
        multiplier: torch's `T_mult`, 1 or at least 1 + 1e-6; it need not be whole.
        floor: torch's `eta_min` divided by the learning rate; at least 0. The floor itself is never taken: at
            the end of a cycle the factor is 1 again.

    Raises:
        ValueError: for a value out of its range.

    Example:
        >>> twice = cosine_restarts(10, multiplier=2)
        >>> [round(twice(t), 3) for t in (0, 5, 10, 20, 30)]
        [1.0, 0.5, 1.0, 0.5, 1.0]
    """
    whole("steps", steps)
    number("multiplier", multiplier, low=1)
    number("floor", floor, low=0)
    if multiplier == 1:
        return Formula(_cosine_equal_restarts, steps=steps, floor=floor)
    if multiplier < 1 + 1e-6:
        raise ValueError(f"multiplier must be 1 or at least 1 + 1e-6, not {multiplier}: rounding moves the restarts")
    return Formula(_cosine_growing_restarts, steps=steps, multiplier=multiplier, floor=floor)
