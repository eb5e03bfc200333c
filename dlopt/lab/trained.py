"""Trained networks on handwritten digits, and their loss surfaces: paths in a plane, two minima at one scale."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

import dlopt
from dlopt.curvature import hessian_operator, top_eigenvalues
from dlopt.lab import data
from dlopt.lab.surface import Surface, path_surface, random_surface
from dlopt.lab.tasks import Task, digits_mlp

__all__ = ["METHODS", "digits_surfaces", "recorded_path", "trained_until"]

METHODS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    "SGD": (dlopt.SGD, {"lr": 0.1}),
    "SGD, momentum": (dlopt.SGD, {"lr": 0.05, "momentum": 0.9}),
    "Adam": (dlopt.Adam, {"lr": 0.003}),
    "Lion": (dlopt.Lion, {"lr": 0.0005}),
}
"""Whose paths are drawn, at learning rates that train well; batches of 32 in the same order for all."""

_STEPS, _EVERY, _BATCH = 240, 3, 32
_LR, _BATCHES, _TARGET, _MOST = 0.1, {"batches of 8": 8, "full batch": 1077}, 0.03, 3000


def recorded_path(
    task: Task, optimizer: Callable[..., torch.optim.Optimizer], steps: int, every: int, batch_size: int, seed: int = 0
) -> Tensor:
    """Train, and keep all parameters at step 0 and at every multiple of `every`.

    Args:
        optimizer: factory from a list of parameters.
        seed: of the weights and of the order of batches.

    Returns:
        A tensor of shape ``(steps // every + 1, d)``.

    Example:
        >>> recorded_path(digits_mlp((8,)), partial(dlopt.SGD, lr=0.1), steps=4, every=2, batch_size=16).shape
        torch.Size([3, 610])
    """
    model = task.model(seed)
    method, batches, points = optimizer(list(model.parameters())), task.batches(seed, batch_size), [_flat(model)]
    for step in range(1, steps + 1):
        _step(task, model, method, next(batches))
        if step % every == 0:
            points.append(_flat(model))
    return torch.stack(points)


def trained_until(task: Task, lr: float, batch_size: int, target: float, most: int, seed: int = 0) -> nn.Module:
    """A network trained by SGD until its loss on all training digits is below `target`, looked at after each pass.

    Two minima can be compared at one loss: with cross-entropy, a network that is trained longer looks flatter only
    because its loss is smaller.

    Raises:
        RuntimeError: the target is not reached within `most` steps.

    Example:
        >>> model = trained_until(digits_mlp(), lr=0.1, batch_size=32, target=0.5, most=100)
        >>> whole_loss(model).item() < 0.5
        True
    """
    model = task.model(seed)
    method, batches = dlopt.SGD(list(model.parameters()), lr=lr), task.batches(seed, batch_size)
    each_pass = max(1, len(data.digits().train) // batch_size)
    for step in range(1, most + 1):
        _step(task, model, method, next(batches))
        if step % each_pass == 0 and whole_loss(model) < target:
            return model
    raise RuntimeError(f"the loss is not below {target} after {most} steps at lr={lr}: allow more, or ask for less")


def whole_loss(model: nn.Module) -> Tensor:
    """Cross-entropy in nats on all training digits."""
    train = data.digits().train
    return nn.functional.cross_entropy(model(train.inputs), train.targets)


@cache
def digits_surfaces(points: int = 37) -> dict[str, Surface]:
    """The surfaces that an explorer shows by itself; computed once a process, in some seconds.

    `training paths` holds the paths of :data:`METHODS` in the plane that holds most of them. `batches of 8` and
    `full batch` are two networks trained by SGD with one learning rate from the same start, stopped at the same
    training loss, each seen over random directions as long as its own filters.

    Args:
        points: on each axis.

    Example:
        >>> surfaces = digits_surfaces(points=5)
        >>> list(surfaces)
        ['training paths', 'batches of 8', 'full batch']
        >>> surfaces["training paths"].loss.shape, len(surfaces["training paths"].traces)
        ((5, 5), 4)
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # for networks as small as these, more threads only wait for each other
    try:
        return _digits_surfaces(points)
    finally:
        torch.set_num_threads(threads)


def _digits_surfaces(points: int) -> dict[str, Surface]:
    task = digits_mlp(part="test")
    paths = {
        name: recorded_path(task, partial(cls, **setting), _STEPS, _EVERY, _BATCH)
        for name, (cls, setting) in METHODS.items()
    }
    about = (
        f"Digits, 64 hidden ReLU units, batches of {_BATCH}, one start; the plane of the paths' principal directions."
    )
    drawn: dict[str, Any] = {"points": points, "every": _EVERY, "about": about}
    found = [path_surface(task.model(0), whole_loss, paths, name="training paths", **drawn)]
    for name, size in _BATCHES.items():
        model = trained_until(task, _LR, size, _TARGET, _MOST)
        accuracy = task.evaluate(model)["test_accuracy"]
        about = (
            f"SGD, lr {_LR}, {name}, stopped at training loss {float(whole_loss(model).detach()):.3f}: sharpness "
            f"{_sharpness(model):.2f}, test accuracy {accuracy:.1%}. Random directions, filter-normalised."
        )
        found.append(random_surface(model, whole_loss, name=name, points=points, about=about))
    return {surface.name: surface for surface in found}


def _step(task: Task, model: nn.Module, method: torch.optim.Optimizer, batch: Any) -> None:
    method.zero_grad()
    task.loss(model, batch).backward()
    method.step()


def _flat(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def _sharpness(model: nn.Module) -> float:
    hessian = hessian_operator(lambda: whole_loss(model), model.parameters())
    return float(top_eigenvalues(hessian, hessian.size, dtype=hessian.gradient.dtype).values[0])
