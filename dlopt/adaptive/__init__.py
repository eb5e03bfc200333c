"""Adaptive methods: a step length for every parameter, from the gradients it has seen."""

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
