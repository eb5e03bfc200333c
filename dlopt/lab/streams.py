"""Streams whose concept drifts, made of the bundled data, and linear learners that are tested as they learn.

An example of a stream is met once. Whoever predicts it before learning from it needs no test set.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dlopt.lab import data

__all__ = ["Drift", "Stream", "diabetes", "digits", "progressive"]


@dataclass(frozen=True)
class Drift:
    """Where one concept takes over from another.

    Attributes:
        start: the first example that may be of the new concept, counted from 0.
        end: the first example that is certain to be: `start` itself if the change is sudden. In between, the
            probability of the new concept grows in equal steps.
    """

    start: int
    end: int

    @property
    def sudden(self) -> bool:
        return self.start == self.end


@dataclass(frozen=True)
class Stream:
    """Examples in the order in which they arrive; iterating gives pairs ``(x, y)``.

    Attributes:
        name: of the data.
        inputs: float64, shape ``(length, features)``.
        targets: int64 classes from 0, or float64 numbers, shape ``(length,)``.
        concept: which concept each example is of, int64 from 0, shape ``(length,)``.
        drifts: where concept k gives way to concept k + 1.
        classes: how many there are; 0 for regression.
    """

    name: str
    inputs: np.ndarray
    targets: np.ndarray
    concept: np.ndarray
    drifts: tuple[Drift, ...]
    classes: int

    def __len__(self) -> int:
        return len(self.inputs)

    def __iter__(self) -> Iterator[tuple[np.ndarray, Any]]:
        return zip(self.inputs, self.targets, strict=True)


Spans = Sequence[int | tuple[int, int]]


def digits(seed: int = 0, length: int = 2000, drifts: Spans | None = None, change: str = "labels") -> Stream:
    """Handwritten digits, drawn with replacement, that are renamed or rewired at each drift.

    Args:
        seed: at least 0; decides the examples, the concepts, and in a gradual drift which concept an example is of.
        length: number of examples.
        drifts: in order and apart; a number is a sudden drift, a pair ``(start, end)`` a gradual one. None: one
            sudden drift in the middle.
        change: ``"labels"``: the ten classes are renamed by a cyclic shift, so that no class keeps its name.
            ``"pixels"``: the 64 pixels are permuted at random.

    Returns:
        A :class:`Stream` with 64 features, standardized over all pixels, and ten classes.

    Raises:
        ValueError: a negative seed, a length below 1, drifts out of order or outside, an unknown change.
        ImportError: scikit-learn is missing.

    Example:
        >>> stream = digits(seed=0, length=300, drifts=[100, (200, 250)])
        >>> [np.bincount(stream.concept[a:b], minlength=3).tolist() for a, b in [(0, 100), (100, 200), (250, 300)]]
        [[100, 0, 0], [0, 100, 0], [0, 0, 50]]
        >>> x, y = next(iter(stream))
        >>> x.shape, stream.drifts[0].sudden, stream.drifts[1].sudden
        ((64,), True, False)
    """
    if change not in ("labels", "pixels"):
        raise ValueError(f"change must be 'labels' or 'pixels', got {change!r}")
    generator, spans, concept, rows = _draw(seed, length, drifts, data.digits().train)
    inputs, targets = rows.inputs.flatten(1).double().numpy(), rows.targets.numpy()
    if change == "pixels":
        inputs = _rewired(inputs, concept, len(spans), generator)
    else:  # the shifts of successive concepts differ by 1 to 9
        shifts = np.concatenate([[0], generator.integers(1, 10, len(spans)).cumsum()])
        targets = (targets + shifts[concept]) % 10
    return Stream("digits", inputs, targets, concept, spans, 10)


def diabetes(seed: int = 0, length: int = 2000, drifts: Spans | None = None) -> Stream:
    """Diabetes patients, drawn with replacement, whose ten features trade places at each drift.

    Arguments and errors are those of :func:`digits`.

    Returns:
        A :class:`Stream` of regression: inputs and target standardized, so that predicting 0 has a mean squared
        error of about 1.

    Example:
        >>> stream = diabetes(seed=0, length=100, drifts=[50])
        >>> stream.inputs.shape, stream.targets.dtype.name, stream.concept[[49, 50]].tolist()
        ((100, 10), 'float64', [0, 1])
    """
    generator, spans, concept, rows = _draw(seed, length, drifts, data.diabetes().train)
    inputs = _rewired(rows.inputs.double().numpy(), concept, len(spans), generator)
    return Stream("diabetes", inputs, rows.targets.flatten().double().numpy(), concept, spans, 0)


def progressive(streams: Sequence[Stream], make: Callable[..., Any]) -> np.ndarray:
    """Linear models learn with an optimizer, one example a step; each example is predicted first, then learned from.

    The models start at zero and have an intercept: softmax regression for classes, least squares for numbers.
    All streams are learned side by side, as slices of one parameter, so `make` must be an element-wise method; its
    one step count is theirs too.

    Args:
        streams: of one kind and length.
        make: parameters → optimizer.

    Returns:
        What each prediction suffered before it was learned from, shape ``(streams, length)``: 1 for a wrong class
        (a tie is wrong) and 0 for the right one; or the squared error.

    Raises:
        ValueError: no streams, or streams of different length, features or classes.

    Example:
        >>> mistakes = progressive([digits(seed=s, length=300, drifts=[]) for s in (0, 1)],
        ...                        lambda params: torch.optim.SGD(params, lr=0.02))
        >>> mistakes.shape, bool(mistakes[:, -100:].mean() < 0.3)
        ((2, 300), True)
    """
    kinds = {(s.inputs.shape, s.classes) for s in streams}
    if len(kinds) != 1:
        raise ValueError(f"progressive needs streams of one kind and length, got {sorted(kinds)}")
    x = np.stack([np.hstack([s.inputs, np.ones((len(s), 1))]) for s in streams], 1)  # (length, streams, features + 1)
    y = np.stack([s.targets for s in streams], 1)
    classes, rows = streams[0].classes, np.arange(len(streams))
    weights = torch.zeros(len(streams), max(classes, 1), x.shape[2], dtype=torch.float64, requires_grad=True)
    weights.grad = torch.zeros_like(weights)
    w, gradient = weights.detach().numpy(), weights.grad.numpy()  # the same memory: a step of torch costs more
    optimizer, suffered = make([weights]), np.empty(x.shape[:2])
    for t in range(len(x)):
        scores = (w @ x[t, :, :, None])[:, :, 0]
        slope, suffered[t] = _slope(scores, y[t], rows, classes)
        np.multiply(slope[:, :, None], x[t, :, None], out=gradient)
        optimizer.step()
    return suffered.T


def _slope(scores: np.ndarray, y: np.ndarray, rows: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Derivative of the loss by the scores, and what is reported."""
    if not classes:
        error = scores[:, 0] - y
        return error[:, None], error**2
    slope = np.exp(scores - scores.max(1, keepdims=True))
    slope /= slope.sum(1, keepdims=True)
    slope[rows, y] -= 1
    return slope, (scores >= scores[rows, y, None]).sum(1) > 1


def _draw(
    seed: int, length: int, drifts: Spans | None, split: Any
) -> tuple[np.random.Generator, tuple[Drift, ...], Any, Any]:
    """The generator, the drifts, the concept of each example, and the examples as they were."""
    if seed < 0 or length < 1:
        raise ValueError(f"seed must be at least 0 and length at least 1, got {seed} and {length}")
    drifts = [length // 2] if drifts is None else drifts
    spans = tuple(Drift(*(span if isinstance(span, tuple) else (span, span))) for span in drifts)
    edges = [edge for span in spans for edge in (span.start, span.end)]
    if edges != sorted(edges) or any(edge < 0 or edge > length for edge in edges):
        raise ValueError(f"drifts must be in order and between 0 and {length}, got {list(drifts)}")
    generator = np.random.default_rng(seed)
    chosen = torch.from_numpy(generator.integers(len(split), size=length))
    draws = generator.random((len(spans), length))
    concept, place = np.zeros(length, np.int64), np.arange(length)
    for span, draw in zip(spans, draws, strict=True):
        share = np.where(place < span.start, 0.0, (place - span.start + 1) / (span.end - span.start + 1))
        concept += draw < share
    return generator, spans, concept, type(split)(split.inputs[chosen], split.targets[chosen])


def _rewired(inputs: np.ndarray, concept: np.ndarray, changes: int, generator: np.random.Generator) -> np.ndarray:
    """The features in another order in each concept but the first."""
    features = inputs.shape[1]
    orders = np.stack([np.arange(features), *(generator.permutation(features) for _ in range(changes))])
    return np.take_along_axis(inputs, orders[concept], 1)
