"""The sharpness of a loss, its largest Hessian eigenvalue, recorded while a network trains."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from dlopt.curvature import hessian_operator, top_eigenvalues
from dlopt.engine.checks import number
from dlopt.lab import data, losses, models
from dlopt.lab.batches import Batch, split_batches
from dlopt.lab.dataset import Split
from dlopt.lab.tasks import Task

__all__ = ["few_digits", "with_sharpness"]

_LOSSES: dict[str, Callable[[nn.Module, Batch], Tensor]] = {
    "squared": losses.squared_error,
    "cross_entropy": losses.cross_entropy,
}


def few_digits(
    loss: Literal["squared", "cross_entropy"] = "squared",
    *,
    examples: int = 300,
    widths: Sequence[int] = (64, 64),
    activation: Literal["relu", "tanh"] = "tanh",
    init: models.Init = "torch",
) -> Task:
    """The first training digits, few enough to take all of them at every step, and a smooth network.

    Args:
        loss: ``"squared"``, :func:`dlopt.lab.losses.squared_error`, or ``"cross_entropy"`` in nats.
        examples: from 1 to 1,077; also the task's batch size, so that a run is full batch unless told otherwise.
        widths, activation, init: of :func:`dlopt.lab.models.mlp`.

    Returns:
        A task that is judged by `val_loss` and `val_accuracy`.

    Raises:
        ValueError: an unknown loss, a number of examples out of range, or as the model says.

    Example:
        >>> task = few_digits(examples=100)
        >>> inputs, targets = next(task.batches(0, task.batch_size))
        >>> len(inputs), 0.05 < task.loss(task.model(0), (inputs, targets)).item() < 0.2
        (100, True)
    """
    if loss not in _LOSSES:
        raise ValueError(f"loss must be one of {', '.join(_LOSSES)}, got {loss!r}")
    if not 1 <= examples <= len(data.digits().train):
        raise ValueError(f"examples must be from 1 to {len(data.digits().train)}, got {examples}")
    return Task(
        name=f"few_digits_{loss}",
        model=partial(_model, tuple(widths), activation, init),
        batches=partial(split_batches, partial(_first, examples)),
        loss=_LOSSES[loss],
        evaluate=partial(losses.evaluate_split, _validation, "val", _LOSSES[loss]),
        batch_size=examples,
        steps=1000,
    )


def with_sharpness(task: Task, k: int = 1, *, tol: float = 1e-3) -> Task:
    """The same task, whose records also hold the curvature of the loss over all training data.

    `full_loss` is that loss; `sharpness` its largest Hessian eigenvalue; `slope` the component of its gradient along
    the eigenvector, whose sign is kept from record to record. With a `k` above 1 the next largest eigenvalues are
    `sharpness_2`, `sharpness_3` and so on. Where the loss is no longer finite, all are inf. A record costs about 10
    products with the Hessian; the eigenvector of a model's last record starts the next search.

    Args:
        task: with batches from a data split; the training part is what a batch of any large size holds.
        k: how many eigenvalues.
        tol: relative to the largest one in modulus, an upper bound on their errors; between 0 and 1.

    Raises:
        ValueError: `k` is no whole number from 1 on, or `tol` is out of range; and with the first record, if the model
            has fewer than `k` parameters.

    Example:
        >>> task = with_sharpness(few_digits(examples=100))
        >>> sorted(task.evaluate(task.model(0)))
        ['full_loss', 'sharpness', 'slope', 'val_accuracy', 'val_loss']
    """
    if not (isinstance(k, int) and k >= 1):
        raise ValueError(f"k must be a whole number from 1 on, got {k!r}")
    number("tol", tol, low=0, below=1)
    if tol == 0:
        raise ValueError("Invalid tol: 0 (no search would ever end)")
    return replace(task, evaluate=partial(_evaluate, task, k, tol))


_WHOLE = 10**9
_known: WeakKeyDictionary[nn.Module, Tensor] = WeakKeyDictionary()


def _evaluate(task: Task, k: int, tol: float, model: nn.Module) -> dict[str, float]:
    batch = _whole(task)
    metrics = task.evaluate(model)
    names = ["sharpness", *(f"sharpness_{i}" for i in range(2, k + 1))]
    diverged = metrics | dict.fromkeys(("full_loss", "slope", *names), float("inf"))
    with torch.enable_grad():
        loss = task.loss(model, batch)
    if not loss.isfinite().all():
        return diverged
    hessian = hessian_operator(lambda: loss, model.parameters())

    def product(v: Tensor) -> Tensor:
        return _finite(hessian(v))

    try:
        start, dtype = _known.get(model), _finite(hessian.gradient).dtype
        top = top_eigenvalues(product, hessian.size, k, tol=tol, start=start, dtype=dtype)
    except OverflowError:
        return diverged
    vector = top.vectors[0] if start is None or top.vectors[0] @ start > 0 else -top.vectors[0]
    _known[model] = vector
    slope = float(hessian.gradient @ vector)
    return metrics | {"full_loss": hessian.loss, "slope": slope} | dict(zip(names, top.values.tolist(), strict=True))


def _whole(task: Task) -> Batch:
    """All training data. Whoever draws with replacement would draw them a billion times."""
    batches: Callable[[int, int], Iterator[Batch]] = task.batches
    if isinstance(batches, partial) and batches.keywords.get("order") == "replacement":
        batches = partial(batches, order="cyclic")
    return next(batches(0, _WHOLE))


def _finite(values: Tensor) -> Tensor:
    if not values.isfinite().all():
        raise OverflowError("a gradient or a product with the Hessian is not finite")
    return values


def _model(widths: tuple[int, ...], activation: Literal["relu", "tanh"], init: models.Init, seed: int) -> nn.Module:
    return models.mlp(64, 10, widths, activation=activation, init=init, seed=seed)


def _first(examples: int) -> Split:
    train = data.digits().train
    return Split(train.inputs[:examples], train.targets[:examples])


def _validation() -> Split:
    return data.digits().validation
