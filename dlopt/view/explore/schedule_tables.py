"""The translated code of the schedule explorer: formulas, families with their controls, SGD, noise, and the record."""

from __future__ import annotations

import functools
import importlib
import json
from collections.abc import Mapping
from typing import Any

import dlopt
from dlopt.engine.faces.javascript import RUNTIME, Translator, as_json
from dlopt.engine.faces.javascript_printers import js_object
from dlopt.engine.rule import GrammarError
from dlopt.lab.counter_noise import counter_noise
from dlopt.lab.landscapes import Landscape, quadratic
from dlopt.lab.schedule_families import FAMILIES, Family
from dlopt.lab.schedule_runs import recorded_runs
from dlopt.sgd.schedules import Schedule, Sequential

from .controls import Control
from .tables import in_words

CONDITION = 20.0
RUNS = 16
BOWL: Landscape = quadratic(CONDITION)

_MODULES = [
    importlib.import_module(f"dlopt.sgd.schedules.{name}") for name in ("cosine", "decay", "one_cycle", "warmup")
]
_KINDS: dict[str, dict[str, Any]] = {
    "floor": {"kind": "linear", "low": 0, "high": 1, "least": 0, "most": 10},
    "end_factor": {"kind": "linear", "low": 0, "high": 2, "least": 0, "most": 10},
    "start": {"kind": "linear", "low": 0, "high": 1, "least": 0, "most": 10},
    "gamma": {"kind": "near one", "low": 0, "high": 0.9999, "least": 0, "most": 1},
    "power": {"kind": "linear", "low": 0, "high": 4, "least": 0, "most": 20},
    "multiplier": {"kind": "linear", "low": 1, "high": 4, "least": 1, "most": 10},
    "pct_start": {"kind": "linear", "low": 0, "high": 1, "least": 0, "most": 1},
    "div_factor": {"kind": "log", "low": 1, "high": 1000, "least": 1e-3, "most": 1e9},
    "final_div_factor": {"kind": "log", "low": 1, "high": 1e6, "least": 1e-3, "most": 1e12},
}
_RARE = frozenset({"start", "kind", "anneal_strategy", "three_phase", "final_div_factor"})


def controls_of(family: Family) -> list[Control]:
    """A control for each setting of a family.

    >>> [control["label"] for control in controls_of(FAMILIES["multi_step"])]
    ['milestones[0]', 'milestones[1]', 'gamma', 'warmup', 'start', 'kind']
    """
    found = []
    for key, value in family.all_settings.items():
        parts = enumerate(value) if isinstance(value, list) else [(None, value)]
        for index, part in parts:
            label = key if index is None else f"{key}[{index}]"
            about = {"key": key, "index": index, "label": label, "symbol": "", "first": key not in _RARE}
            found.append({**about, **_shape(family, key, part)})
    return found


def _shape(family: Family, key: str, value: Any) -> dict[str, Any]:
    if key in family.words:
        return {"kind": "menu", "options": list(family.words[key])}
    if isinstance(value, bool):
        return {"kind": "switch"}
    if key in _KINDS:
        return _KINDS[key]
    least = 0 if key == "warmup" and not (family.rises and "decay" not in family.settings) else 1
    return {"kind": "whole", "low": least, "high": 300, "least": least, "most": 2000}


def tree(translator: Translator, schedule: Schedule) -> str:
    """JavaScript for a schedule: a formula with its scalars, or what it is composed of.

    Raises:
        TypeError: a kind of schedule that is neither.

    >>> from dlopt.sgd.schedules import constant
    >>> tree(Translator(), constant(0.5))
    '{call: $_constant, hyper: {"factor": 0.5}}'
    """
    if schedule.function is not None:
        return js_object({"call": translator.function(schedule.function), "hyper": json.dumps(schedule.hyper)})
    parts = "[" + ", ".join(tree(translator, part) for part in schedule.parts) + "]"
    if isinstance(schedule, Sequential):
        return js_object({"parts": parts, "milestones": json.dumps(list(schedule.milestones))})
    if not schedule.parts:
        raise TypeError(f"{schedule!r} is neither a formula nor composed of any")
    return js_object({"product": parts})


def entry(translator: Translator, own: Schedule | Exception) -> str:
    """JavaScript for the reader's own schedule, or for what is to be said against it."""
    try:
        if isinstance(own, Exception):
            raise own
        return js_object({"own": "true", "controls": "[]", "made": "{group: {}}", "schedule": tree(translator, own)})
    except (GrammarError, TypeError, ValueError) as error:
        return js_object({"own": "true", "error": json.dumps(in_words(error), ensure_ascii=False)})


@functools.cache
def _family_entries() -> dict[str, str]:
    return {
        json.dumps(name): json.dumps(
            {
                "own": False,
                "rises": family.rises,
                "made": {"group": as_json_settings(family.all_settings)},
                "controls": controls_of(family),
            },
            ensure_ascii=False,
        )
        for name, family in FAMILIES.items()
    }


def as_json_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON has them.

    >>> as_json_settings({"milestones": (1, 2)})
    {'milestones': [1, 2]}
    """
    return {str(key): as_json(value) for key, value in settings.items()}


def code(own: Mapping[str, Schedule | Exception]) -> str:
    """The body of a function that returns what the explorer's scripts call ``tables``."""
    translator = Translator()
    formulas = {
        name.strip("_"): translator.function(value)
        for module in _MODULES
        for name, value in vars(module).items()
        if name.startswith("_") and _is_formula(value, module.__name__)
    }
    constants = json.dumps(dict(BOWL.constants))
    members = {
        "dlopt": "dlopt",
        "formulas": js_object(formulas),
        "schedules": js_object({**_family_entries(), **{json.dumps(k): entry(translator, v) for k, v in own.items()}}),
        "noise": translator.function(counter_noise),
        "sgd": translator.optimizer(dlopt.SGD, lr=1.0),
        "landscape": js_object(
            {
                "start": json.dumps(BOWL.start),
                "f": f"(x, y) => {translator.function(BOWL.f)}(x, y, {constants})",
                "grad": f"(x, y) => {translator.function(BOWL.grad)}(x, y, {constants})",
            }
        ),
        "condition": json.dumps(CONDITION),
        "runs": json.dumps(RUNS),
        "record": json.dumps({key: recorded_runs()[key] for key in ("config", "machine", "runs")}),
    }
    return f"{RUNTIME}\n{translator.source()}\nreturn {js_object(members)};"


def _is_formula(value: Any, module: str) -> bool:
    """Whether it is one of a module's own functions of t in the grammar."""
    code = getattr(value, "__code__", None)
    return code is not None and value.__module__ == module and code.co_varnames[:1] == ("t",)
