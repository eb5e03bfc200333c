"""Small models for the tasks, as plain `nn.Module`, each initialized from a seed of its own."""

import threading
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

__all__ = [
    "Init",
    "autoencoder",
    "character_transformer",
    "convnet",
    "least_squares",
    "logistic_regression",
    "mlp",
]

Init = Literal["torch", "he"]
_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}
one_at_a_time = threading.Lock()
"""Held by whoever sets torch's global generator or builds a model from it."""


def least_squares(features: int, outputs: int = 1, *, seed: int = 0) -> nn.Module:
    """A linear map with bias, all zero at the start.

    Args:
        features, outputs: sizes of a float32 input ``(n, features)`` and output ``(n, outputs)``.
        seed: has no effect: the problem is convex, and every start leads to one minimum.

    Raises:
        ValueError: a size below 1.

    Example:
        >>> least_squares(10)(torch.ones(3, 10)).shape
        torch.Size([3, 1])
    """
    _check_sizes(features, outputs)
    model = nn.Linear(features, outputs)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    return model


def logistic_regression(features: int, classes: int = 2, *, seed: int = 0) -> nn.Module:
    """Logits by a linear map with bias, all zero at the start: one logit for two classes, else one each.

    Args:
        features: size of a float32 input ``(n, features)``.
        classes: at least 2; the output has shape ``(n, 1)`` for 2 and ``(n, classes)`` above.
        seed: has no effect: the problem is convex.

    Raises:
        ValueError: `features` below 1 or `classes` below 2.

    Example:
        >>> logistic_regression(13, classes=3)(torch.ones(4, 13)).shape
        torch.Size([4, 3])
    """
    if classes < 2:
        raise ValueError(f"classes must be at least 2, got {classes}")
    return least_squares(features, 1 if classes == 2 else classes)


def mlp(
    features: int,
    classes: int,
    widths: Sequence[int] = (64,),
    *,
    activation: Literal["relu", "tanh"] = "relu",
    init: Init = "he",
    seed: int = 0,
) -> nn.Module:
    """A fully connected network; inputs of any shape are flattened.

    Args:
        features, classes: sizes of input and output.
        widths: sizes of the hidden layers.
        activation: ``"relu"`` or ``"tanh"``.
        init: ``"he"``: weights N(0, 2/fan_in) (He et al. 2015, arXiv:1502.01852), biases 0; ``"torch"``:
            PyTorch's default, whose smaller weights leave a deep ReLU network untrainable.
        seed: decides the weights.

    Raises:
        ValueError: a size below 1, an unknown activation or init.

    Example:
        >>> mlp(64, 10)(torch.ones(5, 1, 8, 8)).shape
        torch.Size([5, 10])
    """
    _check_sizes(features, classes, *widths)
    _check_choice("activation", activation, _ACTIVATIONS)
    sizes = [features, *widths, classes]

    def build() -> nn.Module:
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in zip(sizes, sizes[1:], strict=False):
            layers += [nn.Linear(before, after), _ACTIVATIONS[activation]()]
        return nn.Sequential(*layers[:-1])

    return _seeded(build, seed, init)


def convnet(
    channels: int = 1, size: int = 8, classes: int = 10, width: int = 16, *, init: Init = "he", seed: int = 0
) -> nn.Module:
    """Two 3×3 convolutions (`width` and 2 `width` channels), each with ReLU and 2×2 max-pooling, then linear.

    Args:
        channels, size: a float32 input has shape ``(n, channels, size, size)``; `size` is a multiple of 4.
        classes, width: number of outputs, and of channels after the first convolution.
        init, seed: as for :func:`mlp`.

    Raises:
        ValueError: a size below 1, `size` no multiple of 4, an unknown init.

    Example:
        >>> net = convnet()
        >>> net(torch.ones(5, 1, 8, 8)).shape, sum(p.numel() for p in net.parameters())
        (torch.Size([5, 10]), 6090)
    """
    _check_sizes(channels, size, classes, width)
    if size % 4:
        raise ValueError(f"size must be a multiple of 4, got {size}")

    def build() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(2 * width * (size // 4) ** 2, classes),
        )

    return _seeded(build, seed, init)


def autoencoder(
    widths: Sequence[int] = (64, 32, 8, 32, 64),
    *,
    activation: Literal["relu", "tanh"] = "tanh",
    init: Init = "torch",
    seed: int = 0,
) -> nn.Module:
    """A fully connected network whose output has the size of its input, through a narrow middle.

    Args:
        widths: sizes of all layers; the first and the last are equal.
        activation, init, seed: as for :func:`mlp`.

    Raises:
        ValueError: fewer than three layers, the ends differ, or as for :func:`mlp`.

    Example:
        >>> autoencoder()(torch.ones(5, 1, 8, 8)).shape
        torch.Size([5, 64])
    """
    if len(widths) < 3 or widths[0] != widths[-1]:
        raise ValueError(f"widths needs three layers or more and equal ends, got {tuple(widths)}")
    return mlp(widths[0], widths[-1], widths[1:-1], activation=activation, init=init, seed=seed)


class _CharacterTransformer(nn.Module):
    """Embeddings, pre-norm blocks with causal attention, layer norm, linear."""

    mask: Tensor

    def __init__(self, vocabulary: int, width: int, layers: int, heads: int, context: int) -> None:
        super().__init__()
        self.token = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(context), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        length = tokens.shape[1]
        if length > len(self.mask):
            raise ValueError(f"at most {len(self.mask)} characters at a time, got {length}")
        x = self.token(tokens) + self.position.weight[:length]
        for block in self.blocks:
            x = block(x, src_mask=self.mask[:length, :length], is_causal=True)
        return self.head(self.norm(x))


def character_transformer(
    vocabulary: int, *, width: int = 64, layers: int = 2, heads: int = 4, context: int = 64, seed: int = 0
) -> nn.Module:
    """A small causal language model over characters, pre-norm, no dropout (Vaswani 2017, arXiv:1706.03762).

    Args:
        vocabulary: number of distinct characters.
        width, layers, heads: model width, number of blocks, attention heads; `heads` divides `width`.
        context: longest input, in characters.
        seed: decides the weights (PyTorch's default initialization).

    Returns:
        A module from int64 ``(n, length)`` to float32 logits ``(n, length, vocabulary)``.

    Raises:
        ValueError: a size below 1, `heads` does not divide `width`; when called, an input longer than
            `context`.

    Example:
        >>> character_transformer(100)(torch.zeros(2, 64, dtype=torch.int64)).shape
        torch.Size([2, 64, 100])
    """
    _check_sizes(vocabulary, width, layers, heads, context)
    if width % heads:
        raise ValueError(f"heads must divide width, got {heads} and {width}")
    return _seeded(lambda: _CharacterTransformer(vocabulary, width, layers, heads, context), seed, "torch")


def _seeded(build: Callable[[], nn.Module], seed: int, init: Init) -> nn.Module:
    """What `build` makes from the random numbers of `seed`; torch's global generator is left as it was."""
    _check_choice("init", init, ("torch", "he"))
    with one_at_a_time, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build()
        if init == "he":
            for module in model.modules():
                if isinstance(module, (nn.Linear, nn.Conv2d)):
                    nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                    nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    return model


def _check_sizes(*sizes: int) -> None:
    if min(sizes) < 1:
        raise ValueError(f"sizes must be at least 1, got {sizes}")


def _check_choice(what: str, value: str, choices: Sequence[str] | dict[str, type[nn.Module]]) -> None:
    if value not in choices:
        raise ValueError(f"{what} must be one of {', '.join(choices)}, got {value!r}")
