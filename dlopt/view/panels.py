"""The same small picture over and over: a panel for each method, in it a line for each task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from .axes import check_log, log_labels, log_ticks, rows_above, set_scales
from .figure import Figure, canvas, finish
from .style import FONT, SMALL, look

if TYPE_CHECKING:
    import pandas


def panels(
    frame: pandas.DataFrame,
    *,
    alt: str,
    x: str,
    y: str,
    panel: str = "method",
    by: str = "task",
    log: str = "xy",
    top: float | None = None,
    vlines: Mapping[str, float] | None = None,
    columns: int = 3,
    xlabel: str | None = None,
    ylabel: str | None = None,
    caption: str | None = None,
    height: float = 560,
) -> Figure:
    """Lines y(x) in panels that share the y axis and the looks of the lines; each has its own x axis.

    Args:
        frame: columns `panel`, `by`, `x`, `y`, one row a point; panels and lines keep its order.
        log: "", "x", "y" or "xy", the logarithmic axes.
        top: the upper end of the y axis; what lies above it, or is not finite, is drawn on it.
        vlines: panel → a place on its x axis, drawn as a thin line.
        columns: panels in a row, 1 to 4.

    Returns:
        The figure; its `data` are the frame.

    Raises:
        ValueError: if `alt` is too short, a column is missing, nothing is finite, or `columns` is out of range.

    >>> import pandas as pd
    >>> table = pd.DataFrame({"method": ["SGD", "SGD", "Adam", "Adam"], "task": "digits", "lr": [1, 2, 1, 2]})
    >>> figure = panels(table.assign(loss=[3.0, 2.0, 1.0, 4.0]), x="lr", y="loss", alt="Loss against learning rate.")
    >>> len(figure.data)
    4
    """
    log = check_log(log)
    absent = [name for name in (panel, by, x, y) if name not in frame.columns]
    if absent:
        raise ValueError(f"the frame has no column {', '.join(absent)}")
    if not 1 <= columns <= 4:
        raise ValueError(f"columns={columns} must be 1 to 4")
    values = frame[y].to_numpy(dtype=float)
    sound = values[np.isfinite(values)]
    if not len(sound):
        raise ValueError("there is nothing finite to draw")
    names, groups = list(dict.fromkeys(frame[panel])), list(dict.fromkeys(frame[by]))
    low, high = sound.min(), top or sound.max()
    margin = (high / low) ** 0.06 if "y" in log else 0.06 * ((high - low) or 1.0)
    limits = (low / margin, high * margin) if "y" in log else (low - margin, high + margin)
    with canvas(alt, height) as (figure, first):
        first.remove()
        grid = figure.subplots(-(-len(names) // columns), columns, sharey=True, squeeze=False).ravel()
        for axes, name in zip(grid, names, strict=False):
            chosen = frame[frame[panel] == name]
            for index, group_name in enumerate(groups):
                group = chosen[chosen[by] == group_name].sort_values(x)
                up = group[y].to_numpy(dtype=float)
                shown = np.minimum(np.where(np.isfinite(up), up, np.inf), high)
                axes.plot(group[x], shown, label=str(group_name), **look(index).line() | {"markersize": 4})
            if vlines and name in vlines:
                axes.axvline(vlines[name], color=look(0).color, alpha=0.5, linewidth=1.0, linestyle=(0, (4, 3)))
            axes.set_ylim(*limits)
            set_scales(axes, log)
            if "x" in log:  # there is room for few names
                left, right = sorted(axes.xaxis.get_view_interval())
                ticks = log_ticks(left, right, most=3)
                axes.set_xticks(ticks, log_labels(ticks))
            axes.set_title(str(name), fontsize=FONT)
        for axes in grid[len(names) :]:
            axes.set_visible(False)
        figure.supxlabel(xlabel or x, fontsize=FONT)
        figure.supylabel(ylabel or y, fontsize=FONT)
        for axes in grid:
            axes.tick_params(labelsize=SMALL - 1)
        rows_above(figure, grid[0])
        return finish(figure, alt, caption, frame)
