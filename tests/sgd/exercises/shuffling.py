"""The coding exercises of the page on shuffling."""

import numpy as np

from tests.exercises import judge

N, SIZE, EPOCHS = 10, 4, 30


def _facts(answer):
    """What a stream of batches is like, in numbers that do not depend on how its random numbers are drawn."""
    runs = [[np.asarray(batch).tolist() for batch in answer(N, SIZE, EPOCHS, np.random.default_rng(s))] for s in (0, 1)]
    batches, flat = runs[0], [i for batch in runs[0] for i in batch]
    facts = [len(flat) / EPOCHS, len(set(flat)), sum(len(batch) == SIZE for batch in batches) / EPOCHS]
    rows = {tuple(flat[start : start + N]) for start in range(0, len(flat), N)}
    return facts + [
        all(sorted(row) == list(range(N)) for row in rows),
        len(rows) > 1,
        len({frozenset(batch) for batch in batches}) > 5,
        runs[0] != runs[1],
        flat[:N] == list(range(N)),
    ]


def batches(n, size, epochs, rng):
    """A fresh permutation every epoch, cut into batches; the short one at the end is kept."""
    for _ in range(epochs):
        row = rng.permutation(n)
        yield from (row[start : start + size] for start in range(0, n, size))


def shuffled_outside(n, size, epochs, rng):
    row = rng.permutation(n)
    for _ in range(epochs):
        yield from (row[start : start + size] for start in range(0, n, size))


def with_replacement(n, size, epochs, rng):
    for _ in range(epochs):
        row = rng.integers(n, size=n)
        yield from (row[start : start + size] for start in range(0, n, size))


def same_seed(n, size, epochs, rng):
    for _ in range(epochs):
        row = np.random.default_rng(0).permutation(n)
        yield from (row[start : start + size] for start in range(0, n, size))


def remainder_dropped(n, size, epochs, rng):
    for _ in range(epochs):
        row = rng.permutation(n)
        yield from (row[start : start + size] for start in range(0, n - n % size, size))


def remainder_never_seen(n, size, epochs, rng):
    for _ in range(epochs):
        row = rng.permutation(n - n % size)
        yield from (row[start : start + size] for start in range(0, n - n % size, size))


def batches_shuffled(n, size, epochs, rng):
    fixed = [np.arange(start, min(start + size, n)) for start in range(0, n, size)]
    for _ in range(epochs):
        yield from (fixed[i] for i in rng.permutation(len(fixed)))


def not_shuffled(n, size, epochs, rng):
    for _ in range(epochs):
        yield from (np.arange(start, min(start + size, n)) for start in range(0, n, size))


STREAMS = {
    shuffled_outside: "every epoch has the same order: the shuffle stands outside the loop over epochs",
    with_replacement: "an epoch must hold every example once: these are draws with replacement",
    same_seed: "every epoch has the same order, whatever rng is given: a generator with a fixed seed is made anew",
    remainder_dropped: "the last, short batch of each epoch is missing",
    remainder_never_seen: "some examples are never seen: the remainder was cut off before the shuffle",
    batches_shuffled: "the batches change places, but each always holds the same examples: shuffle the examples",
    not_shuffled: "nothing is shuffled",
}


def check_batches(answer):
    """Judge a function ``(n, size, epochs, rng)`` → all batches of indices, reshuffled every epoch, none left out.

    Raises:
        AssertionError: naming the mistake where it is one of the usual ones.

    Example:
        >>> check_batches(batches)
        batches: correct
    """
    judge("batches", answer, batches, STREAMS, _facts)


def epoch_map(X, y, lr):
    """Matrix A and vector b with w → A w + b, for one epoch of single-example SGD in the order of the rows."""
    A, b = np.eye(X.shape[1]), np.zeros(X.shape[1])
    for x, target in zip(X, y, strict=True):
        step = np.eye(len(x)) - lr * np.outer(x, x)
        A, b = step @ A, step @ b + lr * target * x
    return A, b


def wrong_side(X, y, lr):
    A, b = np.eye(X.shape[1]), np.zeros(X.shape[1])
    for x, target in zip(X, y, strict=True):
        step = np.eye(len(x)) - lr * np.outer(x, x)
        A, b = A @ step, step @ b + lr * target * x
    return A, b


def shift_not_carried(X, y, lr):
    return epoch_map(X, y, lr)[0], lr * X.T @ y


def full_batch(X, y, lr):
    return np.eye(X.shape[1]) - lr * X.T @ X, lr * X.T @ y


def averaged(X, y, lr):
    return epoch_map(X, y, lr / len(X))


def doubled(X, y, lr):
    return epoch_map(X, y, 2 * lr)


def backwards(X, y, lr):
    return epoch_map(X[::-1], y[::-1], lr)


MAPS = {
    wrong_side: "a later step acts on the result of the earlier ones: it multiplies from the left",
    shift_not_carried: "every later step shrinks b as well: multiply it by the step's matrix before adding",
    full_batch: "this is one step along the sum of all gradients: in an epoch each step starts where the last ended",
    averaged: "a step follows one example's gradient: there is no 1/n",
    doubled: "the loss of an example is half the squared error: there is no factor 2",
    backwards: "the last row was taken first",
}


def check_epoch_map(answer):
    """Judge a function ``(X, y, lr)`` → (A, b), the exact map of one epoch on least squares, row after row.

    Raises:
        AssertionError: naming the mistake where it is one of the usual ones.

    Example:
        >>> check_epoch_map(epoch_map)
        epoch map: correct
    """
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(7, 3)), rng.normal(size=7)
    judge("epoch map", answer, epoch_map, MAPS, lambda f: list(f(X.copy(), y.copy(), 0.1)))


EXERCISES = {check_batches: (batches, STREAMS), check_epoch_map: (epoch_map, MAPS)}
