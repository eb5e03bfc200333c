"""Optimizers for deep neural networks: each written once, from its paper, and run at full speed."""

from dlopt import engine
from dlopt.sgd import SGD

__all__ = ["SGD", "engine"]
__version__ = "0.1.0"
