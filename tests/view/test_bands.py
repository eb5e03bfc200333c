"""Centres and intervals against SciPy, and what becomes of runs that diverge."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dlopt.view.bands import bands, final

from . import samples

NAMES = {"x": "step", "y": "val_loss", "by": "method"}


def table(values, **columns):
    """Runs of one method: values[seed][step]."""
    rows = [(seed, step, value) for seed, run in enumerate(values) for step, value in enumerate(run)]
    return pd.DataFrame(rows, columns=["seed", "step", "val_loss"]).assign(method="SGD", **columns)


@pytest.mark.parametrize("interval", [0.5, 0.95])
def test_mean_and_t_interval_are_scipys(interval):
    runs = samples.runs(steps=4)
    data = bands(runs, **NAMES, interval=interval)
    for row in data.itertuples():
        values = runs.query("method == @row.method and step == @row.step")["val_loss"]
        low, high = stats.t.interval(interval, len(values) - 1, values.mean(), stats.sem(values))
        assert (row.centre, row.low, row.high) == pytest.approx((values.mean(), low, high), rel=1e-12)
    assert data["method"].unique().tolist() == runs["method"].unique().tolist()
    assert data["runs"].eq(5).all() and data["diverged"].eq(0).all()


def test_on_a_logarithmic_axis_the_interval_is_that_of_the_logarithm_and_stays_positive():
    values = np.random.default_rng(0).lognormal(sigma=0.1, size=(20, 1))
    row = bands(table(values), **NAMES, relative=True).iloc[0]
    low, high = stats.t.interval(0.95, 19, np.log(values).mean(), stats.sem(np.log(values[:, 0])))
    assert np.log(row["high"] / row["low"]) == pytest.approx(high - low, rel=0.1)
    wild = bands(table([[1e-3], [1.0], [2e-3]]), **NAMES, relative=True).iloc[0]
    assert 0 < wild["low"] < wild["centre"] < wild["high"]
    with_zero = bands(table([[0.0], [1.0], [2.0]]), **NAMES, relative=True).iloc[0]
    assert with_zero["low"] == pytest.approx(1 - 2.484, abs=1e-3)


@pytest.mark.parametrize("interval", [0.5, 0.95])
def test_median_and_bootstrap_are_scipys(interval):
    values = np.random.default_rng(1).lognormal(size=(15, 1))
    row = bands(table(values), **NAMES, centre="median", interval=interval).iloc[0]
    expected = stats.bootstrap(
        (values[:, 0],), np.median, confidence_level=interval, method="percentile", n_resamples=20_000, rng=7
    )
    ranks = np.searchsorted(np.sort(values[:, 0]), [row["low"], row["high"]])
    expected_ranks = np.searchsorted(np.sort(values[:, 0]), expected.confidence_interval)
    assert row["centre"] == np.median(values)
    assert abs(ranks - expected_ranks).max() <= 1


def test_one_run_has_no_band():
    data = bands(table([[2.0, 1.0]]), **NAMES)
    assert data["centre"].tolist() == [2, 1] and data[["low", "high"]].isna().all().all()


def test_no_column_seed_means_one_run():
    assert bands(table([[2.0, 1.0]]).drop(columns="seed"), **NAMES)["runs"].tolist() == [1, 1]


DIVERGED = [[3.0, 2.0, 1.0], [3.0, 2.0, 1.2], [3.0, np.nan, np.nan]]


@pytest.mark.parametrize("how", ["nan", "inf", "rows end"])
def test_a_run_that_diverged_is_infinitely_bad_and_counted(how):
    runs = table(DIVERGED)
    if how == "inf":
        runs = runs.fillna(np.inf)
    if how == "rows end":
        runs = runs.dropna()
    mean, median = (bands(runs, **NAMES, centre=centre) for centre in ("mean", "median"))
    assert mean["diverged"].tolist() == [0, 1, 1] and mean["runs"].tolist() == [3, 3, 3]
    assert mean["centre"].tolist() == [3, np.inf, np.inf]
    assert median["centre"].tolist() == [3, 2, 1.2] and median["high"].tolist() == [3, np.inf, np.inf]


def test_a_run_that_says_it_diverged_is_believed():
    runs = table([[0.5, 0.9], [0.5, 0.0]]).rename(columns={"val_loss": "val_accuracy"})
    runs["diverged"] = [False, False, False, True]
    data = bands(runs, **NAMES | {"y": "val_accuracy"})
    assert data["diverged"].tolist() == [0, 1] and data["centre"].tolist() == [0.5, -np.inf]
    ends = final(runs.assign(lr=0.1), "val_accuracy", by="method", lr="lr", step="step")
    assert ends["val_accuracy"].tolist() == [0.9, -np.inf]


def test_runs_that_stopped_at_their_target_are_not_taken_for_diverged():
    runs = table([[3.0, 2.0, 1.0], [3.0, 0.5]], diverged=False, lr=0.1)
    with pytest.raises(ValueError, match="stopped at their target"):
        bands(runs, **NAMES)
    with pytest.raises(ValueError, match="stopped at their target"):
        final(runs, "val_loss", by="method", lr="lr", step="step")


def test_final_refuses_a_mixture_of_settings():
    runs = pd.concat([table([[1.0, 2.0]], lr=0.1, momentum=m) for m in (0.0, 0.9)])
    with pytest.raises(ValueError, match="mixes runs"):
        final(runs, "val_loss", by="method", lr="lr", step="step")


def test_accuracy_diverges_downwards():
    runs = table(DIVERGED).rename(columns={"val_loss": "val_accuracy"})
    names = NAMES | {"y": "val_accuracy"}
    assert bands(runs, **names)["centre"].tolist() == [3, -np.inf, -np.inf]
    assert bands(runs, **names, best="min")["centre"].tolist() == [3, np.inf, np.inf]


def test_all_runs_diverging_at_the_end_is_not_taken_for_not_measured():
    assert bands(table([[1.0, np.nan]] * 2), **NAMES)["diverged"].tolist() == [0, 2]


def test_steps_without_a_measurement_are_skipped():
    data = bands(table([[3.0, np.nan, 2.0, np.nan]] * 2), **NAMES)
    assert data["step"].tolist() == [0, 2] and data["diverged"].eq(0).all()


@pytest.mark.parametrize(
    "runs, reason",
    [
        (pd.concat([table([[1.0]], lr=0.1), table([[2.0]], lr=0.2)]), "mixes runs"),
        (table([[1.0, np.nan, 3.0], [1.0, 2.0, 3.0]]), "measured at different step"),
        (table([[1.0]]).drop(columns="val_loss"), "no column 'val_loss'"),
        (table([[1.0]]).iloc[:0], "empty"),
    ],
)
def test_frames_that_cannot_be_summed_up_are_refused(runs, reason):
    with pytest.raises(ValueError, match=reason):
        bands(runs, **NAMES)


@pytest.mark.parametrize("wrong", [{"interval": 95}, {"centre": "mode"}, {"best": "high"}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        bands(table([[1.0]]), **NAMES, **wrong)


def test_final_takes_the_last_row_and_counts_runs_that_ended_early_or_worse_than_they_began():
    runs = pd.concat(
        [
            table([[2.0, 1.0, 0.5]], lr=0.1),
            table([[2.0, 1.5]], lr=1.0),
            table([[2.0, 50.0, 7.0]], lr=2.0),
            table([[2.0, 4.0, 5.0]], lr=3.0),
        ]
    )
    ends = final(runs, "val_loss", by="method", lr="lr", step="step").set_index("lr")["val_loss"]
    assert ends.to_dict() == {0.1: 0.5, 1.0: np.inf, 2.0: np.inf, 3.0: 5.0}
    strict = final(runs, "val_loss", by="method", lr="lr", step="step", limit=1.0).set_index("lr")["val_loss"]
    assert strict.to_dict() == {0.1: 0.5, 1.0: np.inf, 2.0: np.inf, 3.0: np.inf}
