"""The surface explorer: recorded loss surfaces of trained networks, and the training paths on them."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import traitlets

from dlopt.lab.surface import Surface
from dlopt.view.figure import Figure
from dlopt.view.maps import heatmap

from .widget import Explorer

MOST_SURFACES = 6
MOST_TRACES = 4


class SurfaceExplorer(Explorer):
    """What :func:`dlopt.view.explore.surface` returns; its traits and methods are described there."""

    scripts = (
        "controls.js", "links.js", "view.js", "field.js", "plane.js", "solid.js", "loss.js", "grids.js", "pane.js",
        "surface.js",
    )  # fmt: skip
    state = ("surface", "beside", "paths", "step", "view", "colour", "probe")

    surface = traitlets.Unicode().tag(sync=True)
    beside = traitlets.Unicode("").tag(sync=True)
    paths: Any = traitlets.List(traitlets.Unicode()).tag(sync=True)
    step = traitlets.Int(0).tag(sync=True)
    view = traitlets.Enum(["plane", "solid"], "plane").tag(sync=True)
    colour = traitlets.Enum(["log", "linear"], "log").tag(sync=True)
    probe = traitlets.Tuple(traitlets.Float(), traitlets.Float()).tag(sync=True)

    def __init__(self, surfaces: Iterable[Surface], own: bool, **settings: Any) -> None:
        given = list(surfaces)
        self._surfaces = {each.name: each for each in given}
        self._own = own
        if not 1 <= len(given) <= MOST_SURFACES or len(self._surfaces) < len(given) or "" in self._surfaces:
            raise ValueError(f"an explorer shows 1 to {MOST_SURFACES} surfaces, each with a name of its own")
        if many := [each.name for each in given if len(each.traces) > MOST_TRACES]:
            raise ValueError(f"{many[0]} has more than {MOST_TRACES} paths: there are no more colours")
        first = self._named(given[0].name if settings["surface"] is None else settings["surface"])
        names = [trace.name for trace in first.traces]
        last = _last(first)
        chosen = {"surface": first.name, "paths": names, "step": last} | {
            key: value for key, value in settings.items() if value is not None
        }
        super().__init__(**chosen)
        self.code = self._tables()

    def python(self) -> str:
        """The call that makes this explorer, as "Copy Python" on the page gives it beneath its import.

        `surfaces` are the reader's own.
        """
        values = ", ".join(f"{key}={getattr(self, key)!r}" for key in self.state)
        return f"explore.surface({'surfaces, ' if self._own else ''}{values})"

    def probed(self) -> dict[str, float]:
        """The loss where the probe is, at the nearest grid point of each surface that is seen; NaN outside."""
        found = {}
        for name in filter(None, (self.surface, self.beside)):
            surface = self._surfaces[name]
            across, up = (_nearest(axis, at) for axis, at in zip((surface.x, surface.y), self.probe, strict=True))
            found[name] = math.nan if across is None or up is None else float(surface.loss[up, across])
        return found

    def traces(self) -> dict[str, np.ndarray]:
        """Where the paths of the surface pass in its plane: name to float64 of shape ``(records, 2)``."""
        return {trace.name: trace.points for trace in self._surfaces[self.surface].traces}

    def still(self) -> Figure:
        drawn = [self._still(self._surfaces[name]) for name in filter(None, (self.surface, self.beside))]
        return Figure("".join(each.svg for each in drawn), " ".join(each.alt for each in drawn))

    def _still(self, surface: Surface) -> Figure:
        shown = [trace for trace in surface.traces if trace.name in self.paths]
        alt = f"Loss over a plane through the parameters: {surface.name}. {surface.about}"
        if shown:
            alt += f" Training paths of {', '.join(trace.name for trace in shown)}. On the page they can be played."
        values = np.asarray(surface.loss, dtype=float)
        log = self.colour == "log" and np.nanmin(values, initial=math.inf) > 0
        if not np.isfinite(values).any():
            note = f"The surface {surface.name} has no number to draw."
            return Figure(f'<svg role="img" aria-label="{note}" viewBox="0 0 460 20"></svg>', note)
        return heatmap(
            surface.x, surface.y, np.log10(values) if log else values, alt=alt, xlabel="along the first direction",
            ylabel="along the second", zlabel="log₁₀ loss" if log else "loss",
            lines={trace.name: tuple(trace.points.T) for trace in shown}, limits=self._limits(log),
        )  # fmt: skip

    def _limits(self, log: bool) -> tuple[float, float]:
        """The least and the greatest of all that is seen, so that two pictures have one scale."""
        values = np.concatenate(
            [self._surfaces[name].loss.ravel() for name in filter(None, (self.surface, self.beside))]
        )
        low, high = (float(end(values[np.isfinite(values)])) for end in (np.min, np.max))
        return (math.log10(low), math.log10(high)) if log and low > 0 else (low, high)

    def follows(self, was: Mapping[str, Any]) -> dict[str, Any]:
        """On another surface all of its paths are seen, to their ends."""
        if self.surface == was["surface"]:
            return {}
        surface = self._surfaces[self.surface]
        return {"paths": [trace.name for trace in surface.traces], "step": _last(surface)}

    def _tables(self) -> str:
        return (
            f"return {{surfaces: {json.dumps({name: _packed(s, self._own) for name, s in self._surfaces.items()})}}};"
        )

    def _named(self, name: str) -> Surface:
        if name not in self._surfaces:
            raise ValueError(f"no surface is called {name!r}; there are {', '.join(self._surfaces)}")
        return self._surfaces[name]

    @traitlets.validate("surface")
    def _check_surface(self, proposal: Any) -> str:
        return self._named(proposal["value"]).name

    @traitlets.validate("beside")
    def _check_beside(self, proposal: Any) -> str:
        return proposal["value"] and self._named(proposal["value"]).name

    @traitlets.validate("paths")
    def _check_paths(self, proposal: Any) -> list[str]:
        known = {trace.name for surface in self._surfaces.values() for trace in surface.traces}
        if unknown := [name for name in proposal["value"] if name not in known]:
            raise ValueError(f"no path is called {unknown[0]!r}; there are {', '.join(sorted(known)) or 'none'}")
        return proposal["value"]

    @traitlets.validate("step")
    def _check_step(self, proposal: Any) -> int:
        if not 0 <= proposal["value"] <= (most := max(map(_last, self._surfaces.values()))):
            raise ValueError(f"step={proposal['value']} must be between 0 and {most}, the last record")
        return proposal["value"]

    @traitlets.validate("probe")
    def _check_probe(self, proposal: Any) -> tuple[float, float]:
        if not all(map(math.isfinite, proposal["value"])):
            raise ValueError(f"probe={proposal['value']} must be two finite numbers")
        return proposal["value"]


def _last(surface: Surface) -> int:
    return max([0, *(len(trace.loss) - 1 for trace in surface.traces)])


def _nearest(axis: np.ndarray, at: float) -> int | None:
    """The index next to `at`, as a browser rounds; None outside."""
    found = math.floor((at - axis[0]) / (axis[-1] - axis[0]) * (len(axis) - 1) + 0.5)
    return found if 0 <= found < len(axis) else None


def _packed(surface: Surface, own: bool) -> dict[str, Any]:
    """A surface as JSON, its arrays as float32 in base64: 4,000 values take 21 kB."""
    return {
        "name": surface.name,
        "about": surface.about,
        "own": own,
        "across": len(surface.x),
        "down": len(surface.y),
        "domain": [float(end) for axis in (surface.x, surface.y) for end in axis[[0, -1]]],
        "loss": _base64(surface.loss),
        "traces": [
            {
                "name": trace.name,
                "held": trace.held,
                "every": trace.every,
                "points": _base64(trace.points),
                "loss": _base64(trace.loss),
            }
            for trace in surface.traces
        ],
    }


def _base64(values: np.ndarray) -> str:
    """
    >>> _base64(np.array([1.0]))
    'AACAPw=='
    """
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f4").tobytes()).decode()
