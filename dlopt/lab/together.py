"""Many small runs at once: seeds and settings side by side in one stacked model.

Which methods can: one that works **element by element** (SGD, heavy ball, Adam, Lion) takes the same steps as by
itself, but for rounding, for the losses are summed and each run has its own gradient. A method that looks at a whole
tensor (Adafactor, LAMB, Muon, clipping by norm) would look at all runs at once: it is refused, as is any that does not
say how it works. Nor may a method draw random numbers.

Which tasks can: the model and its loss must be such that `torch.func.vmap` takes them, batches must be of one size, and
what a loss knows of a model must be in its parameters and buffers.
"""

import contextlib
import copy
import math
import time
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from dlopt.engine.modes import ModeOptimizer
from dlopt.engine.optimizer import RuleOptimizer
from dlopt.lab import losses
from dlopt.lab.task import Task
from dlopt.lab.training import Job, diverge, is_better, make_row

__all__ = ["train_together"]

_CHUNK = 64  # models that are judged at once: more would only take memory
_TORCH = ("ASGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Rprop", "SGD")


def train_together(
    jobs: Sequence[Job], done: Callable[[int], Any] = lambda steps: None
) -> list[dict[str, list[float]]]:
    """Do the runs of one method, every setting with every seed, and return what :func:`~dlopt.lab.training.train` does.

    `seconds` are each run's share of the time. Sets torch to one thread in this process, and leaves it so.

    Args:
        jobs: alike but for setting and seed; the settings one after another, each with the same seeds.
        done: told after each record how many steps have been taken since the last.

    Raises:
        ValueError: the optimizer does not work element by element, or what clips its gradients might not.
        RuntimeError: from `vmap`, for a model or a loss that it cannot take.

    Example:
        >>> from dlopt.lab.tasks import least_squares
        >>> jobs = [Job(least_squares(), torch.optim.SGD, {"lr": lr}, seed, steps=4, batch_size=265, every=2)
        ...         for lr in (0.1, 0.2) for seed in (0, 1)]
        >>> [(records["step"], round(records["val_loss"][-1], 3)) for records in train_together(jobs)]
        [([0, 2, 4], 0.329), ([0, 2, 4], 0.329), ([0, 2, 4], 0.315), ([0, 2, 4], 0.315)]
    """
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)
    # vmap has no rule for torch's fused attention and would take model after model
    with torch.random.fork_rng(devices=[]), sdpa_kernel(SDPBackend.MATH):
        torch.manual_seed(jobs[0].seed)  # for an evaluation that draws random numbers
        return _train(jobs, done)


def _train(jobs: Sequence[Job], done: Callable[[int], Any]) -> list[dict[str, list[float]]]:
    job, runs = jobs[0], _Runs(jobs)
    rows = [[make_row(0, math.nan, metrics, 0, 0.0)] for metrics in runs.metrics()]
    still, since, seconds = set(range(len(jobs))), 0, 0.0
    history: list[Tensor] = []
    for step in range(1, job.steps + 1):
        started = time.perf_counter()
        history.append(runs.step())
        seconds += (time.perf_counter() - started) / len(jobs)
        if step == 1:
            for row, loss in zip(rows, history[0].tolist(), strict=True):
                row[0]["train_loss"] = loss
        if step % job.every and step != job.steps:
            continue
        each = torch.stack(history).double()
        means, bad = each.mean(0).tolist(), (~each.isfinite()).double()
        first = (since + 1 + bad.argmax(0)).tolist()  # the step at which a run diverged, if it did
        lost = bad.any(0).tolist()
        for i, metrics in enumerate(runs.metrics()):
            if i not in still:
                continue
            rows[i].append(make_row(step, means[i], metrics, first[i] if lost[i] else step, seconds))
            if not all(math.isfinite(value) for value in rows[i][-1].values()):
                diverge(rows[i], job)
                still.remove(i)
            elif job.target and is_better(job.target[0], rows[i][-1][job.target[0]], than=job.target[1]):
                still.remove(i)
        done(step - since)
        history, since = [], step
        if not still:
            done(job.steps - step)
            break
    return [{name: [row[name] for row in found] for name in found[0]} for found in rows]


@contextlib.contextmanager
def _side_by_side() -> Iterator[None]:
    token = losses.side_by_side.set(True)
    try:
        yield
    finally:
        losses.side_by_side.reset(token)


class _Asked(nn.Module):
    """Holds a model, so that `functional_call` may change its tensors while somebody looks at it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ask: Callable[..., Any], *also: Any) -> Any:
        return ask(self.model, *also)


class _Runs:
    """The runs' models, stacked, and an optimizer for every setting."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        job = jobs[0]
        seeds = list(dict.fromkeys(each.seed for each in jobs))
        settings = [each.setting for each in jobs[:: len(seeds)]]
        self.task, self.groups = job.task, len(settings)
        self.models = [job.task.model(seed) for seed in seeds]
        self.asked = _Asked(self.models[0])
        job.task.evaluate(self.models[0])  # the data are loaded here: what is made inside vmap is vmap's
        self.alike = _alike(self.models)
        self.copies: dict[int, list[nn.Module]] = {}  # of the models, for what cannot be measured stacked
        self.parameters = _stacked([_Asked(m).named_parameters() for m in self.models], self.groups)
        self.buffers = _stacked([_Asked(m).named_buffers() for m in self.models], self.groups)
        self.rows = [slice(k * len(seeds), (k + 1) * len(seeds)) for k in range(self.groups)]
        self.views = [[p.detach()[part].requires_grad_() for p in self.parameters.values()] for part in self.rows]
        self.gradients: dict[int, Tensor] = {}
        for p in self.parameters.values():
            p.requires_grad_()
        self.optimizers = [job.factory(view, **setting) for view, setting in zip(self.views, settings, strict=True)]
        for optimizer in self.optimizers:
            _check_elementwise(optimizer)
        rate = torch.optim.lr_scheduler.LambdaLR
        self.schedulers = [rate(optimizer, job.schedule) for optimizer in self.optimizers] if job.schedule else []
        self.batches = [job.task.batches(seed, job.batch_size) for seed in seeds]

    def step(self) -> Tensor:
        """Take one step in every run, and return the losses before it."""
        parts = list(zip(*map(next, self.batches), strict=True))
        shared = [all(value is part[0] for value in part) for part in parts]
        batch = [
            part[0] if same else torch.stack(part).repeat(self.groups, *[1] * part[0].dim())
            for part, same in zip(parts, shared, strict=True)
        ]
        ask = vmap(partial(_loss, self.task, self.asked), in_dims=(0, 0, tuple(None if same else 0 for same in shared)))
        with _side_by_side():
            each = ask(self.parameters, self.buffers, tuple(batch))
        gradients = torch.autograd.grad(each.sum(), list(self.parameters.values()), allow_unused=True)
        for place, gradient in enumerate(gradients):
            if gradient is not None:
                self._buffer(place).copy_(gradient)
        for optimizer in self.optimizers:
            optimizer.step()
        for scheduler in self.schedulers:
            scheduler.step()
        return each.detach()

    def _buffer(self, place: int) -> Tensor:
        """Where the gradients of one tensor stand, in its own order of dimensions, always at the same address."""
        if place not in self.gradients:
            buffer = self.gradients[place] = torch.empty_like(
                list(self.parameters.values())[place], requires_grad=False
            )
            for view, part in zip(self.views, self.rows, strict=True):
                view[place].grad = buffer[part]
        return self.gradients[place]

    def metrics(self) -> list[dict[str, float]]:
        """What the task measures, of every run."""
        moved = [optimizer for optimizer in self.optimizers if isinstance(optimizer, ModeOptimizer)]
        for optimizer in moved:
            optimizer.eval()
        found = self._measured_stacked() or [row for k in range(self.groups) for row in self._measured_singly(k)]
        for optimizer in moved:
            optimizer.train()
        return found

    def _measured_stacked(self) -> list[dict[str, float]] | None:
        if not self.alike:
            return None
        tensors = {**self.parameters, **self.buffers}
        try:
            with torch.no_grad(), _side_by_side():
                ask = vmap(partial(functional_call, self.asked), in_dims=(0, None), chunk_size=_CHUNK)
                measured = ask(tensors, self.task.evaluate)
            columns = [values.tolist() for values in measured.values()]
        except (RuntimeError, TypeError, ValueError):  # it needs plain numbers, as a search for eigenvalues does
            self.alike = False
            return None
        return [dict(zip(measured, row, strict=True)) for row in zip(*columns, strict=True)]

    def _measured_singly(self, group: int) -> list[dict[str, float]]:
        if group not in self.copies:
            self.copies[group] = copy.deepcopy(self.models)
        copies = self.copies[group]
        with torch.no_grad():
            for i, model in enumerate(copies):
                for p, values in zip(model.parameters(), self.views[group], strict=True):
                    p.copy_(values[i])
        return [self.task.evaluate(model) for model in copies]


def _loss(task: Task, asked: _Asked, parameters: Any, buffers: Any, batch: Any) -> Tensor:
    return functional_call(asked, {**parameters, **buffers}, (task.loss, batch))


def _stacked(named: Iterable[Iterable[tuple[str, Tensor]]], times: int) -> dict[str, Tensor]:
    """The tensors of one name of all models, one after another, and all of that so many times."""
    alike = [dict(tensors) for tensors in named]
    return {name: torch.stack([each[name].detach() for each in alike] * times) for name in alike[0]}


def _alike(models: Sequence[nn.Module]) -> bool:
    """Whether the models differ in nothing but the numbers in their parameters and buffers."""
    own = vars(nn.Module())
    for modules in zip(*(model.modules() for model in models), strict=True):
        kept = [{name: value for name, value in vars(module).items() if name not in own} for module in modules]
        if not all(map(_is_plain, kept[0].values())) or any(k != kept[0] for k in kept):
            return False
    return True


def _is_plain(value: Any) -> bool:
    """Whether it is without doubt no tensor, and holds none."""
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, float, int, str, torch.dtype, types.FunctionType))


def _check_elementwise(optimizer: torch.optim.Optimizer) -> None:
    name = type(optimizer).__name__
    ours = isinstance(optimizer, RuleOptimizer) and not optimizer.matrix
    if not ours and not (type(optimizer).__module__.startswith("torch.optim.") and name in _TORCH):
        raise ValueError(f"{name} is not known to work element by element: run it without together=True")
    if ours and any(g["optim_bits"] == 8 or g["writing"] == "stochastic" for g in optimizer.param_groups):
        raise ValueError("blocks of 8-bit state and random words would reach across runs: run it without together=True")
    if optimizer._optimizer_step_pre_hooks:
        raise ValueError(f"something looks at the gradients of {name} before it does: run it without together=True")
