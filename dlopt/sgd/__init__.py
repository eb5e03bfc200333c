"""Stochastic gradient descent and what is built on it."""

from dlopt.sgd import schedules
from dlopt.sgd.sgd import SGD

__all__ = ["SGD", "schedules"]
