"""The learning-rate sweep: how good each method gets at each rate, and where it breaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .axes import check_log, head, metric_name, name_series, set_scales
from .bands import bands, direction, final
from .curves import limits_of, line_and_band, note
from .figure import Figure, canvas, finish
from .style import INK, SMALL, Look, look

if TYPE_CHECKING:
    import pandas


def lr_sweep(
    frame: pandas.DataFrame,
    metric: str = "val_loss",
    *,
    alt: str,
    by: str = "method",
    lr: str = "lr",
    step: str = "step",
    interval: float = 0.95,
    centre: str = "mean",
    best: str | None = None,
    limit: float | None = None,
    log: str = "x",
    xlabel: str = "learning rate",
    ylabel: str | None = None,
    caption: str | None = None,
    height: float = 320,
) -> Figure:
    """The final metric against the learning rate, one line for each method, with an interval band over seeds.

    The best rate of each method is ringed and stands in its name, with a word if it lies on the edge of the
    grid, where the grid should be extended. Rates at which runs diverged stand as triangles in a strip at the
    edge, with the number of runs that diverged.

    Args:
        frame: tidy runs: columns `by`, `lr`, `metric`, `seed` and, unless only final rows are given, `step`.
        limit: a run that ends worse than this has diverged; see `dlopt.view.bands.final` for the default.
        log: the logarithmic axes, "x" or "xy".

    Returns:
        The figure; its `data` are those of `bands`, with the column `best` (bool).

    Raises:
        ValueError: if `alt` is too short, or as `bands` does.

    >>> import pandas as pd
    >>> ends = pd.DataFrame({"method": "sgd", "lr": [0.01, 0.1, 1.0], "val_loss": [1.5, 0.4, float("inf")]})
    >>> figure = lr_sweep(ends, alt="Final loss of SGD against the rate: best at 0.1, diverged at 1.")
    >>> figure.data.loc[figure.data["best"], "lr"].item(), figure.data["diverged"].tolist()
    (0.1, [0, 0, 1])
    """
    log = check_log(log)
    if "x" not in log:
        raise ValueError("learning rates stand on a logarithmic axis: log must be 'x' or 'xy'")
    way = direction(metric, best)
    with canvas(alt, height) as (figure, axes):
        ends = final(frame, metric, by=by, lr=lr, step=step, best=best, limit=limit)
        data = bands(ends, x=lr, y=metric, by=by, interval=interval, centre=centre, best=best, relative="y" in log)
        data["best"] = False
        lost = []
        for index, (name, group) in enumerate(data.groupby(by, sort=False)):
            style = look(index)
            group = group.sort_values(lr)
            sound = group[np.isfinite(group["centre"])]
            label = f"{name}, diverges"
            if len(sound):
                top = sound["centre"].idxmin() if way == "min" else sound["centre"].idxmax()
                data.loc[top, "best"] = True
                rate = group.loc[top, lr]
                at_edge = len(group) > 1 and rate in (group[lr].min(), group[lr].max())
                label = f"{name}, best at {rate:.3g}" + " (edge of the grid)" * at_edge
                ring: dict[str, Any] = {"markersize": 13, "fillstyle": "none", "color": style.color}
                axes.plot(rate, sound.loc[top, "centre"], "o", **ring)
            line_and_band(axes, group, lr, style, index, label=label, every=1)
            lost.append((style, group[group["diverged"] > 0]))
        limits_of(axes, data, lr, log)
        set_scales(axes, log)
        _strip(axes, [(style, group) for style, group in lost if len(group)], lr, way)
        axes.set_xlabel(xlabel)
        head(axes, ylabel or f"final {metric_name(metric)}", note(data, interval, centre))
        name_series(figure, axes, [], "above")
        return finish(figure, alt, caption, data)


def _strip(axes: Any, lost: list[tuple[Look, pandas.DataFrame]], x: str, way: str) -> None:
    """A strip at the bad edge of the axes in which each method has a row of triangles where runs diverged."""
    if not lost:
        return
    share = 0.035 + 0.075 * len(lost)
    forward, back = axes.transScale.transform, axes.transScale.inverted().transform
    ticks = axes.get_yticks()
    low, high = axes.get_ylim()
    (_, bottom), (_, top) = forward([(1, low), (1, high)])
    grow = share / (1 - share) * (top - bottom)
    down = way == "max"
    limits = back([(0, bottom - grow * down), (0, top + grow * (not down))])[:, 1]
    axes.set_yticks([tick for tick in ticks if low <= tick <= high], minor=False)
    axes.set_ylim(*limits)
    line = low if down else high
    axes.axhline(line, color=INK, alpha=0.4, linewidth=0.9)
    for row, (style, group) in enumerate(lost):
        level = 1 - (row + 0.7) * share / (len(lost) + 0.4)
        level = 1 - level if down else level
        place: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "clip_on": False}
        sign = "v" if down else "^"
        axes.plot(group[x], [level] * len(group), sign, color=style.color, markersize=7, **place)
        for rate, count, runs in zip(group[x], group["diverged"], group["runs"], strict=True):
            axes.annotate(
                f"{count}/{runs}", (rate, level), (6, 0), xycoords=axes.get_xaxis_transform(),
                textcoords="offset points", va="center", fontsize=SMALL - 1, annotation_clip=False,
            )  # fmt: skip
    axes.annotate(
        "diverged", (0, 0.5 * share if down else 1 - 0.5 * share), (4, 0), xycoords="axes fraction",
        textcoords="offset points", va="center", fontsize=SMALL, alpha=0.75,
    )  # fmt: skip
