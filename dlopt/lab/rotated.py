"""A task whose parameter space has been turned: the same function, seen from other coordinate axes."""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from dlopt.lab.tasks import Task

__all__ = ["rotated"]


def rotated(task: Task, seed: int = 0) -> Task:
    """The same task with every parameter tensor multiplied by a random orthogonal matrix of its own.

    A tensor :math:`w` of n numbers is written as :math:`w = Q z` with a random orthogonal (n, n) matrix Q, and z is
    what the optimizer sees. Function, initial function and batches are those of `task`; only the axes differ. A
    method that knows no axes (SGD, heavy ball) takes the same steps but for rounding; one that works element by
    element (Adam, Lion) does not.

    Args:
        task: a task whose tensors are small: Q has the square of a tensor's size.
        seed: decides the matrices, the same for every run, and apart from the run's own seed.

    Returns:
        A task; its models have the parameters z, one tensor for each tensor of the original.

    Raises:
        ValueError: a tensor of more than 4,096 numbers (64 MiB for its matrix).

    Example:
        >>> from dlopt.lab.tasks import digits_mlp
        >>> plain = digits_mlp(widths=(4,))
        >>> turned, batch = rotated(plain), next(plain.batches(0, 32))
        >>> bool(torch.isclose(plain.loss(plain.model(0), batch), turned.loss(turned.model(0), batch), rtol=1e-4))
        True
    """
    largest = max(p.numel() for p in task.model(0).parameters())
    if largest > _LARGEST:
        raise ValueError(f"the largest tensor has {largest} numbers, more than {_LARGEST}: its matrix would be huge")
    model, evaluate = partial(_model, task.model, seed), partial(_evaluate, task.evaluate)
    return replace(task, name=f"{task.name}, rotated", model=model, evaluate=evaluate)


_LARGEST = 4096


class _Rotated(nn.Module):
    """Holds z; a call computes w = Q z and calls the original with it."""

    def __init__(self, inner: nn.Module, seed: int) -> None:
        super().__init__()
        self._original = [inner]  # in a list, so that its parameters are not this module's
        named = dict(inner.named_parameters())
        self.shapes = {name: w.shape for name, w in named.items()}
        self.turns = {name: _orthogonal(w.numel(), seed, place) for place, (name, w) in enumerate(named.items())}
        self.z = nn.ParameterList([self.turns[name].T @ w.detach().flatten() for name, w in named.items()])

    def weights(self) -> Mapping[str, Tensor]:
        """The original's parameters, by name."""
        turned = zip(self.turns.items(), self.z, strict=True)
        return {name: nn.functional.linear(z, turn).view(self.shapes[name]) for (name, turn), z in turned}

    def unturned(self) -> nn.Module:
        """The original, with the weights that z stands for."""
        self._original[0].load_state_dict(dict(self.weights()), strict=False)
        return self._original[0]

    def forward(self, *inputs: Any) -> Any:
        return torch.func.functional_call(self._original[0], dict(self.weights()), inputs)


def _model(original: Any, turn: int, seed: int) -> nn.Module:
    return _Rotated(original(seed), turn)


@torch.no_grad()
def _evaluate(evaluate: Any, model: _Rotated) -> dict[str, float]:
    return evaluate(model.unturned())


@lru_cache(maxsize=16)
def _orthogonal(n: int, seed: int, place: int) -> Tensor:
    """From the uniform distribution: QR of a Gaussian, with the signs of R's diagonal (Mezzadri 2007)."""
    generator = torch.Generator().manual_seed(1_000_003 * seed + place)
    q, r = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))
    return (q * torch.where(r.diagonal() < 0, -1.0, 1.0)).float()
