"""The coding exercise of the page on why Adam works."""

import numpy as np

from tests.exercises import judge


def _run(step):
    rng = np.random.default_rng(0)
    points = []
    for n, lr in ((2, 0.1), (5, 0.03), (8, 1.0)):
        q, x = np.linalg.qr(rng.normal(size=(n, n)))[0], rng.normal(size=n)
        for _ in range(4):
            x = np.asarray(step(x.copy(), (rng.normal(size=n) + x).copy(), q.copy(), lr))
            points.append(x)
    return np.concatenate(points)


def turned_sign(x, g, q, lr):
    """Turn the gradient, take its sign, turn the step back."""
    return x - lr * q @ np.sign(q.T @ g)


def not_turned(x, g, q, lr):
    return x - lr * np.sign(g)


def not_turned_back(x, g, q, lr):
    return x - lr * np.sign(q.T @ g)


def wrong_way(x, g, q, lr):
    return x - lr * q.T @ np.sign(q @ g)


def still_turned(x, g, q, lr):
    return q.T @ x - lr * np.sign(q.T @ g)


def descent(x, g, q, lr):
    return x - lr * q @ q.T @ g


def uphill(x, g, q, lr):
    return x + lr * q @ np.sign(q.T @ g)


MISTAKES = {
    not_turned: "this is sign descent along the original axes; q has no effect",
    not_turned_back: "turn the step back: the sign lives in z, the point in x = q z",
    wrong_way: "with x = q z the gradient in z is q.T @ g, and a step in z is q @ step in x: you turn the other way",
    still_turned: "this is the new z; return the new x",
    descent: "where is the sign? Without it the two rotations cancel, and what is left is gradient descent",
    uphill: "a step goes against the gradient: minus",
}


def check_turned_sign(step):
    """Compare `step` with sign descent in turned coordinates, in 2, 5 and 8 dimensions.

    Raises:
        AssertionError: naming the mistake where it is one of the usual ones.

    Example:
        >>> check_turned_sign(turned_sign)
        sign descent in turned coordinates: correct
    """
    judge("sign descent in turned coordinates", step, turned_sign, MISTAKES, _run)


EXERCISES = {check_turned_sign: (turned_sign, MISTAKES)}
