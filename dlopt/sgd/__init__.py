"""Stochastic gradient descent and what is built on it."""

from dlopt.sgd import schedules
from dlopt.sgd.sgd import SGD

__all__ = ["SGD", "schedules"]
from dlopt.sgd.clip_step import clip_before_step
from dlopt.sgd.clipping import clip_grad_adaptive_, clip_grad_norm_, clip_grad_value_
from dlopt.sgd.sgd import SGD

__all__ = ["SGD", "clip_before_step", "clip_grad_adaptive_", "clip_grad_norm_", "clip_grad_value_"]
from dlopt.sgd.averaging import WeightAverage
from dlopt.sgd.batch_statistics import update_bn
from dlopt.sgd.early_stopping import EarlyStopping
from dlopt.sgd.proximal import ProximalSGD, l1_prox, soft_threshold
from dlopt.sgd.sgd import SGD

__all__ = [
    "EarlyStopping",
    "ProximalSGD",
    "SGD",
    "WeightAverage",
    "l1_prox",
    "soft_threshold",
    "update_bn",
]
from dlopt.sgd.noise import (
    GradientNoise,
    example_gradients,
    gradient_covariance,
    stationary_covariance,
    stationary_variance,
)
from dlopt.sgd.sgd import SGD

__all__ = [
    "SGD", "GradientNoise", "example_gradients", "gradient_covariance", "stationary_covariance", "stationary_variance",
]  # fmt: skip
from dlopt.sgd.order import OrderSampler, order
from dlopt.sgd.sgd import SGD

__all__ = ["SGD", "OrderSampler", "order"]
