"""Stochastic gradient descent and what is built on it.

Schedules, the solvers for finite sums and the study of noise are imported when first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from dlopt.sgd.averaging import WeightAverage
from dlopt.sgd.batch_statistics import update_bn
from dlopt.sgd.clip_step import clip_before_step
from dlopt.sgd.clipping import clip_grad_adaptive_, clip_grad_norm_, clip_grad_value_
from dlopt.sgd.early_stopping import EarlyStopping
from dlopt.sgd.order import OrderSampler, order
from dlopt.sgd.proximal import ProximalSGD, l1_prox, soft_threshold
from dlopt.sgd.sgd import SGD

if TYPE_CHECKING:
    from dlopt.sgd import schedules
    from dlopt.sgd.finite_sums import linear_loss, sag, saga, sarah, scsg, svrg, table_bytes
    from dlopt.sgd.noise import (
        GradientNoise,
        example_gradients,
        gradient_covariance,
        stationary_covariance,
        stationary_variance,
    )

__all__ = [
    "EarlyStopping",
    "GradientNoise",
    "OrderSampler",
    "ProximalSGD",
    "SGD",
    "WeightAverage",
    "clip_before_step",
    "clip_grad_adaptive_",
    "clip_grad_norm_",
    "clip_grad_value_",
    "example_gradients",
    "gradient_covariance",
    "l1_prox",
    "linear_loss",
    "order",
    "sag",
    "saga",
    "sarah",
    "schedules",
    "scsg",
    "soft_threshold",
    "stationary_covariance",
    "stationary_variance",
    "svrg",
    "table_bytes",
    "update_bn",
]

_LATER = {
    "finite_sums": ("linear_loss", "sag", "saga", "sarah", "scsg", "svrg", "table_bytes"),
    "noise": (
        "GradientNoise",
        "example_gradients",
        "gradient_covariance",
        "stationary_covariance",
        "stationary_variance",
    ),
    "schedules": (),
}


def __getattr__(name: str) -> Any:
    """Import the module that `name` is or stands in (PEP 562)."""
    for module, names in _LATER.items():
        if name == module or name in names:
            found = importlib.import_module(f"dlopt.sgd.{module}")
            globals().update({module: found} | {name: getattr(found, name) for name in names})
            return globals()[name]
    raise AttributeError(f"module 'dlopt.sgd' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_LATER})
