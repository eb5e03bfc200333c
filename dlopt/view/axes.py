"""What stands around the lines of a figure: names of axes and series, ticks, guides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dlopt.lab.optional import require

from .style import FONT, INK, SMALL, Look

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_LINE_HEIGHT = 1.3 * FONT


def head(axes: Any, ylabel: str, note: str = "") -> None:
    """Name the y axis above it, where it reads without a turn of the head; `note` says what is drawn."""
    axes.set_title(ylabel, loc="left")
    if note:
        axes.set_title(note, loc="right", fontsize=SMALL, alpha=0.75)


def metric_name(column: str) -> str:
    """How a column of results is written on an axis.

    >>> metric_name("val_loss"), metric_name("train_accuracy"), metric_name("gap")
    ('validation loss', 'training accuracy', 'gap')
    """
    long = {"val": "validation", "train": "training"}
    return " ".join(long.get(word, word) for word in column.split("_"))


def check_log(log: str) -> str:
    """Which axes are logarithmic: "", "x", "y" or "xy".

    Raises:
        ValueError: for anything else.

    >>> check_log("yx")
    'xy'
    """
    if not isinstance(log, str) or set(log) - set("xy") or len(set(log)) != len(log):
        raise ValueError(f"log={log!r} must be '', 'x', 'y' or 'xy'")
    return "".join(sorted(log))


def set_scales(axes: Any, log: str) -> None:
    """Make the named axes logarithmic, and give both few and readable ticks. Call when limits are set."""
    ticker = require("matplotlib.ticker")
    for name, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
        if name in log:
            getattr(axes, f"set_{name}scale")("log")
            low, high = sorted(axis.get_view_interval())
            ticks = log_ticks(low, high)
            axis.set_major_locator(ticker.FixedLocator(ticks))
            axis.set_major_formatter(ticker.FixedFormatter(log_labels(ticks)))
            axis.set_minor_locator(ticker.NullLocator())
        else:
            axis.set_major_locator(ticker.MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
            axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:.5g}".replace("-", "−")))


def log_ticks(low: float, high: float, most: int = 7) -> list[float]:
    """At most `most` round numbers from `low` to `high`, even on a logarithmic axis.

    >>> log_ticks(0.0008, 2.0)
    [0.001, 0.01, 0.1, 1.0]
    >>> log_ticks(0.3, 4.0)
    [0.5, 1.0, 2.0]
    >>> log_ticks(2.62, 3.11)
    [2.7, 2.8, 2.9, 3.0, 3.1]
    """
    first, last = int(np.floor(np.log10(low))), int(np.ceil(np.log10(high)))
    decades = [d for d in range(first, last + 1) if low * (1 - 1e-9) <= 10.0**d <= high * (1 + 1e-9)]
    if len(decades) >= 3:
        stride = -(-len(decades) // most)
        return [float(f"1e{d}") for d in decades if (d - decades[-1]) % stride == 0]
    for digits in ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
        ticks = [float(f"{m}e{d}") for d in range(first, last + 1) for m in digits]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) >= 3:
            return ticks[:: -(-len(ticks) // most)]
    size = 10.0 ** np.floor(np.log10(high - low))
    steps = (size, 0.5 * size, 0.2 * size, 0.1 * size)
    step = next(step for step in steps if np.floor(high / step) - np.ceil(low / step) >= 2)
    ticks = [float(f"{k * step:.6g}") for k in np.arange(np.ceil(low / step), np.floor(high / step) + 1)]
    return ticks[:: -(-len(ticks) // most)]


def log_labels(ticks: Sequence[float]) -> list[str]:
    """All plain numbers, or all powers of ten where plain ones would be long.

    >>> log_labels([0.01, 1.0]), log_labels([1e-8, 1e-4])
    (['0.01', '1'], ['10⁻⁸', '10⁻⁴'])
    """
    exponents = [np.log10(tick) for tick in ticks]
    whole = all(abs(e - round(e)) < 1e-9 for e in exponents)
    if whole and exponents and (min(exponents) < -4 or max(exponents) > 4):
        return ["10" + str(round(e)).translate(_RAISED) for e in exponents]
    return [f"{tick:g}" for tick in ticks]


def guides(axes: Any, vlines: Mapping[str, float], hlines: Mapping[str, float]) -> None:
    """Thin dashed lines at named places: names of vertical ones stand at the top, of others at the right."""
    thin: dict[str, Any] = {"color": INK, "alpha": 0.6, "linewidth": 1.0, "linestyle": (0, (4, 3))}
    for name, place in vlines.items():
        axes.axvline(place, **thin)
        axes.annotate(
            name, (place, 1), (4, -2), xycoords=("data", "axes fraction"), textcoords="offset points",
            va="top", fontsize=SMALL,
        )  # fmt: skip
    for name, place in hlines.items():
        axes.axhline(place, **thin)
        axes.annotate(
            name, (1, place), (-2, 3), xycoords=("axes fraction", "data"), textcoords="offset points",
            ha="right", va="bottom", fontsize=SMALL,
        )  # fmt: skip


End = tuple[str, float, float, Look]
"""The name of a series, where it ends (x, y), and how it looks."""


def name_series(figure: Any, axes: Any, ends: Sequence[End], where: str = "auto") -> None:
    """Name each series: beside its end (x, y) where names are short, otherwise in rows above the axes.

    Neither place can cover a line. Names at the ends are moved apart where they would overlap, and joined to
    their line by a hair line. A series with a non-finite end sends all names above.

    Raises:
        ValueError: if `where` is not "auto", "end" or "above".
    """
    if where not in ("auto", "end", "above"):
        raise ValueError(f"labels={where!r} must be 'auto', 'end' or 'above'")
    fits = len(ends) <= 8 and all(len(name) <= 14 and np.isfinite([x, y]).all() for name, x, y, _ in ends)
    if where == "above" or (where == "auto" and not fits):
        rows_above(figure, axes)
    elif ends:
        _names_at_ends(figure, axes, ends)


def rows_above(figure: Any, axes: Any) -> None:
    """A legend above the axes, with as many columns as the figure's width has room for."""
    handles, names = axes.get_legend_handles_labels()
    for columns in range(len(names), 0, -1):
        legend = figure.legend(handles, names, loc="outside upper left", ncols=columns)
        width = legend.get_window_extent().width
        if width <= figure.bbox.width - 10 or columns == 1:
            return
        legend.remove()


def _names_at_ends(figure: Any, axes: Any, ends: Sequence[End]) -> None:
    texts = []
    for name, _, y, _ in ends:
        keywords = {"textcoords": "offset points", "va": "center", "annotation_clip": False}
        texts.append(axes.annotate(name, (1, y), (9, 0), xycoords=("axes fraction", "data"), **keywords))
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    pixels = axes.transData.transform([(x, y) for _, x, y, _ in ends])
    top = axes.bbox.y1
    heights = spread(pixels[:, 1].tolist(), _LINE_HEIGHT, axes.bbox.y0, top)
    right = axes.bbox.x1 + 9
    for text, (px, py), height, (_, _, _, look) in zip(texts, pixels, heights, ends, strict=True):
        text.xyann = (9, height - py)
        if abs(height - py) > 3 or right - px > 12:
            _hair(axes, (px, py), (right - 2, height), look.color)


def _hair(axes: Any, start: tuple[float, float], end: tuple[float, float], color: str) -> None:
    inverse: Callable[..., Any] = axes.transAxes.inverted().transform
    (x0, y0), (x1, y1) = inverse(start), inverse(end)
    keywords = {"transform": axes.transAxes, "clip_on": False, "zorder": 1}
    axes.plot([x0, x1], [y0, y1], color=color, linewidth=0.9, **keywords)


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Heights at least `gap` apart, in the order of `places`, moved as little as a simple rule moves them.

    Neighbours that are too close become a group that stands around its mean; the whole is kept in `low` to
    `high` where it fits.

    >>> spread([10.0, 11.0, 40.0], gap=10.0, low=0.0, high=100.0)
    [5.5, 15.5, 40.0]
    """
    order = sorted(range(len(places)), key=lambda i: places[i])
    groups: list[tuple[float, list[int]]] = []
    for index in order:
        groups.append((_inside(places[index], 1, gap, low, high), [index]))
        while len(groups) > 1:
            (below, lower), (above, upper) = groups[-2:]
            if above - below >= gap * (len(lower) + len(upper)) / 2:
                break
            members = lower + upper
            mean = sum(places[i] for i in members) / len(members)
            groups[-2:] = [(_inside(mean, len(members), gap, low, high), members)]
    result = [0.0] * len(places)
    for mean, members in groups:
        for rank, index in enumerate(members):
            result[index] = mean + gap * (rank - (len(members) - 1) / 2)
    return result


def _inside(mean: float, count: int, gap: float, low: float, high: float) -> float:
    half = gap * (count - 1) / 2
    return max(min(mean, high - half), low + half)
