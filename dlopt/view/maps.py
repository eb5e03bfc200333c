"""Functions of two variables: a landscape with the paths of optimizers on it, and a heat map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dlopt.lab.optional import require

from .axes import check_log, head, name_series, set_scales
from .figure import Figure, canvas, finish
from .style import INK, PALETTE, SMALL, look

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from dlopt.lab.landscapes import Landscape

_MARK = PALETTE[5]  # seen on the colour map and on the page
_GRID = 141
_STEPS_WITH_DOTS = 30


def contours(
    landscape: Landscape,
    paths: Mapping[str, ArrayLike] | None = None,
    *,
    alt: str,
    levels: int = 12,
    xlabel: str = "x",
    ylabel: str = "y",
    caption: str | None = None,
    height: float = 360,
) -> Figure:
    """Level lines of a landscape, darker (on a dark page: lighter) the higher, with paths, start and minima.

    A path of at most 30 steps has a sign at each step, a longer one has eight, equally many steps apart. A
    path that leaves the picture or stops being finite says so in its name.

    Args:
        landscape: one of `dlopt.lab.landscapes`; its start and its minima are marked.
        paths: name to points, shape (steps + 1, 2).
        levels: how many level lines, 3 to 40; fewer for a function with many minima, whose lines weigh.

    Returns:
        The figure; its `data` have the columns `name`, `step`, `x`, `y`.

    Raises:
        ValueError: if `alt` is too short, a path has not the shape (n, 2), or `levels` is out of range.

    >>> from dlopt.lab.landscapes import quadratic
    >>> step = {"gradient descent": [(1.5, 0.8), (0.5, 0.1)]}
    >>> figure = contours(quadratic(5.0), step, alt="One step of descent in a bowl.")
    >>> figure.data["x"].tolist()
    [1.5, 0.5]
    """
    if not 3 <= levels <= 40:
        raise ValueError(f"levels={levels} must be between 3 and 40")
    walks = {name: _walk(name, points) for name, points in (paths or {}).items()}
    left, right, low, high = landscape.domain
    with canvas(alt, height) as (figure, axes):
        axes.grid(False)
        _levels(axes, landscape, levels)
        for index, (name, walk) in enumerate(walks.items()):
            style = look(index)
            inside = _shown(walk, landscape.domain)
            leaves = " (diverges)" if not np.isfinite(walk).all() else "" if inside[-1] else " (leaves)"
            finite = walk[np.isfinite(walk).all(axis=1)]
            short = len(walk) <= _STEPS_WITH_DOTS + 1
            dots = {"markersize": 3.5 if short else 5, "markevery": 1 if short else len(walk) // 8}
            axes.plot(*finite.T, label=name + leaves, **style.line() | {"linestyle": "-"} | dots, zorder=3)
            if inside[-1]:
                axes.plot(*walk[-1], style.marker, color=style.color, markersize=9, zorder=4)
        _places(axes, landscape)
        axes.set(xlim=(left, right), ylim=(low, high), xlabel=xlabel)
        set_scales(axes, "")
        head(axes, ylabel)
        if walks:
            name_series(figure, axes, [], "above")
        return finish(figure, alt, caption, _walks_frame(walks))


def heatmap(
    x: ArrayLike,
    y: ArrayLike,
    z: ArrayLike,
    *,
    alt: str,
    xlabel: str,
    ylabel: str,
    zlabel: str,
    points: Mapping[str, tuple[float, float]] | None = None,
    lines: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
    limits: tuple[float, float] | None = None,
    log: str = "",
    caption: str | None = None,
    height: float = 340,
) -> Figure:
    """A quantity over a grid of two settings, in the colours of cividis; a cell that is not finite is empty.

    Args:
        x, y: the settings, increasing, shapes (n,) and (m,); cells reach half way to their neighbours.
        z: shape (m, n).
        points: name to (x, y), a named place, such as a theory's best setting.
        lines: name to (x, y), a named curve, such as the border of stability.
        limits: the values at the two ends of the colour scale; if None, the least and the greatest of `z`.

    Returns:
        The figure; its `data` have the columns `x`, `y`, `z`.

    Raises:
        ValueError: if `alt` is too short, shapes do not fit, x or y do not increase, or nothing is finite.

    >>> figure = heatmap([1, 2], [0, 1, 2], [[0, 1], [1, 2], [2, 4]], xlabel="a", ylabel="b", zlabel="rate",
    ...                  alt="The rate grows to the top right.")
    >>> len(figure.data)
    6
    """
    log = check_log(log)
    across, up, values = (np.asarray(array, dtype=float) for array in (x, y, z))
    if across.ndim != 1 or up.ndim != 1 or values.shape != (len(up), len(across)) or min(values.shape) < 2:
        raise ValueError(
            f"z of shape {values.shape} must be (len(y), len(x)) = {(len(up), len(across))}, each at least 2"
        )
    if (np.diff(across) <= 0).any() or (np.diff(up) <= 0).any():
        raise ValueError("x and y must increase")
    if not np.isfinite(values).any():
        raise ValueError("z has no finite value")
    with canvas(alt, height) as (figure, axes):
        axes.grid(False)
        borders_x, borders_y = _edges(across, "x" in log), _edges(up, "y" in log)
        mesh = axes.pcolormesh(
            borders_x, borders_y, np.ma.masked_invalid(values),
            cmap="cividis", rasterized=True, **dict(zip(("vmin", "vmax"), limits or (), strict=False)),
        )  # fmt: skip
        axes.set(xlim=borders_x[[0, -1]], ylim=borders_y[[0, -1]])
        bar = figure.colorbar(mesh, ax=axes, fraction=0.06, pad=0.03, aspect=28)
        bar.outline.set_visible(False)
        bar.ax.set_title(zlabel, loc="right", fontsize=SMALL)
        for index, (name, (px, py)) in enumerate((lines or {}).items()):
            dashes = look(index + 1).line()["linestyle"]
            axes.plot(px, py, color="white", linewidth=4, alpha=0.7)
            axes.plot(px, py, color=_MARK, linewidth=1.8, linestyle=dashes, label=name)
        for index, (name, place) in enumerate((points or {}).items()):
            axes.plot(
                *place, look(index).marker, color=_MARK, markeredgecolor="white", markersize=10,
                markeredgewidth=1.5, label=name, linestyle="none",
            )  # fmt: skip
        set_scales(axes, log)
        axes.set_xlabel(xlabel)
        head(axes, ylabel)
        if points or lines:
            name_series(figure, axes, [], "above")
        grid_x, grid_y = np.meshgrid(across, up)
        data = require("pandas").DataFrame({"x": grid_x.ravel(), "y": grid_y.ravel(), "z": values.ravel()})
        return finish(figure, alt, caption, data)


def _walk(name: str, points: ArrayLike) -> np.ndarray:
    walk = np.asarray(points, dtype=float)
    if walk.ndim != 2 or walk.shape[1] != 2 or len(walk) == 0 or not np.isfinite(walk[0]).all():
        raise ValueError(f"the path {name!r} needs the shape (steps + 1, 2) and a finite start, not {walk.shape}")
    return walk


def _shown(walk: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    left, right, low, high = box
    x, y = walk.T
    return (left <= x) & (x <= right) & (low <= y) & (y <= high)


def _walks_frame(walks: Mapping[str, np.ndarray]) -> Any:
    pandas = require("pandas")
    parts = [
        pandas.DataFrame({"name": name, "step": range(len(walk)), "x": walk[:, 0], "y": walk[:, 1]})
        for name, walk in walks.items()
    ]
    empty = pandas.DataFrame(columns=["name", "step", "x", "y"])
    return pandas.concat(parts, ignore_index=True) if parts else empty


def _levels(axes: Any, landscape: Landscape, count: int) -> None:
    """Each level puts one more thin layer of ink on all that lies above it, and spends no colour."""
    left, right, low, high = landscape.domain
    over_x, over_y = (
        0.02 * (right - left),
        0.02 * (high - low),
    )  # so that no border runs along the picture's edge
    x, y = np.meshgrid(
        np.linspace(left - over_x, right + over_x, _GRID), np.linspace(low - over_y, high + over_y, _GRID)
    )
    z = np.asarray(landscape(x, y), dtype=float)
    for level in level_values(z, count, landscape.minimum, landscape.log_scale):
        layer = axes.contourf(x, y, z, levels=[level, np.inf], colors=[(INK, 0.03)])
        layer.set_edgecolor((INK, 0.2))
        layer.set_linewidth(0.7)


def level_values(z: np.ndarray, count: int, minimum: float | None, log_scale: bool) -> np.ndarray:
    """Levels that show the shape of `z`: by ratio above the minimum, or denser towards it.

    A quadratic bowl gets evenly spaced ellipses. Without a minimum the levels are evenly spaced.

    >>> level_values(np.array([0.0, 16.0]), 3, minimum=0.0, log_scale=False).tolist()
    [1.0, 4.0, 9.0]
    >>> level_values(np.array([-4.0, 4.0]), 3, minimum=None, log_scale=False).tolist()
    [-2.0, 0.0, 2.0]
    """
    finite = z[np.isfinite(z)]
    top = float(finite.max())
    if minimum is None:
        return np.linspace(float(finite.min()), top, count + 2)[1:-1]
    if log_scale:
        above = finite[finite > minimum] - minimum
        lowest = max(float(np.quantile(above, 0.02)), 1e-6 * float(above.max()))
        return minimum + np.geomspace(lowest, top - minimum, count + 1)[:-1]
    return minimum + (top - minimum) * (np.arange(1, count + 1) / (count + 1)) ** 2


def _places(axes: Any, landscape: Landscape) -> None:
    for x, y in landscape.minima:
        axes.plot(x, y, "*", color=INK, markersize=11, markeredgewidth=0, zorder=5)
    start = landscape.start
    axes.plot(*start, "o", color=INK, fillstyle="none", markersize=8, markeredgewidth=1.6, zorder=5)
    axes.annotate("start", start, (0, 9), textcoords="offset points", ha="center", fontsize=SMALL, zorder=5)


def _edges(centres: np.ndarray, log: bool) -> np.ndarray:
    """Borders half way between the centres, on the scale of the axis."""
    if log and centres[0] <= 0:
        raise ValueError("a logarithmic axis needs positive values")
    places = np.log(centres) if log else centres
    middle = (places[1:] + places[:-1]) / 2
    edges = np.concatenate([[2 * places[0] - middle[0]], middle, [2 * places[-1] - middle[-1]]])
    return np.exp(edges) if log else edges
