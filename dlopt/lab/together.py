"""Many small runs at once: seeds and settings side by side in one stacked model."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from dlopt.lab.experiment import Tuning, tune
from dlopt.lab.optional import require
from dlopt.lab.settings import Setting
from dlopt.lab.tasks import Task
from dlopt.lab.training import Factory

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["run_together", "tune_together"]


def run_together(
    task: Task,
    methods: Mapping[str, Factory],
    *,
    seeds: Sequence[int],
    settings: Mapping[str, Sequence[Setting]],
    steps: int | None = None,
    batch_size: int | None = None,
    every: int | None = None,
) -> "pd.DataFrame":
    """:func:`dlopt.lab.run`, with all seeds and settings of a method stacked into one model.

    A small model's step is hardly more than the cost of calling PyTorch; stacked, fifty runs pay it once. The losses
    are summed, so each run has its own gradient, and a method that works **element by element** (SGD, heavy ball,
    Adam, Lion) takes the same steps as by itself, but for rounding. A method that looks at a whole tensor (Adafactor,
    LAMB, Muon, clipping by norm) would look at all runs at once: it does not belong here.

    Args:
        task: its model and loss must be such that `torch.func.vmap` takes them; batches of one size; no random numbers.
        methods: name → factory ``(parameters, **setting)`` → an optimizer that works element by element.
        seeds, steps, batch_size, every: as for :func:`dlopt.lab.run`.
        settings: one list a method.

    Returns:
        A table with the columns `task`, `method`, `trial`, the setting's keywords, `seed`, `step`, `train_loss` (at
        step 0 of the first batch, then the mean since the last record) and the task's metrics. A run that diverges
        goes on, with losses that are infinite.

    Example:
        >>> from dlopt.lab.tasks import digits_mlp
        >>> table = run_together(digits_mlp((8,)), {"gd": torch.optim.SGD}, seeds=range(5),
        ...                      settings={"gd": [{"lr": 0.01}, {"lr": 0.1}]}, steps=20, every=10)
        >>> len(table), bool(table.query("step == 20").groupby("lr").val_loss.mean().is_monotonic_decreasing)
        (30, True)
    """
    steps, batch_size = steps or task.steps, batch_size or task.batch_size
    frames = []
    for method, factory in methods.items():
        rows = _together(task, factory, settings[method], seeds, steps, batch_size, every or max(1, steps // 20))
        labels = {"task": task.name, "method": method}
        frames += [labels | {"trial": k} | dict(settings[method][k]) | {"seed": s} | row for k, s, row in rows]
    return require("pandas").DataFrame(frames)


def tune_together(task: Task, methods: Mapping[str, Factory], settings: Any, **options: Any) -> Tuning:
    """:func:`dlopt.lab.tune` by :func:`run_together`: its arguments, its record, its errors.

    Example:
        >>> from dlopt.lab.tasks import digits_mlp
        >>> found = tune_together(digits_mlp((8,)), {"gd": torch.optim.SGD}, {"gd": [{"lr": v} for v in (0.1, 1e3)]},
        ...                       tuning_seeds=[0], seeds=[1], steps=20)
        gd: the best lr = 0.1 is the smallest tried; extend the range
    """
    return tune(task, methods, settings, by=run_together, **options)


def _together(
    task: Task, factory: Factory, settings: Sequence[Setting], seeds: Sequence[int],
    steps: int, batch_size: int, every: int,
) -> list[tuple[int, int, dict[str, float]]]:  # fmt: skip
    """(trial, seed, record) of every run."""
    models = [[task.model(seed) for seed in seeds] for _ in settings]
    names = [name for name, _ in models[0][0].named_parameters()]
    stacks = []
    for row in models:
        alike = zip(*map(nn.Module.parameters, row), strict=True)
        stacks.append([torch.stack([p.detach() for p in ps]).requires_grad_() for ps in alike])
    optimizers = [factory(stack, **setting) for stack, setting in zip(stacks, settings, strict=True)]
    batches = [task.batches(seed, batch_size) for seed in seeds]
    losses = vmap(partial(_loss, task, models[0][0], names))
    total, since = torch.zeros(len(settings), len(seeds)), 0
    rows: list[tuple[int, int, dict[str, float]]] = []
    for step in range(1, steps + 1):
        drawn = [torch.stack(parts) for parts in zip(*map(next, batches), strict=True)]
        batch = [part.repeat(len(settings), *[1] * (part.dim() - 1)) for part in drawn]
        each = losses([torch.cat(parts) for parts in zip(*stacks, strict=True)], batch)
        total += each.detach().view_as(total)
        if step == 1:
            rows += _records(task, models, stacks, 0, total, seeds)
        each.sum().backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        if step % every == 0 or step == steps:
            rows += _records(task, models, stacks, step, total / (step - since), seeds)
            total, since = torch.zeros_like(total), step
    return rows


def _loss(task: Task, model: nn.Module, names: Sequence[str], parameters: Sequence[Tensor], batch: Any) -> Tensor:
    called = partial(functional_call, model, dict(zip(names, parameters, strict=True)))
    return task.loss(called, tuple(batch))  # type: ignore[arg-type]


@torch.no_grad()
def _records(
    task: Task, models: Sequence[Sequence[nn.Module]], stacks: Sequence[Sequence[Tensor]],
    step: int, losses: Tensor, seeds: Sequence[int],
) -> list[tuple[int, int, dict[str, float]]]:  # fmt: skip
    rows = []
    for trial, (row, stack) in enumerate(zip(models, stacks, strict=True)):
        for i, (seed, model) in enumerate(zip(seeds, row, strict=True)):
            for parameter, values in zip(model.parameters(), stack, strict=True):
                parameter.copy_(values[i])
            record = {"step": step, "train_loss": float(losses[trial, i]), **task.evaluate(model)}
            missed = {name: math.inf for name, value in record.items() if math.isnan(value)}
            rows.append((trial, seed, record | missed))
    return rows
