"""The landscape explorer: up to four optimizers on a function of two variables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import traitlets

from dlopt.engine import faces
from dlopt.lab.counter_noise import LARGEST_SEED, counter_noise
from dlopt.lab.landscapes import LANDSCAPES, Landscape
from dlopt.view.figure import Figure
from dlopt.view.maps import contours

from . import controls, tables
from .entrants import Entrant, admit, split
from .widget import Explorer

MOST_STEPS = 5000
MOST_OPTIMIZERS = 4
_HEAVY = 30_000  # bytes of a still, above which it gets fewer level lines


class LandscapeExplorer(Explorer):
    """What :func:`dlopt.view.explore.landscape` returns; its traits and methods are described there."""

    scripts = (
        "controls.js", "links.js", "view.js", "field.js", "plane.js", "solid.js", "loss.js", "walks.js", "panel.js",
        "state.js", "drawing.js", "landscape.js",
    )  # fmt: skip
    state = ("landscape", "start", "optimizers", "steps", "noise", "seed", "step", "view")

    landscape = traitlets.Unicode().tag(sync=True)
    start = traitlets.Tuple(traitlets.Float(), traitlets.Float()).tag(sync=True)
    optimizers: Any = traitlets.List().tag(sync=True)
    steps = traitlets.Int(200).tag(sync=True)
    noise = traitlets.Float(0.0).tag(sync=True)
    seed = traitlets.Int(0).tag(sync=True)
    step = traitlets.Int(200).tag(sync=True)
    view = traitlets.Enum(["plane", "solid"], "plane").tag(sync=True)

    def __init__(
        self,
        landscape: str | Landscape,
        start: Any,
        optimizers: Iterable[Any],
        step: int | None,
        **settings: Any,
    ) -> None:
        self._own: dict[str, Landscape] = {}
        self._known: dict[str, Entrant] = {}
        if isinstance(landscape, Landscape):
            if LANDSCAPES.get(landscape.name) is not landscape:
                self._own[landscape.name] = landscape
            landscape = landscape.name
        here = self._landscape(landscape)
        first = here.start if start is None else tuple(start)
        step = settings["steps"] if step is None else step
        super().__init__(landscape=landscape, start=first, step=step, **settings)
        self.optimizers = list(optimizers)

    def paths(self) -> np.ndarray:
        """Where the optimizers go, by the NumPy face: float64 of shape ``(optimizers, steps + 1, 2)``.

        NaN for one that cannot run; the page says why.
        """
        here = self._landscape(self.landscape)
        t = np.arange(1, self.steps + 1, dtype=float)
        with np.errstate(all="ignore"):
            added = self.noise * np.stack(counter_noise(t, seed=np.float64(self.seed)), axis=1)
        return np.array([self._walk(here, each, added) for each in self.optimizers])

    def _walk(self, here: Landscape, each: dict[str, Any], added: np.ndarray) -> np.ndarray:
        entrant = self._known[each["name"]]
        if entrant.in_browser:
            try:
                with faces.use("numpy"), np.errstate(all="ignore"):
                    return here.path(lambda p: entrant.made(p, each["hyper"]), self.steps, self.start, added)
            except Exception:  # a reader's own landscape may raise anything; the page says what is wrong
                pass
        return np.full((self.steps + 1, 2), math.nan)

    def python(self) -> str:
        """The call that makes this explorer, as "Copy Python" on the page gives it beneath its import.

        Optimizers and landscapes of the reader's own go by their names. What Python refuses and sliders allow, such as
        Nesterov momentum without any, the call refuses in the words of the page.
        """
        name = tables.written(self._landscape(self.landscape))
        pairs = []
        for each in self.optimizers:
            who = repr(each["name"]) if self._known[each["name"]].public else each["name"]
            pairs.append(f"({who}, {each['hyper']!r})")
        rest = ", ".join(f"{key}={getattr(self, key)!r}" for key in ("steps", "noise", "seed", "step", "view"))
        return f"explore.landscape({name}, start={self.start!r}, optimizers=[{', '.join(pairs)}], {rest})"

    def still(self) -> Figure:
        here = self._landscape(self.landscape)
        names = [each["name"] for each in self.optimizers]
        labels = [name if names.count(name) == 1 else f"{name} {i + 1}" for i, name in enumerate(names)]
        paths = {n: p for n, p in zip(labels, self.paths(), strict=True) if np.isfinite(p[0]).all()}
        alt = (
            f"Level lines of the landscape {self.landscape} with the paths of {', '.join(labels)} from "
            f"({self.start[0]:g}, {self.start[1]:g}), {self.steps} steps. On the page they can be moved."
        )
        try:
            drawn = contours(here, paths, alt=alt, levels=8)
            return contours(here, paths, alt=alt, levels=3) if len(drawn.svg) > _HEAVY else drawn
        except Exception:  # a landscape of the reader's may have no finite value, or raise
            note = f"The landscape {self.landscape} has no values to draw in its domain."
            return Figure(f'<svg role="img" aria-label="{note}" viewBox="0 0 460 20"></svg>', note)

    def follows(self, was: Mapping[str, Any]) -> dict[str, Any]:
        """From another landscape its own start and rates of its scale; from another number of steps, all are seen."""
        found: dict[str, Any] = {}
        if self.landscape != was["landscape"]:
            here = self._landscape(self.landscape)
            rates = controls.learning_rates(here)
            found = {"start": here.start, "optimizers": [_refitted(rates, **each) for each in self.optimizers]}
        return found | ({"step": self.steps} if self.steps != was["steps"] else {})

    def _landscape(self, name: str) -> Landscape:
        found = self._own.get(name) or LANDSCAPES.get(name)
        if found is None:
            known = ", ".join([*self._own, *LANDSCAPES])
            raise ValueError(f"no landscape is called {name!r}; there are {known}, or pass a Landscape of your own")
        return found

    def _translated(self, known: dict[str, Entrant]) -> str:
        own = [each for each in known.values() if not (each.public and each.in_browser)]
        return tables.code(self._own.values(), own)

    @traitlets.validate("landscape")
    def _check_landscape(self, proposal: Any) -> str:
        return self._landscape(proposal["value"]).name

    @traitlets.validate("start")
    def _check_start(self, proposal: Any) -> tuple[float, float]:
        if not all(map(math.isfinite, proposal["value"])):
            raise ValueError(f"start={proposal['value']} must be two finite numbers")
        return proposal["value"]

    @traitlets.validate("steps")
    def _check_steps(self, proposal: Any) -> int:
        return _within("steps", proposal["value"], 1, MOST_STEPS)

    @traitlets.validate("noise")
    def _check_noise(self, proposal: Any) -> float:
        return _within("noise", proposal["value"], 0, 1e6)

    @traitlets.validate("seed")
    def _check_seed(self, proposal: Any) -> int:
        return _within("seed", proposal["value"], 0, LARGEST_SEED)

    @traitlets.validate("step")
    def _check_step(self, proposal: Any) -> int:
        return _within("step", proposal["value"], 0, self.steps)

    @traitlets.validate("optimizers")
    def _check_optimizers(self, proposal: Any) -> list[dict[str, Any]]:
        given = list(proposal["value"])
        if not 1 <= len(given) <= MOST_OPTIMIZERS:
            raise ValueError(f"{len(given)} optimizers: an explorer shows 1 to {MOST_OPTIMIZERS} side by side")
        rates = controls.learning_rates(self._landscape(self.landscape))
        known, here, checked = dict(self._known), dict[str, Entrant](), []
        for each in given:
            entrant, hyper = admit(*split(each), rates, known, self._as_it_is)
            if here.setdefault(entrant.name, entrant).of is not entrant.of:
                raise ValueError(f"two different optimizers are called {entrant.name!r}: give one another name")
            known[entrant.name] = entrant
            checked.append({"name": entrant.name, "hyper": hyper})
        if known.keys() != self._known.keys() or any(known[name] is not self._known[name] for name in known):
            self._known, self.code = known, self._translated(known)
        return checked


def _refitted(rates: Mapping[str, float], name: str, hyper: dict[str, Any]) -> dict[str, Any]:
    """An entry of the trait with the learning rate of another landscape."""
    return {"name": name, "hyper": hyper | {"lr": rates[controls.rate_kind(name)]} if "lr" in hyper else hyper}


def _within(name: str, value: Any, low: float, high: float) -> Any:
    if not low <= value <= high:
        raise ValueError(f"{name}={value} must be between {low} and {high:g}")
    return value
