"""Schedules that only fall, and the constant one: torch's closed forms, Robbins-Monro, Vaswani et al. 2017."""

from collections.abc import Sequence

from dlopt.engine.checks import number
from dlopt.engine.rule import xp
from dlopt.sgd.schedules.schedule import Formula, Schedule, Sequential, _tuple, ascending, called, whole


def _constant(t, *, factor):
    scale = factor
    return scale


def _constant_first(t, *, factor, steps):
    scale = xp.where(t < steps, factor, 1)
    return scale


def _step(t, *, step_size, gamma):
    scale = gamma ** xp.floor(t / step_size)
    return scale


def _exponential(t, *, gamma):
    scale = gamma**t
    return scale


def _linear(t, *, steps, start_factor, end_factor):
    scale = start_factor + (end_factor - start_factor) * xp.minimum(t, steps) / steps
    return scale


def _polynomial(t, *, steps, power, floor):
    scale = floor + (1 - floor) * (1 - xp.minimum(t, steps) / steps) ** power
    return scale


def _inverse_time(t, *, steps, power):
    scale = (1 + t / steps) ** -power
    return scale


def _inverse_sqrt(t, *, warmup):
    scale = xp.minimum((t + 1) / warmup, xp.sqrt(warmup / (t + 1)))
    return scale


@called
def constant(factor: float = 1.0, steps: int | None = None) -> Schedule:
    """`factor` for ever; with `steps`, only for so long and 1 after, as torch's `ConstantLR` (`total_iters`).

    Raises:
        ValueError: for a factor that is negative or not finite, or steps that are no positive integer.

    Example:
        >>> constant(0.1, steps=5)(4), constant(0.1, steps=5)(5)
        (0.1, 1.0)
    """
    number("factor", factor, low=0)
    if steps is None:
        return Formula(_constant, factor=factor)
    whole("steps", steps)
    return Formula(_constant_first, factor=factor, steps=steps)


def step(step_size: int, gamma: float = 0.1) -> Schedule:
    """Times `gamma` after every `step_size` steps, without end; torch's `StepLR`.

    Raises:
        ValueError: for a step_size that is no positive integer, or a gamma that is negative or not finite.

    Example:
        >>> [round(step(30)(t), 3) for t in (0, 29, 30, 60)]
        [1.0, 1.0, 0.1, 0.01]
    """
    whole("step_size", step_size)
    number("gamma", gamma, low=0)
    return Formula(_step, step_size=step_size, gamma=gamma)


def multi_step(milestones: Sequence[int], gamma: float = 0.1) -> Schedule:
    """Times `gamma` at each of the `milestones`; torch's `MultiStepLR`, built of constant ones.

    Raises:
        ValueError: for milestones that are not increasing integers of at least 1, a gamma that is negative or not
            finite, or a power of it that is too large for a float.

    Example:
        >>> [round(multi_step([3, 5])(t), 3) for t in range(7)]
        [1.0, 1.0, 1.0, 0.1, 0.1, 0.01, 0.01]
    """
    places = _tuple("milestones", milestones)
    ascending("milestones", places)
    number("gamma", gamma, low=0)
    try:
        factors = [float(gamma) ** drops for drops in range(len(places) + 1)]
    except OverflowError:
        raise ValueError(f"gamma must be smaller: {gamma} to the power of {len(places)} is no float any more") from None
    return Sequential(tuple(constant(factor) for factor in factors), places)


def exponential(gamma: float) -> Schedule:
    """Times `gamma` after every step, without end; torch's `ExponentialLR`.

    Raises:
        ValueError: for a gamma that is negative or not finite.

    Example:
        >>> exponential(0.5)(3)
        0.125
    """
    number("gamma", gamma, low=0)
    return Formula(_exponential, gamma=gamma)


def linear(steps: int, start_factor: float = 1.0, end_factor: float = 0.0) -> Schedule:
    """A straight line from `start_factor` to `end_factor` in `steps` steps, held after; torch's `LinearLR`.

    torch calls `steps` `total_iters`. Its defaults make a warm-up of 5 steps; these decay to zero.

    Raises:
        ValueError: for steps that are no positive integer, or a factor that is negative or not finite.

    Example:
        >>> [linear(4)(t) for t in range(6)]
        [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    """
    whole("steps", steps)
    number("start_factor", start_factor, low=0)
    number("end_factor", end_factor, low=0)
    return Formula(_linear, steps=steps, start_factor=start_factor, end_factor=end_factor)


def polynomial(steps: int, power: float = 1.0, floor: float = 0.0) -> Schedule:
    """The power of what is left of `steps`, mixed with `floor`, held after; torch's `PolynomialLR` at floor 0.

    torch calls `steps` `total_iters`.

    Args:
        steps: length of the decay.
        power: at least 0; 1 is a straight line.
        floor: the factor at the end, at least 0.

    Raises:
        ValueError: for a value out of its range.

    Example:
        >>> [polynomial(4, power=2)(t) for t in range(5)]
        [1.0, 0.5625, 0.25, 0.0625, 0.0]
    """
    whole("steps", steps)
    number("power", power, low=0)
    number("floor", floor, low=0)
    return Formula(_polynomial, steps=steps, power=power, floor=floor)


def inverse_time(steps: float, power: float = 1.0) -> Schedule:
    """``(1 + t / steps) ** -power``, the kind that Robbins & Monro 1951 ask for; it never ends.

    Sums to infinity, while its squares do not, for a power above 1/2 and up to 1.

    Args:
        steps: after so many the factor of the power 1 has halved; a number above 0.
        power: at least 0.

    Raises:
        ValueError: for a value out of its range.

    Example:
        >>> inverse_time(10)(10), inverse_time(10)(90)
        (0.5, 0.1)
    """
    number("steps", steps, low=0)
    if steps == 0:
        raise ValueError("Invalid steps: 0; the factor would have no scale to fall on")
    number("power", power, low=0)
    return Formula(_inverse_time, steps=steps, power=power)


def inverse_sqrt(warmup: int) -> Schedule:
    """Up in a straight line for `warmup` steps, then as the inverse root (Vaswani et al. 2017, eq. 3, scaled to 1).

    The paper counts from 1, so the first factor is ``1 / warmup`` and 1 is reached at ``t = warmup - 1``. Hugging
    Face's `get_inverse_sqrt_schedule` counts from 0 and wastes a step at rate 0: it is one step behind.

    Raises:
        ValueError: for a warmup that is no positive integer.

    Example:
        >>> [inverse_sqrt(4)(t) for t in (0, 3, 15, 63)]
        [0.25, 1.0, 0.5, 0.25]
    """
    whole("warmup", warmup)
    return Formula(_inverse_sqrt, warmup=warmup)
