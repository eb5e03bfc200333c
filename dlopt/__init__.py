"""Optimizers for deep neural networks: each written once, from its paper, and run at full speed."""

import importlib
from typing import TYPE_CHECKING, Any

from dlopt import adaptive, engine, sgd
from dlopt.sgd import (
    SGD,
    EarlyStopping,
    ProximalSGD,
    WeightAverage,
    clip_before_step,
    clip_grad_adaptive_,
    clip_grad_norm_,
    clip_grad_value_,
)

if TYPE_CHECKING:
    from dlopt import curvature
    from dlopt.adaptive import (
        FTRL,
        Adadelta,
        Adafactor,
        Adagrad,
        Adam,
        Adamax,
        AdamW,
        AMSGrad,
        Lion,
        Muon,
        NAdam,
        PassiveAggressive,
        RAdam,
        RMSprop,
        ScheduleFreeAdamW,
        ScheduleFreeSGD,
        SparseAdam,
        split_for_muon,
    )
    from dlopt.sgd import schedules

__all__ = [
    "AMSGrad",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "EarlyStopping",
    "FTRL",
    "Lion",
    "Muon",
    "NAdam",
    "PassiveAggressive",
    "ProximalSGD",
    "RAdam",
    "RMSprop",
    "SGD",
    "ScheduleFreeAdamW",
    "ScheduleFreeSGD",
    "SparseAdam",
    "WeightAverage",
    "adaptive",
    "clip_before_step",
    "clip_grad_adaptive_",
    "clip_grad_norm_",
    "clip_grad_value_",
    "curvature",
    "engine",
    "schedules",
    "sgd",
    "split_for_muon",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Adaptive methods, schedules and curvature, imported when first used (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'dlopt' has no attribute {name!r}")
    later = {"curvature": "dlopt.curvature", "schedules": "dlopt.sgd.schedules"}
    value = importlib.import_module(later[name]) if name in later else getattr(adaptive, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
