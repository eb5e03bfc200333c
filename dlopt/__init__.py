"""Optimizers for deep neural networks: each written once, from its paper, and run at full speed."""

from dlopt import engine
from dlopt.sgd import SGD, ProximalSGD

__all__ = ["SGD", "ProximalSGD", "engine"]
__version__ = "0.1.0"
