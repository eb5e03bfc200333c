"""One training run: one task, one method, one setting, one seed, on one thread."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dlopt.engine.modes import ModeOptimizer
from dlopt.lab.models import one_at_a_time
from dlopt.lab.settings import Setting
from dlopt.lab.tasks import Task

__all__ = ["Factory", "Job", "Schedule", "diverge", "is_better", "make_row", "train", "worst"]

Factory = Callable[..., torch.optim.Optimizer]
Schedule = Callable[[int], float]


@dataclass(frozen=True)
class Job:
    """What one run needs, ready to be sent to another process.

    Attributes:
        task: what to train.
        factory: ``(parameters, **setting)`` → optimizer.
        setting: keywords for the factory.
        seed: decides the initial weights and the order of the batches, alike for every method.
        steps, batch_size: of the training.
        every: a record is taken at step 0, at its multiples, and at the last step.
        schedule: step (from 0) → factor on the learning rates; None for constant ones.
        target: ``(metric, value)``: the run stops at the first record that reaches it.
    """

    task: Task
    factory: Factory
    setting: Setting
    seed: int
    steps: int
    batch_size: int
    every: int
    schedule: Schedule | None = None
    target: tuple[str, float] | None = None


def is_better(metric: str, value: float, than: float) -> bool:
    """Whether `value` is at least as good: larger for a metric with "accuracy" in its name, else smaller.

    Example:
        >>> is_better("val_loss", 0.2, than=0.3), is_better("val_accuracy", 0.2, than=0.3)
        (True, False)
    """
    return value >= than if "accuracy" in metric else value <= than


def worst(metric: str) -> float:
    """What a diverged run scores: inf, and 0 for an accuracy.

    Example:
        >>> worst("val_loss"), worst("val_accuracy")
        (inf, 0.0)
    """
    return 0.0 if "accuracy" in metric else math.inf


def train(job: Job) -> dict[str, list[float]]:
    """Do the run and return its records, one list a column, one entry a record.

    Columns: `step`; `train_loss`, the mean loss of the batches since the previous record (at step 0, the
    first batch's at the initial weights); the task's own metrics; `gradients`, how many times the loss was
    differentiated; `seconds` of training, without evaluation; `diverged`, 0 or 1. From the first loss that is
    not finite on, losses are inf and accuracies 0, in every record that was still to come.

    Sets torch to one thread in this process, and leaves it so.

    Example:
        >>> from dlopt.lab.tasks import least_squares
        >>> job = Job(least_squares(), torch.optim.SGD, {"lr": 0.1}, seed=0, steps=4, batch_size=265, every=2)
        >>> records = train(job)
        >>> records["step"], records["gradients"], round(records["train_loss"][0], 4)
        ([0, 2, 4], [0, 2, 4], 0.5)
    """
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)
    with _seeded(job.seed):  # for methods that draw random numbers themselves
        return _train(job)


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Torch's global generator at `seed`, and put back afterwards; never while another thread builds a model."""
    with one_at_a_time:
        before = torch.get_rng_state()
        torch.manual_seed(seed)
    try:
        yield
    finally:
        with one_at_a_time:
            torch.set_rng_state(before)


def _train(job: Job) -> dict[str, list[float]]:
    model = job.task.model(job.seed)
    optimizer = job.factory(list(model.parameters()), **job.setting)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, job.schedule) if job.schedule else None
    batches = job.task.batches(job.seed, job.batch_size)
    losses: list[float] = []
    gradients, seconds = 0, 0.0

    def closure() -> Tensor:
        nonlocal gradients
        gradients += 1
        with torch.enable_grad():
            optimizer.zero_grad()
            loss = job.task.loss(model, batch)
            loss.backward()
        step_losses.append(loss.item())
        return loss

    rows = [make_row(0, math.nan, _metrics(job, model, optimizer), 0, 0.0)]
    for step in range(1, job.steps + 1):
        started = time.perf_counter()
        batch = next(batches)
        step_losses: list[float] = []
        optimizer.step(closure)  # type: ignore[arg-type]
        if scheduler:
            scheduler.step()
        seconds += time.perf_counter() - started
        losses.append(step_losses[0])
        if step == 1:
            rows[0]["train_loss"] = losses[0]
        diverged = not math.isfinite(losses[-1])
        if step % job.every and step != job.steps and not diverged:
            continue
        rows.append(make_row(step, sum(losses) / len(losses), _metrics(job, model, optimizer), gradients, seconds))
        losses.clear()
        if diverged or not all(math.isfinite(value) for value in rows[-1].values()):
            rows[-1]["step"] = min(-(-step // job.every) * job.every, job.steps)
            diverge(rows, job)
            break
        if job.target and is_better(job.target[0], rows[-1][job.target[0]], than=job.target[1]):
            break
    return {name: [row[name] for row in rows] for name in rows[0]}


def _metrics(job: Job, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """What the task measures, at the point that is for use: some optimizers train at another one."""
    if not isinstance(optimizer, ModeOptimizer):
        return job.task.evaluate(model)
    optimizer.eval()
    metrics = job.task.evaluate(model)
    optimizer.train()
    return metrics


def make_row(step: int, loss: float, metrics: dict[str, float], gradients: int, seconds: float) -> dict[str, Any]:
    """One record.

    Example:
        >>> make_row(5, 0.5, {"val_loss": 0.25}, 5, 0.01)
        {'step': 5, 'train_loss': 0.5, 'val_loss': 0.25, 'gradients': 5, 'seconds': 0.01, 'diverged': 0}
    """
    return {"step": step, "train_loss": loss, **metrics, "gradients": gradients, "seconds": seconds, "diverged": 0}


def diverge(rows: list[dict[str, Any]], job: Job) -> None:
    """Make the last record a diverged one, and repeat it at every step still to come.

    Example:
        >>> from dlopt.lab.tasks import least_squares
        >>> job = Job(least_squares(), torch.optim.SGD, {"lr": 1e9}, seed=0, steps=5, batch_size=16, every=2)
        >>> rows = [make_row(2, math.nan, {"val_accuracy": 0.5}, 2, 0.01)]
        >>> diverge(rows, job)
        >>> [(row["step"], row["train_loss"], row["val_accuracy"]) for row in rows]
        [(2, inf, 0.0), (4, inf, 0.0), (5, inf, 0.0)]
    """
    kept = ("step", "gradients", "seconds")
    bad = {name: value if name in kept else worst(name) for name, value in rows[-1].items()} | {"diverged": 1}
    rows[-1] = bad
    first = int(bad["step"])
    rows += [bad | {"step": s} for s in (*range(first + job.every, job.steps, job.every), job.steps) if s > first]
