"""What experiments stand on: data, models, tasks, landscapes, runs, statistics, claims and benchmarks.

Parts are imported when first used, so that ``import dlopt.lab`` is cheap. They need the packages that
``pip install 'dlopt[book]'`` brings, and say so when one is missing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dlopt.lab import bench, data, landscapes, models, rare_words, streams, tasks, traffic
    from dlopt.lab.claims import assertion, claim
    from dlopt.lab.dynamics import iterates, rate, step_map
    from dlopt.lab.edge import Valley, valley
    from dlopt.lab.experiment import Tuning, run, steps_to, tune
    from dlopt.lab.landscapes import LANDSCAPES, Landscape
    from dlopt.lab.settings import grid, sample
    from dlopt.lab.sharpness import few_digits, with_sharpness
    from dlopt.lab.statistics import (
        bootstrap_interval,
        effect_size,
        equivalence,
        holm,
        mean_interval,
        paired_test,
    )
    from dlopt.lab.surface import Surface, Trace, filter_normalized, path_surface, random_surface
    from dlopt.lab.tasks import TASKS, Task
    from dlopt.lab.trained import digits_surfaces
    from dlopt.lab.workers import parallel_map

__all__ = [
    "LANDSCAPES", "Landscape", "Surface", "TASKS", "Task", "Trace", "Tuning", "Valley", "assertion", "bench",
    "bootstrap_interval", "claim", "data", "digits_surfaces", "effect_size", "equivalence", "few_digits",
    "filter_normalized", "grid", "holm", "iterates", "landscapes", "mean_interval", "models", "paired_test",
    "parallel_map", "path_surface", "random_surface", "rare_words", "rate", "run", "sample", "step_map", "steps_to",
    "streams", "tasks", "traffic", "tune", "valley", "with_sharpness",
]  # fmt: skip

_MODULES = ("bench", "data", "landscapes", "models", "rare_words", "streams", "tasks", "traffic")
_HOME = {
    "claims": ("assertion", "claim"),
    "dynamics": ("iterates", "rate", "step_map"),
    "edge": ("Valley", "valley"),
    "experiment": ("Tuning", "run", "steps_to", "tune"),
    "landscapes": ("LANDSCAPES", "Landscape"),
    "settings": ("grid", "sample"),
    "sharpness": ("few_digits", "with_sharpness"),
    "statistics": (
        "bootstrap_interval", "effect_size", "equivalence", "holm", "mean_interval", "paired_test",
    ),
    "surface": ("Surface", "Trace", "filter_normalized", "path_surface", "random_surface"),
    "tasks": ("TASKS", "Task"),
    "trained": ("digits_surfaces",),
    "workers": ("parallel_map",),
}  # fmt: skip
_WHERE = {name: module for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import the part that `name` stands in (PEP 562)."""
    if name in _MODULES:
        return importlib.import_module(f"dlopt.lab.{name}")
    if name not in _WHERE:
        raise AttributeError(f"module 'dlopt.lab' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"dlopt.lab.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
