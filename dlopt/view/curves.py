"""The parts that figures of curves share: thinning, a line with its band, limits that hold both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .style import Look

if TYPE_CHECKING:
    import pandas

MOST_POINTS = 100  # of one curve: more cannot be seen, and weigh


def thin(group: pandas.DataFrame, x: str, log: bool, limit: int = MOST_POINTS) -> pandas.DataFrame:
    """At most about `limit` rows of one curve: the highest and lowest of equal stretches of the axis."""
    if len(group) <= limit:
        return group
    places = group[x].to_numpy(dtype=float)
    places = np.log(places) if log and (places > 0).all() else places
    stretch = np.digitize(places, np.linspace(places.min(), places.max(), limit // 2 + 1)[1:-1])
    centre = group["centre"].fillna(np.inf).groupby(stretch)  # a gap stays a gap
    return group.loc[sorted({*centre.idxmin(), *centre.idxmax(), *group.index[[0, -1]]})]


def signs(group: pandas.DataFrame, index: int) -> tuple[int, int]:
    """Some six signs along a curve, each series a little further on, so that none covers another."""
    step = max(1, len(group) // 6)
    return (index * step // 5 % step, step)


def line_and_band(
    axes: Any,
    group: pandas.DataFrame,
    x: str,
    style: Look,
    index: int,
    label: str | None = None,
    every: int = 0,
) -> None:
    places = group[x].to_numpy(dtype=float)
    centre = group["centre"].where(np.isfinite(group["centre"])).to_numpy()
    lost = int(group["diverged"].max())
    runs = int(group["runs"].max())
    name = str(group.iloc[0, 0]) + (f" ({lost} of {runs} diverged)" if lost else "")
    axes.plot(places, centre, label=label or name, markevery=every or signs(group, index), **style.line())
    low, high = group["low"].to_numpy(dtype=float), group["high"].to_numpy(dtype=float)
    sound = np.isfinite(low) & np.isfinite(high)
    if sound.any():
        axes.fill_between(places, low, high, where=sound, color=style.color, alpha=0.18, linewidth=0)


def limits_of(axes: Any, data: pandas.DataFrame, x: str, log: str) -> None:
    """Limits that hold every centre; on a log axis a band may leave the figure where it is not positive."""
    finite = data[np.isfinite(data["centre"])]
    if len(finite) == 0:
        raise ValueError("no finite value to draw: every run diverged")
    bounds = finite[["centre", "low", "high"]].to_numpy(dtype=float)
    bounds = bounds[np.isfinite(bounds)]
    places = data[x].to_numpy(dtype=float)
    for name, values in (("x", places), ("y", bounds)):
        if name in log:
            if (values <= 0).all() or (name == "y" and (finite["centre"] <= 0).any()):
                raise ValueError(f"log={log!r}: the {name} axis has values that are not positive")
            floor = finite["centre"].min() / 3 if name == "y" else 0.0
            values = np.log(np.maximum(values, floor)[values > 0])
        margin = 0.03 * (np.ptp(values) or abs(values[0]) or 1.0)
        low, high = values.min() - margin, values.max() + margin
        limits = (np.exp(low), np.exp(high)) if name in log else (low, high)
        getattr(axes, f"set_{name}lim")(*limits)


def note(data: pandas.DataFrame, interval: float, centre: str) -> str:
    """What line and band are, such as "mean of 5 seeds, 95 % band"."""
    fewest, most = int(data["runs"].min()), int(data["runs"].max())
    if most == 1:
        return ""
    count = f"{most}" if fewest == most else f"{fewest} to {most}"
    return f"{centre} of {count} seeds, {100 * interval:g} % band"
