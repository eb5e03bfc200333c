"""Linear softmax on made-up classes of any sizes: what the sizes do to a method, with nothing to know but them."""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial

import torch
from torch import Tensor, nn

from dlopt.lab import losses, models
from dlopt.lab.batches import Batch, split_batches
from dlopt.lab.dataset import Split
from dlopt.lab.tasks import Task

__all__ = ["class_sizes"]


def class_sizes(sizes: Sequence[int], features: int = 64) -> Task:
    """Classes of the given sizes, linear softmax, cross-entropy in nats, full batch.

    Inputs are uniform in [0, 1] and know nothing of the class, as in :func:`dlopt.lab.tasks.heavy_tailed_softmax`,
    which is the case of a heavy tail. Here the seed of a run decides the inputs; the weights start at zero.

    Args:
        sizes: how many examples each class has, at least 1; at least three classes.
        features: size of an input, at least 1.

    Returns:
        A task with the metrics `full_loss`, `full_accuracy`, and `full_loss_common` and `full_loss_rare`, the losses
        of the largest and of the smallest classes.

    Raises:
        ValueError: fewer than three classes, an empty one, or `features` below 1.

    Example:
        >>> task = class_sizes([4, 2, 1], features=8)
        >>> inputs, targets = next(task.batches(0, task.batch_size))
        >>> tuple(inputs.shape), targets.tolist()
        ((7, 8), [0, 0, 0, 0, 1, 1, 2])
    """
    sizes = tuple(map(int, sizes))
    if len(sizes) < 3 or min(sizes) < 1 or features < 1:
        raise ValueError(f"three classes or more, none empty, and a feature are needed; got {sizes} and {features}")
    data = partial(_classes, sizes, features)
    return Task(
        name="class_sizes",
        model=partial(_model, sizes, features),
        batches=partial(_batches, data),
        loss=losses.cross_entropy,
        evaluate=_evaluate,
        batch_size=sum(sizes),
        steps=300,
    )


def _model(sizes: tuple[int, ...], features: int, seed: int) -> nn.Module:
    model = models.logistic_regression(features, len(sizes))
    model.sizes = sizes  # type: ignore[assignment]  # with the inputs: it is judged on what it was trained on
    model.register_buffer("inputs", _classes(sizes, features, seed).inputs, persistent=False)
    return model


def _batches(data: Callable[[int], Split], seed: int, batch_size: int) -> Iterator[Batch]:
    return split_batches(partial(data, seed), seed, batch_size)


def _evaluate(model: nn.Module) -> dict[str, float]:
    split = Split(model.inputs, _targets(model.sizes))  # type: ignore[arg-type]
    return losses.evaluate_groups(lambda: split, "full", model)


@lru_cache
def _targets(sizes: tuple[int, ...]) -> Tensor:
    return torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))


@lru_cache
def _classes(sizes: tuple[int, ...], features: int, seed: int) -> Split:
    targets = _targets(sizes)
    return Split(torch.rand(len(targets), features, generator=torch.Generator().manual_seed(seed)), targets)
