"""The coding exercise of the page on gradient clipping."""

import numpy as np

from tests.exercises import judge


def _gradients(scale):
    rng = np.random.default_rng(0)
    return [scale * rng.normal(size=shape) for shape in ((3, 4), (4,), (2, 2))]


CASES = [(_gradients(10.0), 1.0), (_gradients(0.01), 1.0), (_gradients(1.0), 2.5), ([np.zeros(3), np.zeros(2)], 1.0)]


def clip(grads, c):
    """What ``torch.nn.utils.clip_grad_norm_`` does: one norm for all, never a factor above 1."""
    norm = np.sqrt(sum((g**2).sum() for g in grads))
    return [g * min(1, c / (norm + 1e-6)) for g in grads]


def per_tensor(grads, c):
    return [clip([g], c)[0] for g in grads]


def squared(grads, c):
    norm = sum((g**2).sum() for g in grads)
    return [g * min(1, c / (norm + 1e-6)) for g in grads]


def always(grads, c):
    norm = np.sqrt(sum((g**2).sum() for g in grads))
    return [g * c / (norm + 1e-6) for g in grads]


def values(grads, c):
    return [np.clip(g, -c, c) for g in grads]


def sum_of_norms(grads, c):
    norm = sum(np.sqrt((g**2).sum()) for g in grads)
    return [g * min(1, c / (norm + 1e-6)) for g in grads]


def bare(grads, c):
    norm = np.sqrt(sum((g**2).sum() for g in grads))
    return [g * (c / norm if norm > c else 1) for g in grads]


MISTAKES = {
    per_tensor: "one norm for all arrays together: this clips each array by itself and turns the gradient",
    squared: "the square root is missing: the norm is the root of the sum of squares",
    always: "gradients shorter than c must stay as they are: the factor is at most 1",
    values: "this clips each element; clipping by norm keeps the direction",
    sum_of_norms: "norms of parts do not add up: add the squares, then take the root",
    bare: "torch divides by the norm plus 1e-6",
}


def check_clip(answer):
    """Compare `answer` with clipping by norm as torch has it, on long, short and zero gradients.

    Raises:
        AssertionError: naming the mistake where it is one of the usual ones.

    Example:
        >>> check_clip(clip)
        clipping by norm: correct
    """

    def run(f):
        return [np.ravel(g) for grads, c in CASES for g in f([g.copy() for g in grads], c)]

    judge("clipping by norm", answer, clip, MISTAKES, run)


EXERCISES = {check_clip: (clip, MISTAKES)}
