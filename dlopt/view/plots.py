"""Curves: a metric over steps, and named lines of any kind.

Every function takes the description `alt` of what is to be seen, a `caption` set below the figure (or None),
the `height` in units of a width of 460, and returns a `Figure`, whose `data` are the numbers drawn. Names are
plain text; write symbols as Unicode ("β = 0.9"), not TeX.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dlopt.lab.optional import require

from .axes import check_log, guides, head, metric_name, name_series, set_scales
from .bands import bands, direction
from .curves import MOST_POINTS, limits_of, line_and_band, note, signs, thin
from .figure import Figure, canvas, finish
from .style import Look, look

if TYPE_CHECKING:
    import pandas
    from numpy.typing import ArrayLike


def loss_curves(
    frame: pandas.DataFrame,
    *,
    alt: str,
    x: str = "step",
    y: str = "val_loss",
    by: str = "method",
    interval: float = 0.95,
    centre: str = "mean",
    best: str | None = None,
    log: str = "",
    labels: str = "auto",
    xlabel: str | None = None,
    ylabel: str | None = None,
    caption: str | None = None,
    height: float = 300,
) -> Figure:
    """A metric over steps: one line for each method, with an interval band over seeds.

    Where a line's centre is no longer finite, it ends in a triangle at the edge of the figure; its name says
    how many of the runs diverged.

    Args:
        frame: tidy runs: columns `by`, `x`, `y` and `seed`.
        interval, centre, best: see `dlopt.view.bands.bands`.
        log: "", "x", "y" or "xy", the logarithmic axes. On a logarithmic y the band is that of the mean's
            logarithm; see `dlopt.view.bands.bands`.
        labels: names of the lines at their "end", in rows "above" the axes, or "auto".

    Returns:
        The figure; its `data` are those of `bands`.

    Raises:
        ValueError: if `alt` is too short, or as `bands` does.

    >>> import pandas as pd
    >>> runs = pd.DataFrame({"method": "sgd", "seed": [0, 0, 1, 1], "step": [1, 2, 1, 2]})
    >>> runs["val_loss"] = [4.0, 2.0, 3.0, 1.0]
    >>> figure = loss_curves(runs, alt="Validation loss over two steps: it falls by 2.")
    >>> figure.data["centre"].tolist()
    [3.5, 1.5]
    """
    log = check_log(log)
    with canvas(alt, height) as (figure, axes):
        data = bands(frame, x=x, y=y, by=by, interval=interval, centre=centre, best=best, relative="y" in log)
        groups = [(name, group) for name, group in data.groupby(by, sort=False)]
        for index, (_, group) in enumerate(groups):
            style = look(index)
            line_and_band(axes, thin(group, x, "x" in log), x, style, index)
        limits_of(axes, data, x, log)
        set_scales(axes, log)
        ends = []
        for index, (name, group) in enumerate(groups):
            ends.append(_end(axes, str(name), group, x, look(index), best=direction(y, best)))
        axes.set_xlabel(xlabel or x)
        head(axes, ylabel or metric_name(y), note(data, interval, centre))
        name_series(figure, axes, ends, labels)
        return finish(figure, alt, caption, data)


def lines(
    series: Mapping[str, tuple[ArrayLike, ArrayLike]],
    *,
    alt: str,
    xlabel: str,
    ylabel: str,
    points: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
    vlines: Mapping[str, float] | None = None,
    hlines: Mapping[str, float] | None = None,
    log: str = "",
    labels: str = "auto",
    caption: str | None = None,
    height: float = 300,
) -> Figure:
    """Named lines y(x), with named points on them and named guides: a rate over the learning rate, say.

    Args:
        series: name to (x, y), two sequences of one length; where y is not finite the line has a gap.
        points: name to (x, y), drawn as open signs without a line: what was measured beside a formula, or the
            place a theory names.
        vlines, hlines: name to a place on the x or y axis, drawn as a thin dashed line.

    Returns:
        The figure; its `data` have the columns `name`, `x`, `y` and `kind` ("line" or "point").

    Raises:
        ValueError: if `alt` is too short, or x and y of a series differ in length or are empty.

    >>> falling = {"1 − x": ([0, 1], [1, 0])}
    >>> figure = lines(falling, xlabel="x", ylabel="rate", alt="The rate falls from 1 to 0.")
    >>> figure.data["y"].tolist()
    [1.0, 0.0]
    """
    log = check_log(log)
    points = points or {}
    with canvas(alt, height) as (figure, axes):
        data = _series_frame(series, points)
        ends = []
        for index, (name, group) in enumerate(data.groupby("name", sort=False)):
            style = look(index)
            if group["kind"].iloc[0] == "point":
                axes.plot(
                    group["x"], group["y"], style.marker, color=style.color, fillstyle="none", markersize=8,
                    markeredgewidth=1.8, label=name, zorder=4,
                )  # fmt: skip
            else:
                group = thin(group.rename(columns={"y": "centre"}), "x", "x" in log, limit=2 * MOST_POINTS)
                every = signs(group, index)
                axes.plot(group["x"], group["centre"], label=name, markevery=every, **style.line())
                last = group[np.isfinite(group["centre"])].iloc[-1]
                ends.append((str(name), float(last["x"]), float(last["centre"]), style))
        guides(axes, vlines or {}, hlines or {})
        set_scales(axes, log)
        axes.set_xlabel(xlabel)
        head(axes, ylabel)
        name_series(figure, axes, ends, "above" if points and labels == "auto" else labels)
        return finish(figure, alt, caption, data)


def _series_frame(series: Mapping[str, Any], points: Mapping[str, Any]) -> pandas.DataFrame:
    pandas_module = require("pandas")
    parts = []
    for kind, group in (("line", series), ("point", points)):
        for name, (x, y) in group.items():
            across, up = np.atleast_1d(np.asarray(x, dtype=float)), np.atleast_1d(np.asarray(y, dtype=float))
            if across.ndim != 1 or across.shape != up.shape or not np.isfinite(up).any():
                raise ValueError(f"{name!r}: x and y must have one length, and y a finite value")
            parts.append(pandas_module.DataFrame({"name": name, "x": across, "y": up, "kind": kind}))
    if not parts:
        raise ValueError("there is nothing to draw: series and points are empty")
    return pandas_module.concat(parts, ignore_index=True)


def _end(
    axes: Any, name: str, group: pandas.DataFrame, x: str, style: Look, best: str
) -> tuple[str, float, float, Look]:
    """Where a curve ends; if it has diverged by then, a triangle at the edge says where."""
    lost, runs = int(group["diverged"].max()), int(group["runs"].max())
    name += f" ({lost} of {runs} diverged)" if lost else ""
    gone = group[~np.isfinite(group["centre"])]
    if len(gone) == 0:
        return name, float(group[x].iloc[-1]), float(group["centre"].iloc[-1]), style
    edge, sign = (0.985, "^") if best == "min" else (0.015, "v")
    place: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "clip_on": False}
    axes.plot(gone[x].iloc[0], edge, sign, color=style.color, markersize=9, **place)
    return name, float("nan"), float("nan"), style
