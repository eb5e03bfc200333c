"""The coding exercise of the page on gradient descent and conditioning."""

import numpy as np

from tests.exercises import judge


def _run(step):
    rng = np.random.default_rng(0)
    root = rng.normal(size=(6, 6))
    matrix, b = root @ root.T / 6 + np.eye(6), rng.normal(size=6)
    x, r, p, points = np.zeros(6), b.copy(), b.copy(), []
    for _ in range(4):
        x, r, p = step(x.copy(), r.copy(), p.copy(), matrix.copy())
        points += [x, r]
    return np.array(points)


def cg_step(x, r, p, A):
    """Hestenes & Stiefel 1952: one step for A x = b from x, with the residual r = b - A x and the direction p."""
    alpha = r @ r / (p @ A @ p)
    new = r - alpha * A @ p
    beta = new @ new / (r @ r)
    return x + alpha * p, new, new + beta * p


def wrong_sign(x, r, p, A):
    alpha = r @ r / (p @ A @ p)
    new = r + alpha * A @ p
    return x + alpha * p, new, new + new @ new / (r @ r) * p


def inverted(x, r, p, A):
    alpha = r @ r / (p @ A @ p)
    new = r - alpha * A @ p
    return x + alpha * p, new, new + r @ r / (new @ new) * p


def no_memory(x, r, p, A):
    alpha = r @ r / (p @ A @ p)
    new = r - alpha * A @ p
    return x + alpha * p, new, new


def same_direction(x, r, p, A):
    alpha = r @ r / (p @ A @ p)
    return x + alpha * p, r - alpha * A @ p, p


def residual_in_alpha(x, r, p, A):
    alpha = r @ r / (r @ A @ r)
    new = r - alpha * A @ p
    return x + alpha * p, new, new + new @ new / (r @ r) * p


def old_residual(x, r, p, A):
    alpha = r @ r / (p @ A @ p)
    new = r - alpha * A @ p
    return x + alpha * p, new, r + new @ new / (r @ r) * p


MISTAKES = {
    wrong_sign: "the residual is b - A x: when x moves by alpha p, it falls by alpha A p",
    inverted: "beta is upside down: new r·r over old r·r",
    no_memory: "without beta p the directions are not conjugate: this is steepest descent with exact line search",
    same_direction: "the direction must be renewed in every step",
    residual_in_alpha: "alpha goes along p, so p, not r, stands in its denominator",
    old_residual: "the new direction starts from the new residual",
}


def check_cg_step(step):
    """Compare `step` with one step of conjugate gradients, four times in a row.

    Raises:
        AssertionError: naming the mistake where it is one of the usual ones.

    Example:
        >>> check_cg_step(cg_step)
        conjugate gradients: correct
    """
    judge("conjugate gradients", step, cg_step, MISTAKES, _run)


EXERCISES = {check_cg_step: (cg_step, MISTAKES)}
