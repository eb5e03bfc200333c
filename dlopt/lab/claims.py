"""Sentences that are measured where they stand: our own claims, and assertions made by others.

Each prints one line and leaves a record in the notebook, as metadata of the cell's output. A claim's bound
is written before its final run; nothing else is ever chosen by its verdict.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlopt.lab.records import Record, make_record, show_record
from dlopt.lab.statistics import Interval, bootstrap_interval, mean_interval

__all__ = ["assertion", "claim"]

Seeds = Sequence[int]
Measured = float | Callable[[Seeds], Any] | Mapping[int, float]


@dataclass(frozen=True)
class _Bound:
    low: float
    high: float

    def contains(self, low: float, high: float) -> bool:
        return self.low <= low and high <= self.high  # False for NaN

    def excludes(self, low: float, high: float) -> bool:
        return high < self.low or low > self.high

    def __str__(self) -> str:
        if self.low == self.high:
            return f"= {self.low:g}"
        if math.isinf(self.low):
            return f"≤ {self.high:g}"
        return f"≥ {self.low:g}" if math.isinf(self.high) else f"in [{self.low:g}, {self.high:g}]"


def claim(
    sentence: str,
    measured: Measured,
    *,
    at_most: float | None = None,
    at_least: float | None = None,
    between: tuple[float, float] | None = None,
    equal: float | None = None,
    tolerance: float = 0.0,
    seeds: Sequence[Seeds] | None = None,
    margin: float | None = None,
    level: float = 0.95,
    digits: int = 3,
    id: str | None = None,
) -> Record:
    """Our own sentence, with the measurement it stands on. A failing claim is shown in red and recorded.

    Without `seeds`, `measured` is one number that must satisfy the bound. With them it is measured on three
    or more disjoint sets of seeds, and the claim holds if

    - on every set the mean effect, moved by `margin` towards the bound, satisfies it, and
    - the interval over all seeds together satisfies it.

    Where an effect is infinite (a run that missed), medians and bootstrap intervals take the place of means
    and t intervals. NaN fails.

    Args:
        sentence: the claim in words.
        measured: a number; or seeds → effects, one a seed; or a mapping seed → effect (a pandas Series, too).
        at_most, at_least, between, equal: exactly one of them, the bound on the effect.
        tolerance: how far from `equal` the effect may be.
        seeds: disjoint sets of at least two seeds.
        margin: in units of the effect, at least 0; by default each set's own standard error.
        level: confidence of the interval.
        digits: significant digits printed; 0 prints the verdict alone, the same on every machine.
        id: name of the record; by default made from the sentence.

    Returns:
        The :class:`Record`, already displayed.

    Raises:
        ValueError: not exactly one bound, overlapping or too few seeds, effects and seeds of unequal number,
            a negative margin or tolerance.
        TypeError: `measured` does not go with `seeds`.

    Example:
        >>> record = claim("Heavy ball at condition 100: rate 9/11", 9 / 11, equal=0.818182, tolerance=1e-6)
        ✓ Heavy ball at condition 100: rate 9/11: 0.818 (in [0.818181, 0.818183])
        >>> record["holds"]
        True
    """
    if not 0 <= tolerance < math.inf or (margin is not None and not 0 <= margin < math.inf):
        raise ValueError(f"margin and tolerance must be at least 0, got {margin} and {tolerance}")
    bound = _bound(at_most, at_least, between, None if equal is None else (equal - tolerance, equal + tolerance))
    if seeds is None:
        effect, interval = _number(measured), None
        holds = bound.contains(effect, effect)
    else:
        _check_seeds(seeds)
        sets = [_effects(measured, chosen) for chosen in seeds]
        effect, low, high = _interval(np.concatenate(sets), level)
        interval = (low, high)
        holds = bound.contains(low, high) and all(_clears(bound, values, margin) for values in sets)
    record = make_record(
        sentence, "claim", id, holds, "holds" if holds else "fails", effect, interval,
        None if seeds is None else [[int(seed) for seed in chosen] for chosen in seeds], None,
    )  # fmt: skip
    return show_record(record, str(bound), level, digits)


def assertion(
    quote: str,
    source: str,
    measured: Measured | Sequence[float],
    *,
    at_most: float | None = None,
    at_least: float | None = None,
    between: tuple[float, float] | None = None,
    seeds: Seeds | None = None,
    level: float = 0.95,
    digits: int = 3,
    id: str | None = None,
) -> Record:
    """Somebody else's sentence, tried at the scale of this book; the verdict is a finding, not a failure.

    *Confirmed* if the interval over seeds lies within the range that the sentence claims, *contradicted* if
    it lies outside, *undecided* otherwise, and always so for NaN or a sequence of one effect. One plain number is
    taken as exact.

    Args:
        quote: the sentence, as its author put it or in fewer words.
        source: where it stands.
        measured: a number; effects, one a seed; or, with `seeds`, seeds → effects, or a mapping seed →
            effect.
        at_most, at_least, between: exactly one of them, the range of effects that the sentence claims.
        seeds: one set of seeds.
        level, digits, id: as for :func:`claim`.

    Returns:
        The :class:`Record`, already displayed.

    Raises:
        ValueError: not exactly one range, repeated seeds, effects and seeds of unequal number.
        TypeError: `measured` does not go with `seeds`.

    Example:
        >>> accuracy_gap = [0.001, -0.002, 0.0, 0.002, -0.001]
        >>> record = assertion("Adam generalizes worse", "Wilson et al. 2017", accuracy_gap, at_least=0.005)
        ✗ contradicted: “Adam generalizes worse” (Wilson et al. 2017): 0, 95% interval [-0.00196, 0.00196] (≥
        0.005)
    """
    bound = _bound(at_most, at_least, between, None)
    interval: tuple[float, float] | None = None
    if seeds is None and isinstance(measured, (Sequence, np.ndarray)):
        effects = np.asarray(measured, np.float64)
    elif seeds is None:
        effects = np.array([_number(measured)])
        interval = (float(effects[0]), float(effects[0]))
    else:
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"seeds are repeated in {list(seeds)}")
        effects = _effects(measured, seeds)
    effect = float(effects.mean()) if len(effects) else math.nan
    if len(effects) > 1:
        effect, low, high = _interval(effects, level)
        interval = (low, high)
    holds = None
    if interval and not np.isnan(interval).any():
        holds = True if bound.contains(*interval) else False if bound.excludes(*interval) else None
    verdict = {True: "confirmed", False: "contradicted", None: "undecided"}[holds]
    record = make_record(
        quote, "assertion", id, holds, verdict, effect, interval if len(effects) > 1 else None,
        None if seeds is None else [int(seed) for seed in seeds], source,
    )  # fmt: skip
    return show_record(record, str(bound), level, digits)


def _bound(
    at_most: float | None,
    at_least: float | None,
    between: tuple[float, float] | None,
    around: tuple[float, float] | None,
) -> _Bound:
    given = [
        None if at_most is None else (-math.inf, at_most),
        None if at_least is None else (at_least, math.inf),
        between,
        around,
    ]
    chosen = [pair for pair in given if pair is not None]
    if len(chosen) != 1:
        raise ValueError(f"give exactly one bound, not {len(chosen)}")
    low, high = (float(end) for end in chosen[0])
    if not low <= high:
        raise ValueError(f"the bound must be a range of numbers, got [{low}, {high}]")
    return _Bound(low, high)


def _check_seeds(sets: Sequence[Seeds]) -> None:
    every = [seed for chosen in sets for seed in chosen]
    if len(sets) < 3 or min(len(chosen) for chosen in sets) < 2:
        raise ValueError("a claim needs three or more sets of two or more seeds")
    if len(set(every)) < len(every):
        raise ValueError(f"the sets of seeds overlap: {[list(chosen) for chosen in sets]}")


def _number(measured: Any) -> float:
    if callable(measured) or np.ndim(measured) != 0 or hasattr(measured, "keys"):
        raise TypeError("without seeds, the measured value is one number")
    return float(measured)


def _effects(measured: Any, seeds: Seeds) -> np.ndarray:
    """One effect a seed."""
    if callable(measured):
        values = measured(tuple(seeds))
        if hasattr(values, "keys"):
            measured = values
        else:
            effects = np.asarray(values, np.float64)
            if effects.shape != (len(seeds),):
                raise ValueError(f"{len(seeds)} seeds need as many effects, got shape {effects.shape}")
            return effects
    if not hasattr(measured, "keys"):
        raise TypeError("with seeds, measure by a function of them, or give a mapping from seed to effect")
    absent = [seed for seed in seeds if seed not in measured.keys()]
    if absent:
        raise ValueError(f"no effect for seeds {absent}")
    return np.array([float(measured[seed]) for seed in seeds])


def _interval(values: np.ndarray, level: float) -> Interval:
    if np.isnan(values).any():
        return Interval(math.nan, math.nan, math.nan)
    return mean_interval(values, level) if np.isfinite(values).all() else bootstrap_interval(values, level=level)


def _clears(bound: _Bound, values: np.ndarray, margin: float | None) -> bool:
    """Whether the centre of one set satisfies the bound with room to spare."""
    if not np.isfinite(values).all():
        centre, spare = float(np.median(values)), margin or 0.0
    else:
        centre = float(values.mean())
        spare = float(values.std(ddof=1)) / math.sqrt(len(values)) if margin is None else margin
    return bound.contains(centre - spare, centre + spare)
