"""The tasks on which methods are compared: a model, its batches, its loss, and how it is judged.

Five stand for deep learning in small: `digits_mlp`, `digits_convnet`, `character_transformer`,
`digits_autoencoder`, `heavy_tailed_softmax`. One has gradients that explode: `character_recurrent`. Two are
convex: `least_squares`, `logistic_regression`.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dlopt.lab import data, losses, models, recurrent
from dlopt.lab.batches import Batch, split_batches, text_batches
from dlopt.lab.dataset import Dataset, Split
from dlopt.lab.task import Task, with_order

__all__ = [
    "TASKS",
    "Part",
    "Task",
    "character_recurrent",
    "character_transformer",
    "digits_autoencoder",
    "digits_convnet",
    "digits_mlp",
    "heavy_tailed_softmax",
    "least_squares",
    "logistic_regression",
    "with_order",
]

Part = Literal["train", "validation", "test"]
_PREFIX = {"train": "full", "validation": "val", "test": "test"}


def digits_mlp(widths: tuple[int, ...] = (64,), init: models.Init = "he", part: Part = "validation") -> Task:
    """Handwritten digits, a fully connected ReLU network, cross-entropy in nats.

    Args:
        widths, init: of :func:`dlopt.lab.models.mlp`.
        part: which part `evaluate` looks at; its metrics are named `val_loss`, `val_accuracy`, or begin
            with `test_`, or with `full_` for the whole training part.

    Raises:
        ValueError: an unknown part, or as the model says.

    Example:
        >>> task = digits_mlp()
        >>> sorted(task.evaluate(task.model(0)))
        ['val_accuracy', 'val_loss']
    """
    model = partial(_model, models.mlp, features=64, classes=10, widths=tuple(widths), init=init)
    return _supervised("digits_mlp", data.digits, model, losses.cross_entropy, part, batch_size=32, steps=600)


def digits_convnet(width: int = 16, init: models.Init = "he", part: Part = "validation") -> Task:
    """Handwritten digits, a small convolutional network, cross-entropy in nats.

    Args:
        width, init: of :func:`dlopt.lab.models.convnet`.
        part: as for :func:`digits_mlp`.

    Example:
        >>> digits_convnet().batch_size
        32
    """
    model = partial(_model, models.convnet, width=width, init=init)
    return _supervised("digits_convnet", data.digits, model, losses.cross_entropy, part, batch_size=32, steps=400)


def digits_autoencoder(
    widths: tuple[int, ...] = (64, 32, 8, 32, 64), init: models.Init = "torch", part: Part = "validation"
) -> Task:
    """Handwritten digits through a narrow middle; half the squared error over pixels in [0, 1].

    The error is summed over the 64 pixels, and averaged over images.

    Args:
        widths, init: of :func:`dlopt.lab.models.autoencoder`, activation tanh.
        part: as for :func:`digits_mlp`.

    Example:
        >>> task = digits_autoencoder()
        >>> 1 < task.loss(task.model(0), next(task.batches(0, 8))).item() < 10
        True
    """
    model = partial(_model, models.autoencoder, widths=tuple(widths), init=init)
    source = partial(data.digits, standardize=False)
    return _supervised("digits_autoencoder", source, model, losses.reconstruction, part, batch_size=128, steps=400)


def least_squares(part: Part = "validation") -> Task:
    """Diabetes, linear; half the mean squared error, in units of the target's variance.

    Example:
        >>> task = least_squares()
        >>> round(task.loss(task.model(0), next(task.batches(0, 265))).item(), 4)  # half the variance
        0.5
    """
    model = partial(_model, models.least_squares, features=10)
    return _supervised("least_squares", data.diabetes, model, losses.half_squared_error, part, batch_size=16, steps=300)


def logistic_regression(l2: float = 1e-2, part: Part = "validation") -> Task:
    """Breast cancer, linear; logistic loss in nats plus ``l2 / 2`` times the squared weights (not the bias).

    Args:
        l2: strength of the penalty, at least 0. It is part of the training loss only.
        part: as for :func:`digits_mlp`.

    Raises:
        ValueError: `l2` is negative, or an unknown part.

    Example:
        >>> task = logistic_regression()
        >>> round(task.loss(task.model(0), next(task.batches(0, 32))).item(), 4)  # log 2 at zero
        0.6931
    """
    if not l2 >= 0:
        raise ValueError(f"l2 must be at least 0, got {l2}")
    model = partial(_model, models.logistic_regression, features=30)
    name, loss = "logistic_regression", partial(losses.logistic, l2=l2)
    return _supervised(name, data.breast_cancer, model, losses.logistic, part, batch_size=32, steps=300, training=loss)


def character_transformer(
    width: int = 64, layers: int = 2, context: int = 64, part: Part = "validation", windows: int = 64
) -> Task:
    """Next character of Python's help texts, a small causal transformer, cross-entropy in nats a character.

    Args:
        width, layers, context: of :func:`dlopt.lab.models.character_transformer`.
        part: as for :func:`digits_mlp`.
        windows: how many stretches of `context` characters, evenly spaced, `evaluate` looks at.

    Example:
        >>> inputs, targets = next(character_transformer().batches(0, 16))
        >>> tuple(inputs.shape), bool((inputs[:, 1:] == targets[:, :-1]).all())
        ((16, 64), True)
    """
    model = partial(models.character_transformer, width=width, layers=layers, context=context)
    return _text("character_transformer", model, context, part, windows)


def character_recurrent(
    width: int = 64, layers: int = 1, init: recurrent.Recurrence = "orthogonal", gain: float = 1.0,
    context: int = 64, part: Part = "validation", windows: int = 64,
) -> Task:  # fmt: skip
    """Next character of Python's help texts, a plain tanh recurrent network, cross-entropy in nats a character.

    Args:
        width, layers, init, gain: of :func:`dlopt.lab.recurrent.character_recurrent`.
        context: length of a window, through all of which the gradient flows back.
        part, windows: as for :func:`character_transformer`.

    Example:
        >>> task = character_recurrent(gain=1.5)
        >>> 4 < task.loss(task.model(0), next(task.batches(0, 16))).item() < 6  # log 103 = 4.6
        True
    """
    model = partial(recurrent.character_recurrent, width=width, layers=layers, init=init, gain=gain)
    return _text("character_recurrent", model, context, part, windows)


def heavy_tailed_softmax(groups: int = 8, features: int = 64) -> Task:
    """Made-up classes whose sizes have a heavy tail, linear softmax, cross-entropy in nats, full batch.

    After Kunstner et al. 2024 (arXiv:2402.19449): group j of `groups` has 2^j classes of 2^(groups-1-j)
    examples, so that every group weighs the same; inputs are uniform in [0, 1] and know nothing of the class.
    What is asked is how fast the training loss falls, so `evaluate` looks at the training part: `full_loss`,
    `full_accuracy`, and the losses of the largest class (`full_loss_common`) and of the smallest
    (`full_loss_rare`).

    Args:
        groups: number of groups, at least 2; there are ``2**groups - 1`` classes.
        features: size of an input, at least 1.

    Raises:
        ValueError: `groups` or `features` is too small.

    Example:
        >>> inputs, targets = next(heavy_tailed_softmax(groups=4).batches(0, 32))
        >>> tuple(inputs.shape), torch.bincount(targets).tolist()
        ((32, 64), [8, 4, 4, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1])
    """
    if groups < 2 or features < 1:
        raise ValueError(f"groups must be at least 2 and features at least 1, got {groups} and {features}")
    part = partial(_heavy_tailed, groups, features)
    return Task(
        name="heavy_tailed_softmax",
        model=partial(_model, models.logistic_regression, features=features, classes=2**groups - 1),
        batches=partial(split_batches, part),
        loss=losses.cross_entropy,
        evaluate=partial(losses.evaluate_groups, part, "full"),
        batch_size=groups * 2 ** (groups - 1),
        steps=300,
    )


TASKS: dict[str, Callable[..., Task]] = {
    task.__name__: task
    for task in (digits_mlp, digits_convnet, character_transformer, digits_autoencoder, heavy_tailed_softmax,
                 character_recurrent, least_squares, logistic_regression)
}  # fmt: skip
"""Every task by its name: ``TASKS["digits_mlp"]()``."""


def _supervised(
    name: str,
    source: Callable[[], Dataset],
    model: Callable[[int], nn.Module],
    loss: Callable[[nn.Module, Batch], Tensor],
    part: Part,
    *,
    batch_size: int,
    steps: int,
    training: Callable[[nn.Module, Batch], Tensor] | None = None,
) -> Task:
    """A task on a data set: judged by `loss`, trained by `training` (or by `loss` as well)."""
    _check(part)
    return Task(
        name=name,
        model=model,
        batches=partial(split_batches, partial(_part, source, "train")),
        loss=training or loss,
        evaluate=partial(losses.evaluate_split, partial(_part, source, part), _PREFIX[part], loss),
        batch_size=batch_size,
        steps=steps,
    )


def _text(name: str, model: Callable[..., nn.Module], context: int, part: Part, windows: int) -> Task:
    """A language model over characters, on windows of `context` of them."""
    _check(part)
    return Task(
        name=name,
        model=partial(_model, model, vocabulary=len(data.english_text().vocabulary)),
        batches=partial(text_batches, partial(_characters, "train"), context),
        loss=losses.next_character,
        evaluate=partial(losses.evaluate_text, partial(_characters, part), _PREFIX[part], context, windows),
        batch_size=16,
        steps=300,
    )


# These stand at the top of the module, not inside the functions above, so that a task can be pickled.


def _model(factory: Callable[..., nn.Module], seed: int, **options: Any) -> nn.Module:
    return factory(**options, seed=seed)


def _part(source: Callable[[], Any], part: Part) -> Split:
    return getattr(source(), part)


def _characters(part: Part) -> Tensor:
    return getattr(data.english_text(), part)


@lru_cache
def _heavy_tailed(groups: int, features: int) -> Split:
    sizes = [2 ** (groups - 1 - j) for j in range(groups) for _ in range(2**j)]
    targets = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    return Split(torch.rand(len(targets), features, generator=torch.Generator().manual_seed(0)), targets)


def _check(part: str) -> None:
    if part not in _PREFIX:
        raise ValueError(f"part must be one of {', '.join(_PREFIX)}, got {part!r}")
