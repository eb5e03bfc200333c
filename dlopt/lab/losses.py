"""Losses of the tasks, and how a model is judged on one part of the data."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlopt.lab.batches import Batch, cut_windows
from dlopt.lab.dataset import Split

__all__ = [
    "cross_entropy",
    "evaluate_groups",
    "evaluate_split",
    "evaluate_text",
    "half_squared_error",
    "logistic",
    "next_character",
    "plain",
    "reconstruction",
    "side_by_side",
    "squared_error",
]

side_by_side: ContextVar[bool] = ContextVar("side_by_side", default=False)
"""Whether many models are being trained or judged at once, by `torch.func.vmap`."""


def plain(value: Tensor) -> Any:
    """A tensor of one number as a Python number; as it is while many models are looked at at once.

    Example:
        >>> plain(torch.tensor(0.5))
        0.5
    """
    return value if side_by_side.get() else value.item()


def cross_entropy(model: nn.Module, batch: Batch) -> Tensor:
    """Mean cross-entropy in nats of logits ``(n, classes)`` for int64 targets ``(n,)``: a scalar.

    Example:
        >>> round(float(cross_entropy(nn.Identity(), (torch.zeros(3, 4), torch.arange(3)))), 4)  # log 4
        1.3863
    """
    inputs, targets = batch
    logits = model(inputs)
    if side_by_side.get():  # vmap would take torch's loss apart in Python, and import SymPy for it
        return -logits.log_softmax(1).gather(1, targets[:, None]).mean()
    return F.cross_entropy(logits, targets)


def half_squared_error(model: nn.Module, batch: Batch) -> Tensor:
    """Half the mean squared error of outputs and float32 targets, both ``(n, 1)``: a scalar.

    Example:
        >>> float(half_squared_error(nn.Identity(), (torch.zeros(2, 1), torch.tensor([[1.0], [3.0]]))))
        2.5
    """
    inputs, targets = batch
    return F.mse_loss(model(inputs), targets) / 2


def logistic(model: nn.Module, batch: Batch, l2: float = 0.0) -> Tensor:
    """Mean logistic loss in nats of logits ``(n, 1)`` for targets 0 or 1, plus ``l2/2`` × squared weights.

    Example:
        >>> round(float(logistic(nn.Identity(), (torch.zeros(2, 1), torch.tensor([0, 1])))), 4)  # log 2
        0.6931
    """
    inputs, targets = batch
    loss = F.binary_cross_entropy_with_logits(model(inputs)[:, 0], targets.to(inputs.dtype))
    for parameter in model.parameters():
        if l2 and parameter.dim() > 1:
            loss = loss + l2 / 2 * parameter.square().sum()
    return loss


def reconstruction(model: nn.Module, batch: Batch) -> Tensor:
    """Half the squared error of outputs ``(n, d)`` against the inputs, summed over d, mean over n: a scalar.

    Example:
        >>> float(reconstruction(nn.Flatten(), (torch.ones(5, 1, 8, 8), torch.zeros(5))))
        0.0
    """
    inputs, _ = batch
    return (model(inputs) - inputs.flatten(1)).square().sum(1).mean() / 2


def squared_error(model: nn.Module, batch: Batch) -> Tensor:
    """Mean squared error of outputs ``(n, classes)`` against the one-hot code of int64 ``(n,)``, over n and classes.

    Example:
        >>> float(squared_error(nn.Identity(), (torch.zeros(3, 4), torch.arange(3))))
        0.25
    """
    inputs, targets = batch
    outputs = model(inputs)
    return F.mse_loss(outputs, F.one_hot(targets, outputs.shape[1]).to(outputs.dtype))


def next_character(model: nn.Module, batch: Batch) -> Tensor:
    """Mean cross-entropy in nats a character of logits ``(n, length, vocabulary)`` for int64 ``(n, length)``.

    Example:
        >>> batch = torch.zeros(2, 3, 4), torch.zeros(2, 3, dtype=torch.int64)
        >>> round(float(next_character(nn.Identity(), batch)), 4)  # log 4
        1.3863
    """
    inputs, targets = batch
    return F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())


@torch.no_grad()
def evaluate_split(
    part: Callable[[], Split], prefix: str, loss: Callable[[nn.Module, Batch], Tensor], model: nn.Module
) -> dict[str, float]:
    """Loss over a whole part, and accuracy where the targets are classes and the model gives logits for them.

    Args:
        part: returns the part of the data.
        prefix: the metrics are named ``{prefix}_loss`` and ``{prefix}_accuracy``.
        loss: (model, batch) → scalar.
        model: called in evaluation mode, and put back into the mode it was in.

    Example:
        >>> split = Split(torch.tensor([[2.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 0]))
        >>> evaluate_split(lambda: split, "val", cross_entropy, nn.Identity())["val_accuracy"]
        0.5
    """
    split, training = part(), model.training
    model.eval()
    metrics = {f"{prefix}_loss": plain(loss(model, (split.inputs, split.targets)))}
    if loss in (cross_entropy, logistic, squared_error):
        logits = model(split.inputs)
        guesses = logits.argmax(1) if logits.shape[1] > 1 else (logits[:, 0] > 0).long()
        metrics[f"{prefix}_accuracy"] = plain((guesses == split.targets).double().mean())
    model.train(training)
    return metrics


@torch.no_grad()
def evaluate_groups(part: Callable[[], Split], prefix: str, model: nn.Module) -> dict[str, float]:
    """:func:`evaluate_split` by cross-entropy, with the losses of the commonest and of the rarest classes.

    Example:
        >>> split = Split(torch.eye(3)[[0, 0, 1]], torch.tensor([0, 0, 1]))
        >>> sorted(evaluate_groups(lambda: split, "full", nn.Identity()))
        ['full_accuracy', 'full_loss', 'full_loss_common', 'full_loss_rare']
    """
    split, metrics = part(), evaluate_split(part, prefix, cross_entropy, model)
    sizes = torch.bincount(split.targets)[split.targets]
    for name, chosen in (("common", sizes == sizes.max()), ("rare", sizes == sizes.min())):
        metrics[f"{prefix}_loss_{name}"] = plain(cross_entropy(model, (split.inputs[chosen], split.targets[chosen])))
    return metrics


@torch.no_grad()
def evaluate_text(
    text: Callable[[], Tensor], prefix: str, context: int, windows: int, model: nn.Module
) -> dict[str, float]:
    """Loss in nats a character and accuracy of the next character, over evenly spaced windows.

    Args:
        text: returns the characters as int64 ``(n,)``.
        prefix: the metrics are named ``{prefix}_loss`` and ``{prefix}_accuracy``.
        context, windows: length and number of the windows.
        model: from int64 ``(windows, context)`` to logits ``(windows, context, vocabulary)``.

    Example:
        >>> right = lambda tokens: 50 * F.one_hot((tokens + 1) % 4, 4).float()
        >>> evaluate_text(lambda: torch.arange(40) % 4, "val", 8, 3, right)["val_accuracy"]
        1.0
    """
    characters = text()
    starts = torch.linspace(0, len(characters) - context - 1, windows).long()
    inputs, targets = cut_windows(characters, starts, context)
    logits = model(inputs)
    return {
        f"{prefix}_loss": plain(F.cross_entropy(logits.flatten(0, 1), targets.flatten())),
        f"{prefix}_accuracy": plain((logits.argmax(-1) == targets).double().mean()),
    }
