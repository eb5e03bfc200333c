"""Many runs of a method as one line and a band: what the plots draw, computed apart from the drawing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dlopt.lab.optional import require
from dlopt.lab.statistics import bootstrap_interval, mean_interval

if TYPE_CHECKING:
    import pandas

_STOPPED = "some runs stopped at their target and have no later rows: compare them by the steps they took"

WORSE_THAN_START = 3.0
"""A final loss above this many times the first one counts as diverged, unless a limit is given."""


def bands(
    frame: pandas.DataFrame,
    *,
    x: str,
    y: str,
    by: str,
    interval: float = 0.95,
    centre: str = "mean",
    best: str | None = None,
    relative: bool = False,
) -> pandas.DataFrame:
    """Centre and interval of metric `y` over seeds, for each method and each `x`.

    A run that diverged (the column `diverged` says so, or its metric is not finite, or its rows end before
    those of the others) counts as infinitely bad from there on. It is never left out: the mean is then
    infinite, and the median is once half of the runs are. Places `x` where no run has a value were not
    measured.

    Args:
        frame: tidy, one row for each method, seed and `x`, as `dlopt.lab.run` returns it; the columns `seed`
            and `diverged` may be absent.
        x, y, by: names of columns.
        interval: coverage, between 0 and 1: a t interval for the mean, a percentile bootstrap for the median.
        centre: "mean" or "median".
        best: "min" or "max", which way `y` improves; if None, "max" for accuracies and "min" otherwise.
        relative: for a logarithmic axis: the t interval of the mean as a factor, ``exp(± t * error / mean)``,
            where all values are positive. It is that of the mean's logarithm, to first order in the error,
            and never reaches zero.

    Returns:
        Columns `by`, `x`, `runs`, `diverged`, `centre`, `low`, `high`, methods in the order of the frame.
        `low` and `high` are NaN where there are fewer than two runs or the mean is infinite.

    Raises:
        ValueError: if a column is missing, if the frame holds several runs of one method, seed and `x`
            (another setting differs: filter first), if runs of one method were measured at different `x`, or
            if runs stopped early because they reached their target.

    >>> import pandas as pd
    >>> runs = pd.DataFrame({"method": "sgd", "seed": [0, 1, 2], "step": 5, "val_loss": [1.0, 2.0, 3.0]})
    >>> bands(runs, x="step", y="val_loss", by="method").iloc[0, -3:].astype(float).round(3).tolist()
    [2.0, -0.484, 4.484]
    """
    if not 0 < interval < 1:
        raise ValueError(f"interval={interval} must lie between 0 and 1")
    if centre not in ("mean", "median"):
        raise ValueError(f"centre={centre!r} must be 'mean' or 'median'")
    worst = -np.inf if direction(y, best) == "max" else np.inf
    frame = _checked(frame, [by, x], y, worst)
    pandas_module = require("pandas")
    measured = _measured(frame, x, y)
    parts = []
    for name, group in frame.groupby(by, sort=False):
        table = group.pivot(index=x, columns="seed", values=y)
        table = table.loc[table.index.isin(measured)]
        lost = table.isna()
        if (lost & table.notna()[::-1].cummax()[::-1]).any().any():
            raise ValueError(f"runs of {by}={name!r} were measured at different {x}: bring them to one grid")
        if "diverged" in frame.columns and lost.any().any():
            raise ValueError(_STOPPED)
        values = table.to_numpy(dtype=float)
        values = np.where(np.isfinite(values), values, worst)
        data = pandas_module.DataFrame({by: name, x: table.index, "runs": values.shape[1]})
        data["diverged"] = np.isinf(values).sum(axis=1)
        data[["centre", "low", "high"]] = [_interval(row, interval, centre, relative) for row in values]
        parts.append(data)
    return pandas_module.concat(parts, ignore_index=True)


def direction(metric: str, best: str | None) -> str:
    """Which way a metric improves: `best` if given, else "max" for accuracies and "min" for all else.

    >>> direction("val_accuracy", None), direction("val_loss", None)
    ('max', 'min')
    """
    if best not in (None, "min", "max"):
        raise ValueError(f"best={best!r} must be 'min', 'max' or None")
    return best or ("max" if "acc" in metric.lower() else "min")


def final(
    frame: pandas.DataFrame,
    metric: str,
    *,
    by: str,
    lr: str,
    step: str,
    best: str | None = None,
    limit: float | None = None,
) -> pandas.DataFrame:
    """The metric at the end of each run: one row for each method, learning rate and seed.

    A run that diverged, as `bands` sees it, or ends worse than `limit`, is infinitely bad. Without a limit, a
    loss that ends above 3 times the median loss of the first measured step has diverged. A frame without the
    column `step` holds final values already.
    """
    way = direction(metric, best)
    worst = -np.inf if way == "max" else np.inf
    stepped = step in frame.columns
    ends = _checked(frame, [by, lr] + [step] * stepped, metric, worst).reset_index(drop=True)
    sound = ends[metric].notna()
    if stepped:
        measured = _measured(ends, step, metric)
        ends = ends[ends[step].isin(measured)]
        if limit is None and way == "min" and len(measured) > 1:
            limit = WORSE_THAN_START * float(ends.loc[ends[step] == measured.min(), metric].median())
        ends = ends.sort_values(step, kind="stable")
        ends = ends.drop_duplicates([by, lr, "seed"], keep="last").sort_index()
        in_time = ends[step] == measured.max()
        if "diverged" in ends.columns and not in_time.all():
            raise ValueError(_STOPPED)
        sound = ends[metric].notna() & in_time
    if limit is not None:
        sound &= ends[metric] <= limit if way == "min" else ends[metric] >= limit
    return ends.assign(**{metric: ends[metric].where(sound, worst)})


def _checked(frame: pandas.DataFrame, keys: list[str], y: str, worst: float) -> pandas.DataFrame:
    """The frame with one row for each of `keys` and the seed, and `worst` where a run says it diverged."""
    for column in (*keys, y):
        if column not in frame.columns:
            raise ValueError(f"the frame has no column {column!r}, only {', '.join(map(str, frame.columns))}")
    if len(frame) == 0:
        raise ValueError("the frame is empty")
    if "seed" not in frame.columns:
        frame = frame.assign(seed=0)
    twice = frame.duplicated([*keys, "seed"])
    if twice.any():
        row = frame[twice].iloc[0]
        where = ", ".join(f"{column}={row[column]!r}" for column in (*keys, "seed"))
        raise ValueError(
            f"several rows for {where}: the frame mixes runs that differ in another column; choose among them"
        )
    if "diverged" in frame.columns:
        frame = frame.assign(**{y: frame[y].astype(float).mask(frame["diverged"].astype(bool), worst)})
    return frame


def _measured(frame: pandas.DataFrame, x: str, y: str) -> Any:
    """The places where some run has a value; the end too, if only divergence explains that it has none."""
    some = frame[y].notna().groupby(frame[x]).any()
    last = some[some].index.max()
    gaps = not some[:last].all()
    return some.index[some] if gaps else some.index


def _interval(values: np.ndarray, interval: float, centre: str, relative: bool) -> tuple[float, float, float]:
    """Centre, low and high of one number a run; a mean of runs of which one diverged is infinite."""
    middle = float(np.mean(values) if centre == "mean" else np.median(values))
    if len(values) < 2 or (centre == "mean" and np.isinf(middle)):
        return middle, np.nan, np.nan
    found = mean_interval(values, interval) if centre == "mean" else bootstrap_interval(values, level=interval)
    if relative and centre == "mean" and (values > 0).all():
        factor = float(np.exp((found.high - middle) / middle))
        return middle, middle / factor, middle * factor
    return middle, found.low, found.high
