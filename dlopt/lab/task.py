"""What a task is, and the same task with its examples in another order."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor, nn

from dlopt.lab.batches import Batch, Order, check_order, split_batches

__all__ = ["Task", "with_order"]


@dataclass(frozen=True)
class Task:
    """Something to train, ready to be sent to another process.

    Attributes:
        name: the task's name.
        model: seed → a freshly initialized module.
        batches: (seed, batch_size) → endless (inputs, targets), reshuffled after every pass unless `with_order`
            says otherwise.
        loss: (model, batch) → a scalar to minimize.
        evaluate: model → named numbers, losses and accuracies of the evaluated part.
        batch_size, steps: what to use unless told otherwise.
    """

    name: str
    model: Callable[[int], nn.Module]
    batches: Callable[[int, int], Iterator[Batch]]
    loss: Callable[[nn.Module, Batch], Tensor]
    evaluate: Callable[[nn.Module], dict[str, float]]
    batch_size: int
    steps: int


def with_order(task: Task, order: Order) -> Task:
    """The same task with its examples visited in another order; see :func:`dlopt.lab.batches.split_batches`.

    Args:
        task: one that draws rows of a data set, so any but `character_transformer`.
        order: ``"reshuffled"`` (what every task does unless told otherwise), ``"once"``, ``"replacement"``,
            ``"cyclic"`` or ``"sorted"``. It stands in the new task's name.

    Raises:
        ValueError: an unknown order, or a task whose batches have none.

    Example:
        >>> from dlopt.lab.tasks import digits_mlp
        >>> task = with_order(digits_mlp(), "sorted")
        >>> task.name, next(task.batches(0, 4))[1].tolist()
        ('digits_mlp, sorted', [0, 0, 0, 0])
    """
    check_order(order)
    if not (isinstance(task.batches, partial) and task.batches.func is split_batches):
        raise ValueError(f"the batches of {task.name} are not rows of a data set: they have no order")
    name = task.name.split(",")[0]
    return replace(task, name=f"{name}, {order}", batches=partial(task.batches, order=order))
