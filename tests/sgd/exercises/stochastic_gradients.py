"""The coding exercise of the page on stochastic gradients."""

import numpy as np

from tests.exercises import judge

CASES = [(2, 3, 10), (5, 4, 12), (8, 1, 9), (6, 2, 6)]


def batch_error(rows, n):
    """Unbiased for the squared error of the mean of B rows drawn without replacement from n."""
    return ((rows - rows.mean(0)) ** 2).sum() / (len(rows) - 1) / len(rows) * (1 - len(rows) / n)


def with_replacement(rows, n):
    return ((rows - rows.mean(0)) ** 2).sum() / (len(rows) - 1) / len(rows)


def biased(rows, n):
    return ((rows - rows.mean(0)) ** 2).sum() / len(rows) / len(rows) * (1 - len(rows) / n)


def squared_size(rows, n):
    return ((rows - rows.mean(0)) ** 2).sum() / (len(rows) - 1) / len(rows) ** 2 * (1 - len(rows) / n)


def one_example(rows, n):
    return ((rows - rows.mean(0)) ** 2).sum() / (len(rows) - 1) * (1 - len(rows) / n)


def mixed_factors(rows, n):
    return ((rows - rows.mean(0)) ** 2).sum() / (len(rows) - 1) / len(rows) * (n - len(rows)) / (n - 1)


def mean_coordinate(rows, n):
    return rows.var(0, ddof=1).mean() / len(rows) * (1 - len(rows) / n)


def not_centred(rows, n):
    return (rows**2).sum() / (len(rows) - 1) / len(rows) * (1 - len(rows) / n)


MISTAKES = {
    with_replacement: "the batch was drawn without replacement: the whole set (B = n) must give 0",
    biased: "the batch's own mean was subtracted, which takes one degree of freedom: divide by B - 1, not B",
    squared_size: "the variance of a mean falls like 1/B, not 1/B²",
    one_example: "this is the error of one example; the mean of B has 1/B of it",
    mixed_factors: "(n - B)/(n - 1) goes with a variance that divides by n; yours divides by B - 1: use 1 - B/n",
    mean_coordinate: "the squared length is a sum over the coordinates, not their mean",
    not_centred: "subtract the batch's mean first: the gradient itself is no error",
}


def check_batch_error(answer):
    """Compare `answer(rows, n)` with the unbiased estimate, on batches small and large against n.

    Raises:
        AssertionError: naming the mistake where it is one of the usual ones.

    Example:
        >>> check_batch_error(batch_error)
        batch error: correct
    """
    rng = np.random.default_rng(0)
    batches = [(rng.normal(size=(size, d)) + 1, n) for size, d, n in CASES]
    judge("batch error", answer, batch_error, MISTAKES, lambda f: [f(rows.copy(), n) for rows, n in batches])


EXERCISES = {check_batch_error: (batch_error, MISTAKES)}
