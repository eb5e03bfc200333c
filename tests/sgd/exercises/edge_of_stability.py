"""The coding exercises of the page on the edge of stability."""

import numpy as np
import torch

from tests.exercises import judge


def _bowl(eigenvalues):
    n = len(eigenvalues)
    q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(n, n)))
    a = torch.tensor(q @ np.diag(eigenvalues) @ q.T)
    return lambda w: w @ a @ w / 2


# the largest eigenvalue is also the largest in modulus; is not; is negative itself; and a loss that is no quadratic
CASES = [
    (_bowl([5.0, 2.0, 1.0, -1.0]), torch.zeros(4).double()),
    (_bowl([3.0, 1.0, 0.5, -6.0]), torch.ones(4).double()),
    (_bowl([-1.0, -3.0, -4.0]), torch.ones(3).double()),
    (lambda w: (w[0] * w[1] - 1) ** 2 / 2 + w[2] ** 4, torch.tensor([0.5, 3.0, 0.2]).double()),
]


def _run(answer):
    with np.errstate(all="ignore"):
        return [float(answer(f, w.clone(), 400)) for f, w in CASES]


def _gradient(f, w):
    w = w.detach().requires_grad_()
    (g,) = torch.autograd.grad(f(w), w, create_graph=True)
    return w, g


def _power(f, w, steps, shift=0.0):
    """The eigenvalue that is largest in modulus after the shift, and the vector."""
    w, g = _gradient(f, w)
    v = torch.ones_like(w) / len(w) ** 0.5
    for _ in range(steps):
        (hv,) = torch.autograd.grad(g, w, v, retain_graph=True)
        v = hv + shift * v
        v = v / v.norm()
    (hv,) = torch.autograd.grad(g, w, v, retain_graph=True)
    return float(v @ hv), v


def sharpness(f, w, steps):
    """Power iteration, twice: the first finds how far to shift, so that the largest is the largest in modulus."""
    far, _ = _power(f, w, steps)
    return _power(f, w, steps, shift=abs(far))[0]


def largest_in_modulus(f, w, steps):
    return _power(f, w, steps)[0]


def modulus(f, w, steps):
    return abs(_power(f, w, steps)[0])


def shifted_still(f, w, steps):
    far, _ = _power(f, w, steps)
    return _power(f, w, steps, shift=abs(far))[0] + abs(far)


def never_normalized(f, w, steps):
    w, g = _gradient(f, w)
    v = torch.ones_like(w) / len(w) ** 0.5
    for _ in range(steps):
        (v,) = torch.autograd.grad(g, w, v, retain_graph=True)
    (hv,) = torch.autograd.grad(g, w, v)
    return v @ hv


def undivided(f, w, steps):
    far, _ = _power(f, w, steps)
    _, v = _power(f, w, steps, shift=abs(far))
    w, g = _gradient(f, w)
    (hv,) = torch.autograd.grad(g, w, v, retain_graph=True)
    (again,) = torch.autograd.grad(g, w, hv)
    return hv @ again  # a Rayleigh quotient of hv, whose length is not 1


def attached(f, w, steps):
    far, _ = _power(f, w, steps)
    _, v = _power(f, w, steps, shift=abs(far))
    w, g = _gradient(f, w)
    (hv,) = torch.autograd.grad(g @ (v + g - g.detach()), w)  # v carries a graph that leads back to w
    return v @ hv


MISTAKES = {
    largest_in_modulus: "power iteration finds the largest in modulus; shift the matrix so that the largest wins",
    modulus: "that is the modulus of an eigenvalue; the largest eigenvalue is not always the largest in modulus",
    shifted_still: "the shift must be taken off again at the end",
    never_normalized: "normalize v at every step, or it grows without bound",
    undivided: "a Rayleigh quotient is v·Hv divided by v·v; without the division v must have length 1",
    attached: "v must be a constant: detach it, or the derivative goes through v as well",
}


def check_sharpness(answer):
    """Compare `answer` with the largest Hessian eigenvalue, of either sign, for four losses.

    Raises:
        AssertionError: naming the mistake where it is one of the usual ones.

    Example:
        >>> check_sharpness(sharpness)
        sharpness: correct
    """
    judge("sharpness", answer, sharpness, MISTAKES, _run, rtol=1e-5)


def step(x, y, alpha, beta, lr):
    """Both new values come from the old ones."""
    return -(1 + lr * y) * x, y + lr * (alpha - beta * x * x / 2)


def new_x(x, y, alpha, beta, lr):
    x = -(1 + lr * y) * x
    return x, y + lr * (alpha - beta * x * x / 2)


def no_flip(x, y, alpha, beta, lr):
    return (1 + lr * y) * x, y + lr * (alpha - beta * x * x / 2)


def no_half(x, y, alpha, beta, lr):
    return -(1 + lr * y) * x, y + lr * (alpha - beta * x * x)


def growing(x, y, alpha, beta, lr):
    return -(1 + lr * y) * x, y + lr * (alpha + beta * x * x / 2)


def no_rate(x, y, alpha, beta, lr):
    return -(1 + lr * y) * x, y + alpha - beta * x * x / 2


MAP_MISTAKES = {
    new_x: "y must see the old x: both come from the same gradient",
    no_flip: "x changes sides at every step: its factor is 1 - lr * sharpness, near -1",
    no_half: "the second-order term of Taylor's series has a factor 1/2",
    growing: "away from the floor the step goes down the slope of the sharpness: minus",
    no_rate: "y moves by lr times its slope",
}


def _walk(answer):
    x, y, points = 1e-2, 0.1, []
    for _ in range(60):
        x, y = answer(x, y, 0.01, 40.0, 0.6)
        points.append((x, y))
    return np.array(points)


def check_step(answer):
    """Compare `answer` with 60 steps of the two-variable model.

    Raises:
        AssertionError: naming the mistake where it is one of the usual ones.

    Example:
        >>> check_step(step)
        step: correct
    """
    judge("step", answer, step, MAP_MISTAKES, _walk)


EXERCISES = {check_sharpness: (sharpness, MISTAKES), check_step: (step, MAP_MISTAKES)}
