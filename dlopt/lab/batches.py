"""Endless streams of training batches, the same for everyone who asks with the same seed."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from dlopt.lab.dataset import Split

__all__ = ["Batch", "cut_windows", "split_batches", "text_batches"]

Batch = tuple[Tensor, Tensor]


def split_batches(part: Callable[[], Split], seed: int, batch_size: int) -> Iterator[Batch]:
    """Batches without replacement, reshuffled after every pass.

    What does not fill a batch at the end of a pass is left out; all rows take part in the next shuffle.

    Args:
        part: returns the rows to draw from.
        seed: at least 0; decides the order.
        batch_size: rows a batch; the number of rows or more gives the whole part, in its own order, every
            time.

    Yields:
        ``(inputs, targets)``, with `batch_size` rows each.

    Raises:
        ValueError: `batch_size` below 1 or a negative seed, on the first `next`.

    Example:
        >>> rows = Split(torch.arange(4.0), torch.arange(4))
        >>> stream = split_batches(lambda: rows, seed=0, batch_size=2)
        >>> sorted(next(stream)[1].tolist() + next(stream)[1].tolist())
        [0, 1, 2, 3]
    """
    generator, split = _generator(seed, batch_size), part()
    while batch_size >= len(split):
        yield split.inputs, split.targets
    while True:
        order = torch.randperm(len(split), generator=generator)
        for chosen in order[: len(split) - len(split) % batch_size].split(batch_size):
            yield split.inputs[chosen], split.targets[chosen]


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
