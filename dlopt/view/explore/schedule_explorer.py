"""The schedule explorer: learning-rate schedules, what they do to SGD here, and what they did to a network."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping
from types import FunctionType
from typing import Any

import numpy as np
import torch
import traitlets

import dlopt
from dlopt.engine import faces
from dlopt.engine.rule import GrammarError
from dlopt.lab.counter_noise import counter_noise
from dlopt.lab.schedule_families import FAMILIES, composed
from dlopt.lab.schedule_runs import recorded_runs
from dlopt.sgd.schedules import Formula, Schedule
from dlopt.view.figure import Figure
from dlopt.view.plots import lines

from .schedule_tables import BOWL, RUNS, as_json_settings, code
from .widget import Explorer

MOST_STEPS = 2000
MOST_SCHEDULES = 4


class ScheduleExplorer(Explorer):
    """What :func:`dlopt.view.explore.schedule` returns; its traits and methods are described there."""

    scripts = ("controls.js", "links.js", "view.js", "plane.js", "loss.js", "panel.js", "schedules.js", "schedule.js")
    state = ("schedules", "lr", "momentum", "noise", "steps", "seed", "step", "recorded")

    schedules: Any = traitlets.List().tag(sync=True)
    lr = traitlets.Float(0.05).tag(sync=True)
    momentum = traitlets.Float(0.0).tag(sync=True)
    noise = traitlets.Float(1.0).tag(sync=True)
    steps = traitlets.Int(300).tag(sync=True)
    seed = traitlets.Int(0).tag(sync=True)
    step = traitlets.Int(300).tag(sync=True)
    recorded = traitlets.Unicode().tag(sync=True)

    def __init__(
        self, schedules: Iterable[Any], recorded: str | float | None, step: int | None, **settings: Any
    ) -> None:
        self._own: dict[str, Schedule | Exception] = {}
        rates = recorded_runs()["config"]["rates"]
        rate = rates[len(rates) // 2] if recorded is None else recorded
        chosen = rate if isinstance(rate, str) else f"{rate:g}"
        super().__init__(step=settings["steps"] if step is None else step, recorded=chosen, **settings)
        self.code = code(self._own)
        self.schedules = list(schedules)

    def factors(self) -> np.ndarray:
        """The schedules' factors by Python: float64 of shape ``(schedules, steps + 1)``, NaN for one that cannot be."""
        return np.array([self._factors(each) for each in self.schedules])

    def losses(self) -> np.ndarray:
        """What the page computes, by the NumPy face: the mean losses, float64 of shape ``(schedules, steps + 1)``."""
        return np.array([self._losses(each) for each in self.factors()])

    def python(self) -> str:
        """The call that makes this explorer, as "Copy Python" on the page gives it beneath its import.

        A function of the reader's own goes by its name, a `Schedule` as it prints itself. What Python refuses and
        sliders allow, such as a warm-up longer than the run, the call refuses in the words of the page.
        """
        named = [(each["name"], each["hyper"]) for each in self.schedules]
        pairs = [name if name in self._own else f"({name!r}, {hyper!r})" for name, hyper in named]
        keys = ("lr", "momentum", "noise", "steps", "seed", "step", "recorded")
        rest = ", ".join(f"{key}={getattr(self, key)!r}" for key in keys)
        return f"explore.schedule([{', '.join(pairs)}], {rest})"

    def still(self) -> Figure:
        names = [each["name"] for each in self.schedules]
        labels = [name if names.count(name) == 1 else f"{name} {i + 1}" for i, name in enumerate(names)]
        drawn = {n: (np.arange(self.steps + 1), self.lr * f) for n, f in zip(labels, self.factors(), strict=True)}
        drawn = {name: pair for name, pair in drawn.items() if np.isfinite(pair[1]).all()}
        alt = (
            f"Learning rate against step: {', '.join(labels)}, over {self.steps} steps. "
            "On the page they can be changed, and their effect on training seen."
        )
        if not drawn:
            note = "None of the schedules has numbers to draw."
            return Figure(f'<svg role="img" aria-label="{note}" viewBox="0 0 460 20"></svg>', note)
        return lines(drawn, xlabel="step", ylabel="learning rate", alt=alt)

    def _factors(self, each: Mapping[str, Any]) -> np.ndarray:
        nothing = np.full(self.steps + 1, math.nan)
        own = self._own.get(each["name"])
        try:
            schedule = own if each["name"] in self._own else composed(each["name"], each["hyper"], self.steps)
        except ValueError:  # sliders may go where Python refuses; the page says why
            return nothing
        return np.array([schedule(t) for t in range(self.steps + 1)]) if isinstance(schedule, Schedule) else nothing

    def _losses(self, factors: np.ndarray) -> np.ndarray:
        if not np.isfinite(factors).all():
            return np.full(len(factors), math.nan)
        t = np.arange(1, self.steps + 1, dtype=float)
        total = np.zeros(self.steps + 1)
        for run in range(RUNS):
            added = self.noise * np.stack(counter_noise(t, seed=np.float64(self.seed + run)), axis=1)
            with faces.use("numpy"), np.errstate(all="ignore"):
                path = BOWL.path(lambda p: self._sgd(p, factors), self.steps, noise=added)
                total += np.array([BOWL(x, y) for x, y in path]) / RUNS
        return total

    def _sgd(self, parameters: list[torch.Tensor], factors: np.ndarray) -> torch.optim.Optimizer:
        """SGD whose learning rate follows the factors."""
        optimizer, rates = dlopt.SGD(parameters, lr=self.lr, momentum=self.momentum), iter(self.lr * factors)

        def follow(*_: Any) -> None:
            optimizer.param_groups[0]["lr"] = float(next(rates))

        optimizer.register_step_pre_hook(follow)
        return optimizer

    def follows(self, was: Mapping[str, Any]) -> dict[str, Any]:
        """Of another number of steps, all are seen."""
        return {"step": self.steps} if self.steps != was["steps"] else {}

    @traitlets.validate("schedules")
    def _check_schedules(self, proposal: Any) -> list[dict[str, Any]]:
        given = list(proposal["value"])
        if not 1 <= len(given) <= MOST_SCHEDULES:
            raise ValueError(f"{len(given)} schedules: an explorer shows 1 to {MOST_SCHEDULES} side by side")
        here: dict[str, Schedule | Exception] = {}
        checked = [self._checked(each, here) for each in given]
        if (own := self._own | here) != self._own:
            self._own, self.code = own, code(own)
        return checked

    def _checked(self, each: Any, here: dict[str, Schedule | Exception]) -> dict[str, Any]:
        """An entry of the trait; a schedule of the reader's own is put among those that are `here`."""
        match each:
            case Schedule() | FunctionType():
                name, own = _as_schedule(each)
                if name in FAMILIES:
                    raise ValueError(f"{name} is the name of a family of schedules: give yours another")
                if here.setdefault(name, own) != own:
                    raise ValueError(f"two different schedules are called {name!r}: give one another name")
                return {"name": name, "hyper": {}}
            case {"name": str() as name, "hyper": Mapping() as hyper} | (str() as name, Mapping() as hyper):
                pass
            case str() as name:
                hyper = {}
            case _:
                raise TypeError(
                    f"a schedule is a family's name, a pair of it and settings, or a Schedule, not {each!r}"
                )
        if name in self._own:
            if here.setdefault(name, self._own[name]) != self._own[name]:
                raise ValueError(f"two different schedules are called {name!r}: give one another name")
        elif not self._as_it_is:
            composed(name, hyper, self.steps)  # refuses what is wrong
        return {"name": name, "hyper": as_json_settings(hyper)}

    @traitlets.validate("lr", "momentum", "noise", "steps", "seed", "step")
    def _check_number(self, proposal: Any) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        low, high = (0, self.steps) if name == "step" else _BOUNDS[name]
        if not low <= value <= high:
            raise ValueError(f"{name}={value} must be between {low:g} and {high:g}")
        return value

    @traitlets.validate("recorded")
    def _check_recorded(self, proposal: Any) -> str:
        rates = recorded_runs()["config"]["rates"]
        if proposal["value"] not in rates:
            raise ValueError(f"no run was recorded at learning rate {proposal['value']}: choose {', '.join(rates)}")
        return proposal["value"]


_BOUNDS = {
    "lr": (1e-9, 1e3), "momentum": (0, 0.9999), "noise": (0, 1e6), "steps": (2, MOST_STEPS), "seed": (0, 1e6),
}  # fmt: skip


@functools.cache
def _as_schedule(given: Schedule | FunctionType) -> tuple[str, Schedule | Exception]:
    """A name, and a schedule or what is wrong with it: of one function always the same."""
    if isinstance(given, Schedule):
        return given.function.__name__ if isinstance(given, Formula) and not given.hyper else repr(given), given
    try:
        return given.__name__, Formula(given)
    except (GrammarError, ValueError, TypeError) as error:
        return given.__name__, error
