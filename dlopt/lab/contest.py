"""What is compared on the page on choosing: eleven methods, five tasks, and the learning rates tried on each."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import nn

from dlopt.adaptive import Adafactor, Adagrad, AdamW, Lion, NAdam, RAdam, RMSprop, ScheduleFreeAdamW
from dlopt.lab import tasks
from dlopt.lab.combined import muon_with_adamw
from dlopt.lab.experiment import run
from dlopt.lab.optional import require
from dlopt.lab.task import Task
from dlopt.lab.training import Factory
from dlopt.sgd import SGD, schedules

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["METHODS", "TASKS", "Contest", "Method", "measure"]


@dataclass(frozen=True)
class Method:
    """An optimizer and what is tried with it.

    Attributes:
        factory: as for :func:`dlopt.lab.run`.
        lowest: the first of the learning rates.
        default: the learning rate of the class.
        scheduled: whether its rate follows a cosine to zero; if not, it has `warmup_steps` of its own.
        embeddings: whether the factory asks how many of the parameters are embeddings.
    """

    factory: Factory
    lowest: float
    default: float
    scheduled: bool = True
    embeddings: bool = False


@dataclass(frozen=True)
class Contest:
    """A task as it is used here.

    Attributes:
        make: the task's maker; it takes `part`, if there are parts.
        steps, batch_size: of a run.
        parts: it is tuned on the first, and reported on the second and the third, which is the training part.
        embeddings: how many of the model's first parameters are embeddings.
        shift: by how many half decades all learning rates are larger than elsewhere.
    """

    make: Callable[..., Task]
    steps: int
    batch_size: int
    parts: tuple[Any, ...] = ("validation", "test", "train")
    embeddings: int = 0
    shift: int = 0

    def task(self, *parts: str) -> Task:
        """The task, judged on all of `parts`.

        Example:
            >>> task = TASKS["digits_mlp"].task("test", "train")
            >>> sorted(task.evaluate(task.model(0)))
            ['full_accuracy', 'full_loss', 'test_accuracy', 'test_loss']
        """
        if not self.parts:
            return self.make()
        judged = [self.make(part=part) for part in parts]
        return replace(judged[0], evaluate=partial(_all, tuple(task.evaluate for task in judged)))

    def factory(self, method: Method) -> Factory:
        """The method's factory, told what depends on the task."""
        options: dict[str, Any] = {} if method.scheduled else {"warmup_steps": self.warmup}
        if method.embeddings:
            options["embeddings"] = self.embeddings
        return partial(method.factory, **options)

    def rates(self, method: Method, count: int) -> list[float]:
        """The learning rates to try: 1, 3, 10, 30 and so on times the lowest.

        Example:
            >>> TASKS["digits_mlp"].rates(METHODS["SGD"], 3), TASKS["heavy_tailed_softmax"].rates(METHODS["SGD"], 3)
            ([0.03, 0.1, 0.3], [1.0, 3.0, 10.0])
        """
        first = math.floor(2 * math.log10(method.lowest) + 0.1) + self.shift  # half decades are numbered
        return [float(f"{1 + 2 * (k % 2)}e{k // 2}") for k in range(first, first + count)]

    @property
    def warmup(self) -> int:
        """Steps of warm-up: a twentieth."""
        return max(1, self.steps // 20)


TASKS = {
    "digits_mlp": Contest(tasks.digits_mlp, 200, 32),
    "digits_convnet": Contest(partial(tasks.digits_convnet, width=8), 120, 32),
    "character_transformer": Contest(
        partial(tasks.character_transformer, width=32, layers=1, context=32), 160, 8, embeddings=2
    ),
    "digits_autoencoder": Contest(tasks.digits_autoencoder, 200, 64),
    "heavy_tailed_softmax": Contest(
        partial(tasks.heavy_tailed_softmax, groups=6, features=16), 160, 192, parts=(), shift=3
    ),
}
"""The five, small enough for some two thousand runs.

The last asks how fast the training loss falls, and has no parts. It starts at zero and wants far larger steps than
networks do, with every method: all its rates are shifted alike.
"""

METHODS = {
    "SGD": Method(SGD, 0.03, 1e-3),
    "SGD, momentum": Method(partial(SGD, momentum=0.9), 0.003, 1e-3),
    "Adagrad": Method(Adagrad, 0.01, 1e-2),
    "RMSprop": Method(RMSprop, 0.001, 1e-2),
    "AdamW": Method(partial(AdamW, weight_decay=0.0), 0.001, 1e-3),
    "NAdam": Method(NAdam, 0.001, 2e-3),
    "RAdam": Method(RAdam, 0.01, 1e-3),
    "Lion": Method(Lion, 0.0003, 1e-4),
    "Adafactor": Method(Adafactor, 0.01, 1e-2),
    "Schedule-Free": Method(ScheduleFreeAdamW, 0.001, 2.5e-3, scheduled=False),
    "Muon+AdamW": Method(muon_with_adamw, 0.001, 1e-3, embeddings=True),
}
"""Everything but the learning rate is the class's default. There is no weight decay anywhere, so AdamW is Adam."""


def measure(
    contest: Contest,
    methods: Mapping[str, Method],
    rates: Mapping[str, Sequence[float]],
    seeds: Sequence[int],
    *parts: str,
    every: int | None = None,
    **options: Any,
) -> "pd.DataFrame":
    """Train with every method, learning rate and seed, through :func:`dlopt.lab.run`.

    Args:
        contest: the task.
        methods: name → method.
        rates: name → learning rates, equally many for all.
        seeds: distinct integers from 0 on.
        parts: what the model is judged on; the first names `loss` and `accuracy`.
        every: steps between two records; by default there is one at the end.
        options: other arguments of :func:`dlopt.lab.run`.

    Returns:
        Its table, with two more columns: `loss`, and where there is one, `accuracy`.

    Raises:
        ValueError: as :func:`dlopt.lab.run` does.

    Example:
        >>> table = measure(TASKS["digits_mlp"], {"SGD": METHODS["SGD"]}, {"SGD": [0.3]}, [0], "test", cache=False,
        ...                 progress=False)
        >>> bool(table["loss"].iloc[-1] < 0.3)
        True
    """
    tables = []
    for scheduled in (True, False):
        group = {name: method for name, method in methods.items() if method.scheduled == scheduled}
        if group:
            cosine = schedules.warmup(contest.warmup, schedules.cosine(contest.steps - contest.warmup))
            table = run(
                contest.task(*parts), {name: contest.factory(method) for name, method in group.items()}, seeds=seeds,
                settings={name: [{"lr": lr} for lr in rates[name]] for name in group}, steps=contest.steps,
                batch_size=contest.batch_size, every=every or contest.steps,
                schedule=cosine if scheduled else None, **options,
            )  # fmt: skip
            tables.append(table)
    table = require("pandas").concat(tables, ignore_index=True)
    prefix = {"validation": "val", "train": "full"}.get(parts[0], parts[0]) if contest.parts else "full"
    for metric in ("loss", "accuracy"):
        if f"{prefix}_{metric}" in table:
            table[metric] = table[f"{prefix}_{metric}"]
    return table


def _all(evaluates: Sequence[Callable[[nn.Module], dict[str, float]]], model: nn.Module) -> dict[str, float]:
    return {name: value for evaluate in evaluates for name, value in evaluate(model).items()}
