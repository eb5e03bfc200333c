"""Rows held out at random, class by class: scikit-learn's ``train_test_split``, row for row, without its import.

To import scikit-learn takes seconds and 150 MB, and every page and every second process would do it.
"""

import math

import numpy as np

__all__ = ["hold_out"]


def hold_out(labels: np.ndarray, part: float | int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows to keep and rows to hold out, each in random order, with the same share of every class.

    Args:
        labels: shape (n,), the class of each row.
        part: how many rows to hold out; as a share of all rows if below 1.
        seed: decides which.

    Raises:
        ValueError: there are no rows, `part` is neither a share nor a whole number, a class has a single row, or one
            of the two parts has fewer rows than there are classes.

    Example:
        >>> kept, held = hold_out(np.array([0, 0, 0, 0, 1, 1, 1, 1]), part=0.25)
        >>> sorted(kept.tolist() + held.tolist()), len(held)
        ([0, 1, 2, 3, 4, 5, 6, 7], 2)
    """
    if not len(labels) or not (0 < part < 1 or float(part).is_integer()):
        raise ValueError(f"cannot hold out {part} of {len(labels)} rows")
    names, labels, counts = np.unique(labels, return_inverse=True, return_counts=True)
    held = math.ceil(part * len(labels)) if part < 1 else int(part)
    kept = len(labels) - held
    if counts.min() < 2 or min(held, kept) < len(names):
        rare, count = names[counts.argmin()], counts.min()
        raise ValueError(
            f"{len(names)} classes cannot stand in both of {kept} and {held} rows; class {rare} has {count}"
        )
    rng = np.random.RandomState(seed)
    taken = _shares(counts, kept, rng)
    left = _shares(counts - taken, held, rng)
    parts: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for label, (first, second) in enumerate(zip(taken, left, strict=True)):
        rows = rng.permutation(np.flatnonzero(labels == label))
        parts[0].append(rows[:first])
        parts[1].append(rows[first : first + second])
    return rng.permutation(np.concatenate(parts[0])), rng.permutation(np.concatenate(parts[1]))


def _shares(counts: np.ndarray, size: int, rng: np.random.RandomState) -> np.ndarray:
    """How many of `size` rows each class gets: whole numbers, the largest remainders rounded up, ties by lot."""
    exact = counts / counts.sum() * size
    shares = np.floor(exact).astype(int)
    remainders = exact - shares
    for remainder in np.unique(remainders)[::-1]:
        missing = size - shares.sum()
        if not missing:
            break
        tied = np.flatnonzero(remainders == remainder)
        shares[rng.choice(tied, size=min(len(tied), missing), replace=False)] += 1
    return shares
