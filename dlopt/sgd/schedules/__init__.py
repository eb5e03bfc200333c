"""Learning-rate schedules: pure functions of the step, counted from 0, that multiply the learning rate.

Each is one short function in the grammar of rules, evaluated in float64, or is composed of such functions. All go
into `torch.optim.lr_scheduler.LambdaLR`, with any optimizer, and into :func:`dlopt.lab.run`. Where torch has the
schedule, the learning rates are torch's at every step; `steps` is what torch calls `total_iters`, `total_steps`,
`T_max` or `T_0`, and a `floor` is a share of the learning rate, not a rate.

>>> from dlopt.sgd import schedules
>>> schedule = schedules.warmup(10, schedules.cosine(90))
>>> schedule(5), schedule(10), round(schedule(55), 3)
(0.5, 1.0, 0.5)
"""

from dlopt.sgd.schedules.cosine import cosine, cosine_restarts
from dlopt.sgd.schedules.decay import (
    constant,
    exponential,
    inverse_sqrt,
    inverse_time,
    linear,
    multi_step,
    polynomial,
    step,
)
from dlopt.sgd.schedules.one_cycle import one_cycle, one_cycle_momentum
from dlopt.sgd.schedules.schedule import Formula, Product, Schedule, Sequential, sequential
from dlopt.sgd.schedules.warmup import warmup, warmup_stable_decay

__all__ = [
    "Formula", "Product", "Schedule", "Sequential", "constant", "cosine", "cosine_restarts", "exponential",
    "inverse_sqrt", "inverse_time", "linear", "multi_step", "one_cycle", "one_cycle_momentum", "polynomial",
    "sequential", "step", "warmup", "warmup_stable_decay",
]  # fmt: skip
