"""A plain recurrent network, whose gradients vanish or explode as its recurrent matrix says."""

from typing import Literal

import torch
from torch import Tensor, nn

from dlopt.lab.models import _check_choice, _check_sizes, _seeded

__all__ = ["Recurrence", "character_recurrent"]

Recurrence = Literal["torch", "orthogonal", "identity"]


class _CharacterRecurrent(nn.Module):
    """Embeddings, tanh recurrent layers, linear; the state starts at 0."""

    def __init__(self, vocabulary: int, width: int, layers: int) -> None:
        super().__init__()
        self.token = nn.Embedding(vocabulary, width)
        self.recurrent = nn.RNN(width, width, layers, nonlinearity="tanh", batch_first=True)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.recurrent(self.token(tokens))[0])


def character_recurrent(
    vocabulary: int,
    *,
    width: int = 64,
    layers: int = 1,
    init: Recurrence = "orthogonal",
    gain: float = 1.0,
    seed: int = 0,
) -> nn.Module:
    """A causal language model over characters: ``h_t = tanh(W h_{t-1} + U x_t + b)`` (Elman 1990).

    Args:
        vocabulary: number of distinct characters.
        width, layers: size of the state, number of recurrent layers one upon the other.
        init: how each recurrent matrix W starts: ``"orthogonal"``, `gain` times a random orthogonal matrix;
            ``"identity"``, `gain` times the identity (Le et al. 2015, arXiv:1504.00941); ``"torch"``, PyTorch's
            default, uniform in ±1/√width. All else is PyTorch's default.
        gain: the spectral radius of W, and its only singular value; above 0. 1 with ``init="torch"``.
        seed: decides the weights.

    Returns:
        A module from int64 ``(n, length)`` to float32 logits ``(n, length, vocabulary)``; any length.

    Raises:
        ValueError: a size below 1, an unknown `init`, a `gain` that is not above 0 and finite, or not 1 with
            ``init="torch"``.

    Example:
        >>> net = character_recurrent(100, width=8, gain=1.5)
        >>> net(torch.zeros(2, 30, dtype=torch.int64)).shape
        torch.Size([2, 30, 100])
        >>> round(torch.linalg.matrix_norm(net.recurrent.weight_hh_l0, 2).item(), 4)
        1.5
    """
    _check_sizes(vocabulary, width, layers)
    _check_choice("init", init, ("torch", "orthogonal", "identity"))
    if not 0 < gain < float("inf") or (init == "torch" and gain != 1):
        raise ValueError(f"gain must be above 0 and finite, and 1 with init='torch', got {gain} and {init!r}")

    def build() -> nn.Module:
        model = _CharacterRecurrent(vocabulary, width, layers)
        if init == "torch":
            return model
        with torch.no_grad():
            for name, weight in model.recurrent.named_parameters():
                if name.startswith("weight_hh"):
                    (nn.init.orthogonal_ if init == "orthogonal" else nn.init.eye_)(weight).mul_(gain)
        return model

    return _seeded(build, seed, "torch")
