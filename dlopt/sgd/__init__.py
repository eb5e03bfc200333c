"""Stochastic gradient descent and what is built on it."""

from dlopt.sgd import schedules
from dlopt.sgd.averaging import WeightAverage
from dlopt.sgd.batch_statistics import update_bn
from dlopt.sgd.clip_step import clip_before_step
from dlopt.sgd.clipping import clip_grad_adaptive_, clip_grad_norm_, clip_grad_value_
from dlopt.sgd.early_stopping import EarlyStopping
from dlopt.sgd.finite_sums import linear_loss, sag, saga, sarah, scsg, svrg, table_bytes
from dlopt.sgd.noise import (
    GradientNoise,
    example_gradients,
    gradient_covariance,
    stationary_covariance,
    stationary_variance,
)
from dlopt.sgd.order import OrderSampler, order
from dlopt.sgd.proximal import ProximalSGD, l1_prox, soft_threshold
from dlopt.sgd.sgd import SGD

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
