"""Endless streams of training batches, the same for everyone who asks with the same seed."""

from collections.abc import Callable, Iterator
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from dlopt.lab.dataset import Split

__all__ = ["Batch", "Order", "check_order", "cut_windows", "split_batches", "text_batches"]

Batch = tuple[Tensor, Tensor]
Order = Literal["reshuffled", "once", "replacement", "cyclic", "sorted"]


def split_batches(
    part: Callable[[], Split], seed: int, batch_size: int, order: Order = "reshuffled"
) -> Iterator[Batch]:
    """Batches of the rows in some order; by default without replacement, reshuffled after every pass.

    What does not fill a batch at the end of a pass is left out. When the rows are reshuffled, all take part in the
    next shuffle; in the orders that never change, the same rows are left out for ever.

    Args:
        part: returns the rows to draw from.
        seed: at least 0; decides the order.
        batch_size: rows a batch; the number of rows or more gives the whole part, in its own order, every
            time (with replacement: so many draws).
        order: ``"reshuffled"`` after every pass, shuffled ``"once"``, every row of every batch drawn afresh with
            ``"replacement"``, ``"cyclic"`` as the rows lie, or ``"sorted"`` by target, as a folder for each class
            would be read. The first pass of ``"once"`` is that of ``"reshuffled"``.

    Yields:
        ``(inputs, targets)``, with `batch_size` rows each.

    Raises:
        ValueError: `batch_size` below 1, a negative seed or an unknown order, on the first `next`.

    Example:
        >>> rows = Split(torch.arange(4.0), torch.arange(4))
        >>> stream = split_batches(lambda: rows, seed=0, batch_size=2)
        >>> sorted(next(stream)[1].tolist() + next(stream)[1].tolist())
        [0, 1, 2, 3]
    """
    check_order(order)
    generator, split = _generator(seed, batch_size), part()
    n = len(split)
    while order == "replacement":
        chosen = torch.randint(n, (batch_size,), generator=generator)
        yield split.inputs[chosen], split.targets[chosen]
    while batch_size >= n:
        yield split.inputs, split.targets
    rows = torch.randperm(n, generator=generator)
    if order == "cyclic":
        rows = torch.arange(n)
    if order == "sorted":
        rows = torch.argsort(split.targets.flatten(), stable=True)
    while True:
        for chosen in rows[: n - n % batch_size].split(batch_size):
            yield split.inputs[chosen], split.targets[chosen]
        if order == "reshuffled":
            rows = torch.randperm(n, generator=generator)


def check_order(order: str) -> None:
    """Refuse what is no :data:`Order`.

    Raises:
        ValueError: an unknown order.
    """
    if order not in get_args(Order):
        raise ValueError(f"order must be one of {', '.join(get_args(Order))}, got {order!r}")


def text_batches(text: Callable[[], Tensor], context: int, seed: int, batch_size: int) -> Iterator[Batch]:
    """Windows from random places of a text, with replacement.

    Args:
        text: returns the characters as int64 ``(n,)``.
        context: length of a window, below n.
        seed, batch_size: as for :func:`split_batches`.

    Yields:
        ``(inputs, targets)``, int64 ``(batch_size, context)``; the targets are one character further on.

    Raises:
        ValueError: `batch_size` below 1 or a negative seed, on the first `next`.

    Example:
        >>> inputs, targets = next(text_batches(lambda: torch.arange(100), 4, seed=0, batch_size=2))
        >>> (targets - inputs).tolist()
        [[1, 1, 1, 1], [1, 1, 1, 1]]
    """
    generator, characters = _generator(seed, batch_size), text()
    while True:
        starts = torch.randint(len(characters) - context, (batch_size,), generator=generator)
        yield cut_windows(characters, starts, context)


def cut_windows(characters: Tensor, starts: Tensor, context: int) -> Batch:
    """Stretches of a text and the same one further on, both int64 ``(len(starts), context)``.

    Example:
        >>> cut_windows(torch.arange(10), torch.tensor([3]), 2)
        (tensor([[3, 4]]), tensor([[4, 5]]))
    """
    rows = characters[starts[:, None] + torch.arange(context + 1)]
    return rows[:, :-1], rows[:, 1:]


def _generator(seed: int, batch_size: int) -> torch.Generator:
    """Random numbers apart from those with which `torch.manual_seed(seed)` fills a model's weights."""
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if seed < 0:
        raise ValueError(f"seed must be at least 0, got {seed}")
    return torch.Generator().manual_seed(int(np.random.SeedSequence([seed, 1]).generate_state(1)[0]))
