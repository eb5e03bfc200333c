"""Intervals, paired tests, effect sizes and equivalence over seeds, from SciPy but for the bootstrap.

A miss is infinite, never dropped: medians and their bootstrap intervals take infinite values, means refuse.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dlopt.lab.optional import require

__all__ = [
    "Effect",
    "Equivalence",
    "Interval",
    "PairedTest",
    "bootstrap_interval",
    "effect_size",
    "equivalence",
    "holm",
    "mean_interval",
    "paired_test",
]

Values = Sequence[float] | np.ndarray


class Interval(NamedTuple):
    """An estimate and its confidence interval, in the units of the values."""

    estimate: float
    low: float
    high: float


class PairedTest(NamedTuple):
    """Mean of a − b, its t interval, and the two-sided p-values of the t test and of Wilcoxon's."""

    difference: float
    low: float
    high: float
    t_p: float
    wilcoxon_p: float


class Effect(NamedTuple):
    """Cohen's d and Hedges' g, which is d without its bias in small samples."""

    d: float
    g: float


class Equivalence(NamedTuple):
    """Mean of a − b, the interval that has to lie within the margin, the p-value, and the verdict."""

    difference: float
    low: float
    high: float
    p: float
    equivalent: bool


def mean_interval(values: Values, level: float = 0.95) -> Interval:
    """Mean with Student's t interval.

    Args:
        values: one finite number a seed, at least two.
        level: confidence, between 0 and 1.

    Raises:
        ValueError: fewer than two values, a value that is not finite, a level outside (0, 1).
        ImportError: SciPy is missing.

    Example:
        >>> [round(v, 3) for v in mean_interval([1.0, 2.0, 3.0])]
        [2.0, -0.484, 4.484]
    """
    x = _finite(values)
    _check_level(level)
    mean, error = float(x.mean()), float(x.std(ddof=1)) / math.sqrt(len(x))
    half = error * float(require("scipy.special").stdtrit(len(x) - 1, (1 + level) / 2))
    return Interval(mean, mean - half, mean + half)


def bootstrap_interval(
    values: Values,
    statistic: Callable[..., Any] = np.median,
    level: float = 0.95,
    *,
    resamples: int = 9999,
    seed: int = 0,
) -> Interval:
    """A statistic with its percentile bootstrap interval (Efron 1979, Annals of Statistics 7).

    Args:
        values: one number a seed, at least two; inf is allowed with ``np.median``, and may be in the result.
        statistic: takes an array and ``axis``.
        level: confidence, between 0 and 1.
        resamples: how many samples are drawn.
        seed: decides them.

    Raises:
        ValueError: fewer than two values, NaN, an infinite value with a statistic other than ``np.median``,
            a level outside (0, 1), fewer than one resample.

    Example:
        >>> bootstrap_interval([10.0, 20.0, 30.0, 40.0, float("inf")])
        Interval(estimate=30.0, low=10.0, high=inf)
    """
    x = np.asarray(values, np.float64) if statistic is np.median else _finite(values)
    _check_level(level)
    if x.ndim != 1 or len(x) < 2 or np.isnan(x).any():
        raise ValueError(f"at least two numbers are needed, and no NaN; got {x.tolist()}")
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, got {resamples}")
    finite = np.where(np.isinf(x), np.copysign(_FAR, x), x)  # an order statistic does not mind
    drawn = finite[np.random.default_rng(seed).integers(0, len(x), (resamples, len(x)))]
    tail = (1 - level) / 2
    low, high = np.percentile(statistic(drawn, axis=-1), [100 * tail, 100 * (1 - tail)])
    parts = (float(statistic(finite, axis=0)), float(low), float(high))
    return Interval(*(math.copysign(math.inf, v) if abs(v) > _FAR / 1e6 else v for v in parts))


_FAR = 1e150


def paired_test(a: Values, b: Values, level: float = 0.95) -> PairedTest:
    """Do two methods differ, seed by seed? Student's t and Wilcoxon's signed-rank test of a − b.

    Args:
        a, b: one finite number a seed, in the same order of seeds, at least two.
        level: confidence of the interval.

    Raises:
        ValueError: unequal lengths, fewer than two values, a value that is not finite.
        ImportError: SciPy is missing.

    Example:
        >>> result = paired_test([2.0, 3.0, 5.0, 4.0], [1.0, 1.0, 2.0, 3.0])
        >>> result.difference, round(result.t_p, 4), result.wilcoxon_p
        (1.75, 0.0354, 0.125)
    """
    difference, stats = _paired(a, b), require("scipy.stats")
    interval = mean_interval(difference, level)
    if not difference.any():
        return PairedTest(*interval, t_p=1.0, wilcoxon_p=1.0)
    constant = np.ptp(difference) == 0  # then t is infinite
    t_p = 0.0 if constant else float(stats.ttest_1samp(difference, 0).pvalue)
    return PairedTest(*interval, t_p=t_p, wilcoxon_p=float(stats.wilcoxon(difference).pvalue))


def holm(pvalues: Values | Mapping[str, float]) -> Any:
    """p-values adjusted for having tested several hypotheses (Holm 1979, Scand. J. Statist. 6).

    Args:
        pvalues: numbers between 0 and 1, as a sequence or by name.

    Returns:
        Adjusted values in the same order: an array, or a dictionary with the same names.

    Raises:
        ValueError: a number outside [0, 1].

    Example:
        >>> {name: round(p, 3) for name, p in holm({"a": 0.01, "b": 0.04, "c": 0.03}).items()}
        {'a': 0.03, 'b': 0.06, 'c': 0.06}
    """
    if isinstance(pvalues, Mapping):
        return dict(zip(pvalues, holm(list(pvalues.values())).tolist(), strict=True))
    p = np.asarray(pvalues, np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p-values lie between 0 and 1, got {p.tolist()}")
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return adjusted


def effect_size(a: Values, b: Values, *, paired: bool = True) -> Effect:
    """How far apart two methods are, in standard deviations over seeds.

    Args:
        a, b: one finite number a seed, at least two.
        paired: divide by the deviation of a − b (a and b in the same order of seeds); otherwise by the pooled
            deviation of a and b.

    Raises:
        ValueError: fewer than two values, a value that is not finite, unequal lengths when paired.
        ImportError: SciPy is missing.

    Example:
        >>> effect = effect_size([2.0, 3.0, 4.0], [1.0, 2.0, 3.0], paired=False)
        >>> round(effect.d, 3), round(effect.g, 3)
        (1.0, 0.798)
    """
    if paired:
        difference = _paired(a, b)
        mean, deviation, freedom = difference.mean(), difference.std(ddof=1), len(difference) - 1
    else:
        x, y = _finite(a), _finite(b)
        freedom = len(x) + len(y) - 2
        mean = x.mean() - y.mean()
        deviation = math.sqrt(((len(x) - 1) * x.var(ddof=1) + (len(y) - 1) * y.var(ddof=1)) / freedom)
    if deviation == 0:
        d = math.copysign(math.inf, mean) if mean else 0.0
        return Effect(d, d)
    gammaln, d = require("scipy.special").gammaln, float(mean / deviation)
    if freedom < 2:
        return Effect(d, math.nan)  # the correction needs two degrees of freedom
    bias = math.exp(gammaln(freedom / 2) - gammaln((freedom - 1) / 2)) / math.sqrt(freedom / 2)
    return Effect(d, d * bias)


def equivalence(a: Values, b: Values, margin: float, level: float = 0.95) -> Equivalence:
    """Are two methods alike within a margin? Two one-sided paired t tests (Schuirmann 1987).

    "No significant difference" is no evidence of equality; this is.

    Args:
        a, b: one finite number a seed, in the same order of seeds, at least two.
        margin: the largest difference that does not matter, positive, in the units of the values.
        level: 1 minus the allowed error; the interval shown has confidence ``2 level - 1``.

    Raises:
        ValueError: `margin` not positive, and as for :func:`paired_test`.
        ImportError: SciPy is missing.

    Example:
        >>> equivalence([1.0, 1.1, 0.9, 1.0], [1.0, 1.0, 1.0, 0.9], margin=0.3).equivalent
        True
    """
    if not margin > 0:
        raise ValueError(f"margin must be positive, got {margin}")
    difference, stats = _paired(a, b), require("scipy.stats")
    mean, low, high = mean_interval(difference, 2 * level - 1)
    if np.ptp(difference) == 0:
        p = float(abs(mean) >= margin)
    else:
        above = stats.ttest_1samp(difference, -margin, alternative="greater").pvalue
        below = stats.ttest_1samp(difference, margin, alternative="less").pvalue
        p = float(max(above, below))
    return Equivalence(mean, low, high, p, p < 1 - level)


def _finite(values: Values) -> np.ndarray:
    x = np.asarray(values, np.float64)
    if x.ndim != 1 or len(x) < 2:
        raise ValueError(f"at least two values in one dimension are needed, got shape {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError("a mean needs finite values; for misses use bootstrap_interval, which takes the median")
    return x


def _paired(a: Values, b: Values) -> np.ndarray:
    if len(a) != len(b):
        raise ValueError(f"paired values have equal lengths, got {len(a)} and {len(b)}")
    return _finite(a) - _finite(b)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
