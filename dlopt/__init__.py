"""Optimizers for deep neural networks: each written once, from its paper, and run at full speed."""

from dlopt import curvature, engine, sgd
from dlopt.sgd import (
    SGD,
    EarlyStopping,
    ProximalSGD,
    WeightAverage,
    clip_before_step,
    clip_grad_adaptive_,
    clip_grad_norm_,
    clip_grad_value_,
    schedules,
)

__all__ = [
    "EarlyStopping",
    "ProximalSGD",
    "SGD",
    "WeightAverage",
    "clip_before_step",
    "clip_grad_adaptive_",
    "clip_grad_norm_",
    "clip_grad_value_",
    "curvature",
    "engine",
    "schedules",
    "sgd",
]
__version__ = "0.1.0"
