"""SAG: the stochastic average gradient (Schmidt, Le Roux & Bach 2017, arXiv:1309.2388)."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from .checks import LossI
from .problem import Callback, Prox, begin


@np.errstate(over="ignore", invalid="ignore")
def sag(
    loss_i: LossI,
    w0: Tensor,
    n: int,
    *,
    lr: float,
    steps: int,
    indices: Any = None,
    l2: float = 0.0,
    prox: Prox | None = None,
    callback: Callback | None = None,
    seed: int = 0,
) -> Tensor:
    r"""Minimize (1/n) Σ loss_i(w, i) + l2/2 ‖w‖² by steps along the mean of the last gradient seen of each example.

    Step: put :math:`\nabla f_i(w)` into row i of the table, then step against the mean of the rows seen so far
    (the paper's section 4: the sum is divided by the number of distinct indices, as scikit-learn does, not by n).
    The direction is biased; its variance is about 1/n² of SAGA's. The l2 term enters with its exact gradient.

    Cost: one gradient a step; and before the first, as in every solver here, n losses and gradients at w0 to check
    `loss_i`. Memory: a table of n gradients, or of n numbers for a :func:`linear_loss` (see :func:`table_bytes`), and
    their sum.

    Args:
        loss_i: (w, i) → scalar tensor, the loss of example i; i is a 0-dim int64 tensor. Torch code that runs under
            ``torch.vmap``, or a :func:`linear_loss`.
        w0: start, one float32 or float64 tensor of any shape; it is left as it is.
        n: number of examples, at least 1.
        lr: step length, in units of w per gradient; above 0. The theory's is 1/(16 L), scikit-learn's 1/L,
            with L the largest curvature of any one example.
        steps: number of steps, at least 0, one index each.
        indices: integers in 0 to n − 1, at least `steps` of them. By default
            ``numpy.random.default_rng(seed).integers(n, size=steps)``.
        l2: strength of the ridge, at least 0.
        prox: (w, lr) → w of the same shape, the proximal operator of a further term, applied after each step. The
            paper has none, and SAG with one has no proof of convergence: take :func:`saga`.
        callback: called as ``callback(step, w)`` after each step, with step from 1 and a copy of w. The solver
            stops when it returns something true.
        seed: of the default indices, at least 0.

    Returns:
        The last w, a new tensor of w0's shape, dtype and device. With `lr` too large it may be inf or NaN.

    Raises:
        ValueError: for any argument out of its range, before any step; for a `loss_i` that is no scalar, not
            finite at w0, itself or in its gradient, not differentiable, or does not look at i; under
            ``torch.inference_mode``.

    Example:
        >>> import torch
        >>> x, y = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([3.0, 2.0])
        >>> def loss_i(w, i):
        ...     return (x[i] @ w - y[i]) ** 2 / 2
        >>> sag(loss_i, torch.zeros(2), n=2, lr=0.1, steps=2, indices=[0, 1])  # mean of one row, then of two
        tensor([0.4500, 0.2000])
    """
    f, order = begin(loss_i, w0, n, lr, steps, indices, l2, prox, callback, seed)
    w, table, total = f.w, f.table(), 0 * f.w
    seen, count = bytearray(f.n), 0
    for step, i in enumerate(order, 1):
        count += not seen[i]
        seen[i] = True
        g = f.gradient(w, i)
        total = total + f.lift(g - table[i], i)
        table[i] = g
        w = f.step(w, total / count)
        if f.stop(step, w):
            break
    return f.tensor(w)
