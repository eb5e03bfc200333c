"""Adaptive methods: a step length for every parameter, from the gradients it has seen.

Each is imported when first used: to check a rule against the grammar takes some milliseconds.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dlopt.adaptive.adadelta import Adadelta
    from dlopt.adaptive.adafactor import Adafactor
    from dlopt.adaptive.adagrad import Adagrad
    from dlopt.adaptive.adam import Adam
    from dlopt.adaptive.adamax import Adamax
    from dlopt.adaptive.adamw import AdamW
    from dlopt.adaptive.amsgrad import AMSGrad
    from dlopt.adaptive.ftrl import FTRL
    from dlopt.adaptive.lion import Lion
    from dlopt.adaptive.muon import Muon
    from dlopt.adaptive.nadam import NAdam
    from dlopt.adaptive.orthogonal import orthogonalize, split_for_muon
    from dlopt.adaptive.passive_aggressive import PassiveAggressive
    from dlopt.adaptive.radam import RAdam
    from dlopt.adaptive.rmsprop import RMSprop
    from dlopt.adaptive.schedule_free_adamw import ScheduleFreeAdamW
    from dlopt.adaptive.schedule_free_sgd import ScheduleFreeSGD
    from dlopt.adaptive.sparse_adam import SparseAdam

__all__ = [
    "AMSGrad",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "FTRL",
    "Lion",
    "Muon",
    "NAdam",
    "PassiveAggressive",
    "RAdam",
    "RMSprop",
    "ScheduleFreeAdamW",
    "ScheduleFreeSGD",
    "SparseAdam",
    "orthogonalize",
    "split_for_muon",
]

_HOME = {
    "AMSGrad": "amsgrad",
    "Adadelta": "adadelta",
    "Adafactor": "adafactor",
    "Adagrad": "adagrad",
    "Adam": "adam",
    "AdamW": "adamw",
    "Adamax": "adamax",
    "FTRL": "ftrl",
    "Lion": "lion",
    "Muon": "muon",
    "NAdam": "nadam",
    "PassiveAggressive": "passive_aggressive",
    "RAdam": "radam",
    "RMSprop": "rmsprop",
    "ScheduleFreeAdamW": "schedule_free_adamw",
    "ScheduleFreeSGD": "schedule_free_sgd",
    "SparseAdam": "sparse_adam",
    "orthogonalize": "orthogonal",
    "split_for_muon": "orthogonal",
}


def __getattr__(name: str) -> Any:
    """Import the module that `name` stands in (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'dlopt.adaptive' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"dlopt.adaptive.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
