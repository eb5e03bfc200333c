"""Many methods beside one another: a row each, with a sign and an interval for every task."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .axes import check_log, rows_above, set_scales
from .figure import Figure, canvas, finish
from .style import FONT, INK, look

if TYPE_CHECKING:
    import pandas

_SPREAD = 0.66  # of a row's height, over which its signs are spread
_NEEDED = ("centre", "low", "high")


def dots(
    frame: pandas.DataFrame,
    *,
    alt: str,
    xlabel: str,
    row: str = "method",
    by: str = "task",
    log: str = "",
    vline: float | None = None,
    right: float | None = None,
    caption: str | None = None,
    height: float = 420,
) -> Figure:
    """Estimates with intervals: a row for each value of `row`, in it a sign for each value of `by`.

    An estimate that is not finite, or beyond `right`, is a triangle at the right edge.

    Args:
        frame: one row a sign: columns `row`, `by`, `centre`, `low`, `high`; a low or high that is NaN is not drawn.
            Rows and signs keep the frame's order.
        log: "" or "x".
        vline: where to draw a thin line to compare with.
        right: the right end of the axis.

    Returns:
        The figure; its `data` are the frame.

    Raises:
        ValueError: if `alt` is too short, a column is missing, nothing is finite, or a sign stands twice.

    >>> import pandas as pd
    >>> table = pd.DataFrame({"method": ["SGD", "Adam"], "task": "digits", "centre": [1.0, 2.0]})
    >>> figure = dots(table.assign(low=0.9, high=2.1), xlabel="loss", alt="Loss of SGD and of Adam, with intervals.")
    >>> figure.data["centre"].tolist()
    [1.0, 2.0]
    """
    absent = [name for name in (row, by, *_NEEDED) if name not in frame.columns]
    if absent:
        raise ValueError(f"the frame has no column {', '.join(absent)}")
    if frame.duplicated([row, by]).any():
        raise ValueError(f"several signs for one {row} and {by}")
    if check_log(log) not in ("", "x"):
        raise ValueError(f"log={log!r} must be '' or 'x': rows are names")
    values = frame[list(_NEEDED)].to_numpy(dtype=float)
    drawn = values[np.isfinite(values) & (values <= (np.inf if right is None else right))]
    if not len(drawn) or ("x" in log and drawn.min() <= 0):
        raise ValueError("there is nothing finite to draw, or a value that a logarithmic axis cannot show")
    names, groups = list(dict.fromkeys(frame[row])), list(dict.fromkeys(frame[by]))
    with canvas(alt, height) as (figure, axes):
        low, high = drawn.min(), drawn.max() if right is None else right
        if "x" in log:
            margin = (high / low) ** 0.03
            axes.set_xlim(low / margin, high * margin)
        else:
            margin = 0.03 * ((high - low) or abs(high) or 1.0)
            axes.set_xlim(low - margin, high + margin)
        for index, name in enumerate(groups):
            style, group = look(index), frame[frame[by] == name]
            offset = _SPREAD * ((index + 0.5) / len(groups) - 0.5)
            heights = np.array([names.index(value) + offset for value in group[row]])
            centre, left, end = (group[column].to_numpy(dtype=float) for column in _NEEDED)
            inside = np.isfinite(centre) & (centre <= high)
            axes.hlines(heights[inside], left[inside], end[inside], color=style.color, linewidth=1.6, alpha=0.75)
            axes.plot(centre[inside], heights[inside], style.marker, color=style.color, label=str(name))
            place = {"transform": axes.get_yaxis_transform(), "clip_on": False}
            axes.plot(np.full((~inside).sum(), 1.0), heights[~inside], ">", color=style.color, markersize=7, **place)
        for border in range(len(names) - 1):
            axes.axhline(border + 0.5, color=INK, alpha=0.15, linewidth=0.8)
        if vline is not None:
            axes.axvline(vline, color=INK, alpha=0.6, linewidth=1.0, linestyle=(0, (4, 3)))
        set_scales(axes, log)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_yticks(range(len(names)), [str(name) for name in names], fontsize=FONT)
        axes.grid(False, axis="y")
        axes.set_xlabel(xlabel)
        rows_above(figure, axes)
        return finish(figure, alt, caption, frame)
