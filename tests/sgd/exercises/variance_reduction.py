"""The coding exercise of the page on variance reduction."""

import numpy as np

from tests.exercises import judge

RNG = np.random.default_rng(0)
ROWS, TARGETS, START = RNG.normal(size=(5, 3)), RNG.normal(size=5), RNG.normal(size=3)
ORDER = [0, 3, 3, 1, 4, 2, 0, 0, 4]


def _gradient(w, i):
    return (ROWS[i] @ w - TARGETS[i]) * ROWS[i]


def _run(step):
    w = START.copy()
    table = np.array([_gradient(w + 0.5, i) for i in range(5)])
    mean, seen = table.mean(0), []
    for i in ORDER:
        w, table, mean = step(w.copy(), i, table.copy(), mean.copy(), _gradient, 0.1)
        seen += [w, mean, table.ravel()]
    return np.concatenate(seen)


def saga(w, i, table, mean, gradient, lr):
    """Equation 1 of Defazio et al. 2014; the new row enters the mean with weight 1/n."""
    g = gradient(w, i)
    change = g - table[i]
    w = w - lr * (change + mean)
    table[i] = g
    return w, table, mean + change / len(table)


def table_first(w, i, table, mean, gradient, lr):
    g = gradient(w, i)
    change = g - table[i]
    table[i] = g
    return w - lr * (g - table[i] + mean), table, mean + change / len(table)


def mean_first(w, i, table, mean, gradient, lr):
    g = gradient(w, i)
    change = g - table[i]
    mean = mean + change / len(table)
    table[i] = g
    return w - lr * (change + mean), table, mean


def sag(w, i, table, mean, gradient, lr):
    g = gradient(w, i)
    change = g - table[i]
    table[i] = g
    return w - lr * (change / len(table) + mean), table, mean + change / len(table)


def mean_forgotten(w, i, table, mean, gradient, lr):
    w, table, _ = saga(w, i, table, mean, gradient, lr)
    return w, table, mean


def table_forgotten(w, i, table, mean, gradient, lr):
    w, _, mean = saga(w, i, table.copy(), mean, gradient, lr)
    return w, table, mean


def wrong_sign(w, i, table, mean, gradient, lr):
    g = gradient(w, i)
    change = g - table[i]
    table[i] = g
    return w - lr * (g + change - mean), table, mean + change / len(table)


def flipped(w, i, table, mean, gradient, lr):
    g = gradient(w, i)
    change = g - table[i]
    table[i] = g
    return w - lr * (-change + mean), table, mean + change / len(table)


def undivided(w, i, table, mean, gradient, lr):
    w, new, _ = saga(w, i, table.copy(), mean, gradient, lr)
    return w, new, mean + (new[i] - table[i])


def gradient_after(w, i, table, mean, gradient, lr):
    new, _, _ = saga(w, i, table.copy(), mean, gradient, lr)
    g = gradient(new, i)
    mean = mean + (g - table[i]) / len(table)
    table[i] = g
    return new, table, mean


MISTAKES = {
    table_first: "the direction needs the old row: compute it before you update the table",
    mean_first: "the direction needs the old mean: with the new one it counts the change 1 + 1/n times",
    sag: "that is SAG, biased: the correction must count in full, not 1/n (or table and mean were updated too early)",
    mean_forgotten: "the mean must follow the table: add the change of the row over n",
    table_forgotten: "the row of example i must become its new gradient",
    wrong_sign: "wrong sign: subtract the old row once and add the mean",
    flipped: "wrong sign: the new gradient enters with plus, the old row with minus",
    undivided: "the mean changes by the change of the row over n, not by all of it",
    gradient_after: "the new row is the gradient at the old weights, which you have already; a second one costs double",
}


def check_saga(step):
    """Compare `step` with SAGA's over nine steps on five examples: weights, mean and table.

    Raises:
        AssertionError: naming the mistake where it is one of the usual ones.

    Example:
        >>> check_saga(saga)
        SAGA: correct
    """
    judge("SAGA", step, saga, MISTAKES, _run)


EXERCISES = {check_saga: (saga, MISTAKES)}
