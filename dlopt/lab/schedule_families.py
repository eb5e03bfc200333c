"""Schedules as people compose them: a family, its settings, a warm-up before it, all for a run of so many steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dlopt.sgd import schedules
from dlopt.sgd.schedules import Schedule

__all__ = ["FAMILIES", "Family", "composed"]

_WARMUP = {"warmup": 0, "start": 0.0, "kind": "linear"}


@dataclass(frozen=True)
class Family:
    """One kind of schedule.

    Attributes:
        settings: its settings with their defaults, a list where there are several of one kind.
        build: ``(steps, settings)`` → schedule; `steps` are those after the warm-up.
        rises: whether it brings a warm-up of its own; else one of `warmup` steps from `start` stands before it.
        choices: what a setting that is a word may be.
    """

    settings: Mapping[str, Any]
    build: Callable[[int, dict[str, Any]], Schedule]
    rises: bool = False
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def all_settings(self) -> dict[str, Any]:
        return {**self.settings} if self.rises else {**self.settings, **_WARMUP}

    @property
    def words(self) -> dict[str, tuple[str, ...]]:
        return {**self.choices} if self.rises else {**self.choices, "kind": ("linear", "exponential")}


FAMILIES: dict[str, Family] = {
    "constant": Family({}, lambda n, s: schedules.constant()),
    "cosine": Family({"floor": 0.0}, lambda n, s: schedules.cosine(n, hold=True, **s)),
    "linear": Family({"end_factor": 0.0}, lambda n, s: schedules.linear(n, **s)),
    "polynomial": Family({"power": 2.0, "floor": 0.0}, lambda n, s: schedules.polynomial(n, **s)),
    "step": Family({"step_size": 100, "gamma": 0.1}, lambda n, s: schedules.step(**s)),
    "multi_step": Family({"milestones": [150, 225], "gamma": 0.1}, lambda n, s: schedules.multi_step(**s)),
    "exponential": Family({"gamma": 0.99}, lambda n, s: schedules.exponential(**s)),
    "inverse_time": Family({"steps": 50, "power": 1.0}, lambda n, s: schedules.inverse_time(**s)),
    "cosine_restarts": Family(
        {"steps": 100, "multiplier": 1.0, "floor": 0.0}, lambda n, s: schedules.cosine_restarts(**s)
    ),
    "inverse_sqrt": Family({"warmup": 30}, lambda n, s: schedules.inverse_sqrt(**s), rises=True),
    "one_cycle": Family(
        {"pct_start": 0.3, "anneal_strategy": "cos", "div_factor": 25.0, "final_div_factor": 1e4, "three_phase": False},
        lambda n, s: schedules.one_cycle(n, **s),
        rises=True,
        choices={"anneal_strategy": ("cos", "linear")},
    ),
    "warmup_stable_decay": Family(
        {"warmup": 30, "decay": 60, "floor": 0.0, "kind": "1-sqrt", "start": 0.0},
        lambda n, s: schedules.warmup_stable_decay(n, **s),
        rises=True,
        choices={"kind": ("1-sqrt", "linear", "cosine")},
    ),
}
"""Every schedule of :mod:`dlopt.sgd.schedules` that multiplies a learning rate, by name."""


def composed(name: str, settings: Mapping[str, Any], steps: int) -> Schedule:
    """The schedule of a family for a run of `steps` steps; the warm-up, if there is one, is a part of them.

    Args:
        name: of a family in :data:`FAMILIES`.
        settings: those that differ from the family's own.
        steps: of the whole run. Schedules that end, end there.

    Raises:
        ValueError: an unknown family, a warm-up that leaves no step, or as the schedule says.
        TypeError: the family has no such setting.

    Example:
        >>> [round(composed("cosine", {"warmup": 2}, steps=6)(t), 3) for t in range(7)]
        [0.0, 0.5, 1.0, 0.854, 0.5, 0.146, 0.0]
    """
    if name not in FAMILIES:
        raise ValueError(f"no family of schedules is called {name!r}; there are {', '.join(FAMILIES)}")
    family = FAMILIES[name]
    if unknown := settings.keys() - family.all_settings.keys():
        known = ", ".join(family.all_settings)
        raise TypeError(f"{name} has no setting {', '.join(sorted(unknown))}; it has {known}")
    full = {**family.all_settings, **settings}
    if family.rises:
        return family.build(steps, full)
    warmup, start, kind = (full.pop(key) for key in _WARMUP)
    if not warmup:
        return family.build(steps, full)
    if warmup >= steps:
        raise ValueError(f"a warm-up of {warmup} steps leaves none of {steps}")
    return schedules.warmup(warmup, family.build(steps - warmup, full), start, kind)
