import math

import numpy as np
import pytest
from scipy import stats

from dlopt.lab.statistics import (
    bootstrap_interval,
    effect_size,
    equivalence,
    holm,
    mean_interval,
    paired_test,
)

A = np.array([2.1, 2.9, 5.2, 4.4, 3.3])
B = np.array([1.0, 1.4, 2.0, 3.9, 2.2])


def test_mean_interval_against_scipy():
    found = mean_interval(A, level=0.9)
    low, high = stats.t.interval(0.9, len(A) - 1, loc=A.mean(), scale=stats.sem(A))
    assert found == pytest.approx((A.mean(), low, high), rel=1e-12)


def test_mean_interval_covers_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(3.0, 2.0, (2000, 5))
    covered = [low <= 3.0 <= high for _, low, high in map(mean_interval, draws)]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.015)


def test_bootstrap_is_seeded_and_near_the_t_interval():
    x = np.random.default_rng(1).normal(0.0, 1.0, 200)
    found = bootstrap_interval(x, np.mean)
    assert found == bootstrap_interval(x, np.mean)
    assert found != bootstrap_interval(x, np.mean, seed=1)
    assert found == pytest.approx(mean_interval(x), abs=0.02)


@pytest.mark.parametrize("statistic", [np.mean, np.median])
@pytest.mark.parametrize("level", [0.5, 0.95])
@pytest.mark.parametrize("seed", range(5))
def test_bootstrap_is_scipys(statistic, level, seed):
    x = np.random.default_rng(seed).standard_normal(4 + seed)
    theirs = stats.bootstrap(
        (x,), statistic, confidence_level=level, n_resamples=500, method="percentile", rng=np.random.default_rng(seed)
    ).confidence_interval
    ours = bootstrap_interval(x, statistic, level=level, resamples=500, seed=seed)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=1e-12)


def test_bootstrap_of_the_median_takes_misses():
    few = bootstrap_interval([*range(10, 110), math.inf, math.inf])
    assert few.estimate == 60.5
    assert math.isfinite(few.high)
    half = bootstrap_interval([1.0, 2.0, 3.0, math.inf, math.inf, math.inf, math.inf])
    assert half.estimate == math.inf == half.high
    assert half.low < 4
    assert bootstrap_interval([math.inf] * 3) == (math.inf,) * 3
    gains = bootstrap_interval([-math.inf, 1.0, 2.0])
    assert (gains.estimate, gains.low) == (1.0, -math.inf)


def test_means_refuse_misses_and_say_what_to_do():
    for call in (
        lambda: mean_interval([1.0, math.inf]),
        lambda: bootstrap_interval([1.0, math.inf], np.mean),
        lambda: paired_test([1.0, math.inf], [1.0, 2.0]),
        lambda: effect_size([1.0, math.inf], [1.0, 2.0]),
    ):
        with pytest.raises(ValueError, match="bootstrap_interval, which takes the median"):
            call()


def test_paired_test_against_scipy():
    found = paired_test(A, B)
    t, wilcoxon = stats.ttest_rel(A, B), stats.wilcoxon(A, B)
    interval = t.confidence_interval()
    assert found == pytest.approx((np.mean(A - B), *interval, t.pvalue, wilcoxon.pvalue), rel=1e-10)
    # pairing matters: the same values in another order are another result
    assert paired_test(A, B[::-1]).t_p != pytest.approx(found.t_p)


def test_paired_test_of_constant_differences():
    assert paired_test(A, A)[3:] == (1.0, 1.0)
    shifted = paired_test([1.0, 2.0, 3.0], [0.5, 1.5, 2.5])
    assert (shifted.t_p, shifted.low, shifted.high) == (0.0, 0.5, 0.5)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.4, 0.9]).tolist() == pytest.approx([0.8, 0.9])
    assert holm([0.6, 0.7]).tolist() == [1.0, 1.0]
    assert holm({"x": 0.5}) == {"x": 0.5}
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([0.1, 1.2])


def test_holm_keeps_the_familywise_error():
    p = np.random.default_rng(0).uniform(size=(4000, 5))
    assert np.mean([holm(row).min() < 0.05 for row in p]) == pytest.approx(0.05, abs=0.012)


def test_effect_sizes_by_hand():
    paired = effect_size(A, B)
    d = np.mean(A - B) / np.std(A - B, ddof=1)
    assert paired.d == pytest.approx(d)
    assert paired.g == pytest.approx(d * math.gamma(2) / (math.sqrt(2) * math.gamma(1.5)))
    apart = effect_size(A, B[:4], paired=False)
    pooled = math.sqrt((4 * A.var(ddof=1) + 3 * B[:4].var(ddof=1)) / 7)
    assert apart.d == pytest.approx((A.mean() - B[:4].mean()) / pooled)
    assert apart.g / apart.d == pytest.approx(1 - 3 / (4 * 7 - 1), abs=1e-3)
    assert effect_size(A, A) == (0, 0)
    assert effect_size(A + 0.5, A) > (1e6,) or effect_size([2.0, 3.0], [1.0, 2.0]).d == math.inf


def test_hedges_is_unbiased():
    generator = np.random.default_rng(0)
    found = [effect_size(generator.normal(0.8, 1, 5), generator.normal(0, 1, 5), paired=False) for _ in range(4000)]
    assert np.mean([e.g for e in found]) == pytest.approx(0.8, abs=0.03)
    assert np.mean([e.d for e in found]) > 0.84


def test_equivalence_needs_the_interval_inside_the_margin():
    for margin in (0.2, 1.0, 1.2, 2.0, 5.0):
        found = equivalence(A, B, margin)
        low, high = mean_interval(A - B, 0.9)[1:]
        assert (found.low, found.high) == pytest.approx((low, high))
        assert found.equivalent == (-margin < low and high < margin)
        assert found.equivalent == (found.p < 0.05)
    assert equivalence(A, A, 0.1).equivalent
    assert not equivalence([2.0, 3.0, 4.0], [1.0, 2.0, 3.0], 0.5).equivalent
    with pytest.raises(ValueError, match="margin must be positive"):
        equivalence(A, B, 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_interval([1.0]), "at least two"),
        (lambda: mean_interval([[1.0, 2.0]]), "one dimension"),
        (lambda: mean_interval(A, level=95), "level must lie"),
        (lambda: bootstrap_interval([1.0, math.nan]), "no NaN"),
        (lambda: paired_test(A, B[:3]), "equal lengths"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
