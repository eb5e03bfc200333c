"""The order in which the examples of a finite data set are visited, epoch by epoch.

With replacement is the sampling of Robbins & Monro 1951; random reshuffling, shuffle-once and the cyclic
order are algorithms 1 and 2 and the incremental gradient method of Mishchenko, Khaled & Richtarik 2020
(arXiv:2006.05988); flip-flop is that of Rajput, Lee & Papailiopoulos 2021 (arXiv:2102.09718, section 5).
"""

from collections.abc import Iterator, Mapping, Sized
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

__all__ = ["How", "OrderSampler", "order"]

How = Literal["replacement", "reshuffled", "once", "cyclic", "flipflop"]


def order(n: int, epochs: int, how: How = "reshuffled", seed: int = 0) -> Tensor:
    """Which example each step takes, for plain loops and for the finite-sum solvers.

    Epoch e depends on `n`, `how`, `seed` and e alone, so that a longer order begins with the shorter one. With
    equal seeds the epoch 0 of ``"reshuffled"``, ``"once"`` and ``"flipflop"`` is the same permutation.

    Args:
        n: number of examples, at least 1.
        epochs: at least 1.
        how: ``"replacement"``: n independent uniform draws an epoch; ``"reshuffled"``: a fresh permutation
            every epoch; ``"once"``: one random permutation for all epochs; ``"cyclic"``: as the data lie;
            ``"flipflop"``: a fresh permutation, then the same one backwards.
        seed: at least 0.

    Returns:
        int64, shape ``(epochs, n)``, values from 0 to n - 1. ``.flatten()`` makes it one sequence of steps.

    Raises:
        ValueError: an argument that is no such integer, or an unknown `how`.

    Example:
        >>> order(4, 3, "once", seed=1)
        tensor([[0, 3, 1, 2],
                [0, 3, 1, 2],
                [0, 3, 1, 2]])
        >>> order(4, 2, "flipflop", seed=1).flatten().tolist()
        [0, 3, 1, 2, 2, 1, 3, 0]
    """
    _check(n, how, seed)
    _whole("epochs", epochs, low=1)
    if how in ("once", "cyclic"):
        return _epoch(n, 0, how, seed).repeat(epochs, 1)
    return torch.stack([_epoch(n, epoch, how, seed) for epoch in range(epochs)])


class OrderSampler(Sampler[int]):
    """The same orders for ``torch.utils.data.DataLoader(data, sampler=...)``, resumable in the middle of an epoch.

    Every pass takes the row ``order(n, ..., how, seed)[epoch]``, and a finished pass moves on to the next epoch by
    itself; :meth:`set_epoch` goes to any other. A pass that is broken off starts again at its beginning, unless a
    state is loaded: then the next pass yields what was left of the saved one, and nothing else. A state with nothing
    left, taken after an epoch's last index, loads as the next epoch at its beginning: go on from its ``epoch``.

    The position counts the indices that were handed out. A `DataLoader` with ``num_workers > 0`` asks for some
    batches in advance: set the position in its state to the number of examples that were trained on.

    Args:
        data: the data set, or the number n of its examples, at least 1.
        how, seed: as for :func:`order`.

    Raises:
        ValueError: as for :func:`order`.

    Example:
        >>> sampler = OrderSampler(5, "reshuffled", seed=0)
        >>> left = iter(sampler)
        >>> next(left), next(left), sampler.state_dict()["position"]
        (1, 0, 2)
        >>> resumed = OrderSampler(5, "reshuffled", seed=0)
        >>> resumed.load_state_dict(sampler.state_dict())
        >>> list(resumed) == list(left), len(list(resumed))
        (True, 5)
    """

    def __init__(self, data: int | Sized, how: How = "reshuffled", seed: int = 0) -> None:
        n = len(data) if isinstance(data, Sized) else data
        _check(n, how, seed)
        self.n, self.how, self.seed = int(n), how, int(seed)
        self.epoch, self.position = 0, 0
        self._skip = 0  # what a loaded state has already handed out of its epoch

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[int]:
        epoch, start = self.epoch, self._skip
        self._skip = 0
        self.position = start
        row = _epoch(self.n, epoch, self.how, self.seed)[start:].tolist()
        for position, index in enumerate(row, start + 1):
            self.position = position
            yield index
        self.epoch, self.position = epoch + 1, 0

    def set_epoch(self, epoch: int) -> None:
        """Let the next pass be that of `epoch`, at least 0; without effect if it is already under way.

        Raises:
            ValueError: `epoch` is no such integer.
        """
        _whole("epoch", epoch, low=0)
        if epoch != self.epoch:
            self.epoch, self.position, self._skip = int(epoch), 0, 0

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers and words, so that ``torch.load(weights_only=True)`` reads them."""
        return {name: getattr(self, name) for name in ("n", "how", "seed", "epoch", "position")}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to the place where `state` was taken; the seed is the state's.

        Raises:
            ValueError: entries are missing or unknown, or of another `n` or `how`, or out of range.
        """
        if set(state) != set(self.state_dict()):
            raise ValueError(f"a state has the entries {sorted(self.state_dict())}, got {sorted(state)}")
        if (state["n"], state["how"]) != (self.n, self.how):
            there, here = f"{state['n']} examples, {state['how']}", f"{self.n} examples, {self.how}"
            raise ValueError(f"the state is for {there}; this sampler is for {here}")
        for name in ("seed", "epoch", "position"):
            _whole(name, state[name], low=0)
        if state["position"] > self.n:
            raise ValueError(f"position must be at most {self.n}, got {state['position']}")
        finished = state["position"] == self.n
        self.seed, self.epoch = int(state["seed"]), int(state["epoch"]) + finished
        self.position = self._skip = 0 if finished else int(state["position"])


def _whole(name: str, value: Any, low: int) -> None:
    """Refuse `value` unless it is an integer from `low` on."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < low:
        raise ValueError(f"{name} must be an integer, at least {low}, got {value!r}")


def _check(n: Any, how: Any, seed: Any) -> None:
    _whole("n", n, low=1)
    _whole("seed", seed, low=0)
    if how not in get_args(How):
        raise ValueError(f"how must be one of {', '.join(get_args(How))}, got {how!r}")


def _epoch(n: int, epoch: int, how: How, seed: int) -> Tensor:
    if how == "cyclic":
        return torch.arange(n)
    drawn = 0 if how == "once" else epoch - epoch % 2 if how == "flipflop" else epoch
    entropy = np.random.SeedSequence([_STREAM, int(seed), drawn])
    generator = torch.Generator().manual_seed(int(entropy.generate_state(1)[0]))
    if how == "replacement":
        return torch.randint(n, (n,), generator=generator)
    row = torch.randperm(n, generator=generator)
    return row.flip(0) if drawn < epoch and how == "flipflop" else row


_STREAM = 3  # sets these random numbers apart from others made from the same seed
