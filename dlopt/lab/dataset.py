"""What a data set is, and how one is split and standardized."""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dlopt.lab.stratified import hold_out

__all__ = ["Dataset", "Split", "Text", "split_dataset"]


@dataclass(frozen=True)
class Split:
    """One part of a data set.

    Attributes:
        inputs: float32, shape ``(n, features)`` for tables, ``(n, channels, height, width)`` for images.
        targets: int64 class indices of shape ``(n,)``, or float32 of shape ``(n, 1)`` for regression.
    """

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True)
class Dataset:
    """Training, validation and test parts of one data set.

    Attributes:
        name: the set's name.
        train, validation, test: disjoint parts.
        classes: names of the classes; empty for regression.
        sha256: hash of the inputs and targets as they were loaded, before splitting.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    sha256: str


@dataclass(frozen=True)
class Text:
    """A text as character indices, cut into contiguous parts.

    Attributes:
        name: the text's name.
        train, validation, test: int64 tensors of shape ``(n,)``, 80, 10 and 10 per cent of the text.
        vocabulary: the distinct characters, sorted; an index points into it.
        sha256: hash of the text in UTF-8.
    """

    name: str
    train: Tensor
    validation: Tensor
    test: Tensor
    vocabulary: tuple[str, ...]
    sha256: str


def split_dataset(
    name: str,
    inputs: np.ndarray,
    targets: np.ndarray,
    classes: tuple[str, ...],
    seed: int = 0,
    standardize: bool = True,
    *,
    scale: float = 1.0,
    published: int | None = None,
) -> Dataset:
    """Split 60, 20, 20 per cent, stratified by class; then standardize by the training part's statistics.

    Args:
        name: the set's name.
        inputs: shape ``(n, features)`` or ``(n, channels, height, width)``, any real dtype.
        targets: shape ``(n,)`` with class indices, or ``(n, 1)`` with real numbers when `classes` is empty.
        classes: names of the classes, empty for regression.
        seed: decides which rows go to which part.
        standardize: mean 0 and variance 1 per feature (tables) or channel (images), real targets too.
        scale: inputs are divided by this first.
        published: the last so many rows are the test part, and as many others the validation part.

    Returns:
        A :class:`Dataset` of float32 inputs.

    Raises:
        ValueError: a class has too few rows to stand in every part.

    Example:
        >>> d = split_dataset("toy", np.arange(20.0)[:, None], np.arange(20) % 2, ("even", "odd"))
        >>> len(d.train), len(d.validation), len(d.test), round(float(d.train.inputs.std(correction=0)), 6)
        (12, 4, 4, 1.0)
    """
    digest = hashlib.sha256(np.ascontiguousarray(inputs).tobytes() + np.ascontiguousarray(targets).tobytes())
    labels = targets if classes else np.zeros(len(targets), int)
    rows = np.arange(len(inputs))
    if published is None:
        rest, test = hold_out(labels, 0.2, seed)
        kept, held = hold_out(labels[rest], 0.25, seed)
    else:
        rest, test = rows[:-published], rows[-published:]
        kept, held = hold_out(labels[rest], published, seed)
    # torch.tensor copies into torch's own aligned memory, so that sums come out alike in every process
    x = torch.tensor(inputs).to(torch.float32) / scale
    y = torch.tensor(targets).to(torch.int64 if classes else torch.float32)
    parts = [torch.tensor(part) for part in (rest[kept], rest[held], test)]
    if standardize:
        x = _standardized(x, x[parts[0]])
        y = y if classes else _standardized(y, y[parts[0]])
    train_part, validation_part, test_part = (Split(x[part], y[part]) for part in parts)
    return Dataset(name, train_part, validation_part, test_part, classes, digest.hexdigest())


def _standardized(x: Tensor, train: Tensor) -> Tensor:
    """`x` with the training part's mean and deviation per feature or channel; constant features stay at 0."""
    dims = [0, 2, 3] if x.dim() == 4 else [0]
    mean, deviation = train.mean(dims, keepdim=True), train.std(dims, keepdim=True, correction=0)
    return (x - mean) / torch.where(deviation > 0, deviation, torch.ones_like(deviation))
