"""SAGA: a table of gradients as a control variate (Defazio, Bach & Lacoste-Julien 2014, arXiv:1407.0202)."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from .checks import LossI
from .problem import Callback, Prox, begin


@np.errstate(over="ignore", invalid="ignore")
def saga(
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
    table: str = "full",
) -> Tensor:
    r"""Minimize (1/n) Σ loss_i(w, i) + l2/2 ‖w‖² + h(w) by corrected stochastic gradients; `prox` is that of h.

    Step (eq. 1 and 2 of the paper), with :math:`g_i` row i of the table:

    .. math:: w \leftarrow \operatorname{prox}\bigl(w - \gamma(\nabla f_i(w) - g_i + \tfrac1n\sum_j g_j + \lambda w)
        \bigr), \qquad g_i \leftarrow \nabla f_i(w_{\text{old}})

    The direction is unbiased. At :math:`\gamma = 1/(3L)` the squared distance shrinks at least by
    :math:`1 - \min(1/4n,\ \ell/3L)` a step in expectation (theorem 1). The l2 term enters with its exact gradient.

    Cost: one gradient a step, and n before the first with a full table. Memory: a table of n gradients, or of n
    numbers for a :func:`linear_loss` (see :func:`table_bytes`), and their sum.

    Args:
        loss_i, w0, n, steps, indices, l2, callback, seed: as for :func:`sag`.
        lr: step length, in units of w per gradient; above 0. The theory's is 1/(3 L), with L the largest
            curvature of any one example.
        prox: (w, lr) → w of the same shape, argmin over u of h(u) + ‖u − w‖²/(2 lr); called after each step.
        table: ``"full"``: the n gradients at w0, as in the paper; ``"empty"``: nothing at first, and the mean is over
            the distinct indices seen so far, as in scikit-learn. That saves n gradients, and the direction
            is biased until all n have been seen.

    Returns:
        The last w, a new tensor of w0's shape, dtype and device. With `lr` too large it may be inf or NaN.

    Raises:
        ValueError: as :func:`sag`; for an unknown `table`.

    Example:
        >>> import torch
        >>> x, y = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([3.0, 2.0])
        >>> def loss_i(w, i):
        ...     return (x[i] @ w - y[i]) ** 2 / 2
        >>> def soft(w, lr):
        ...     return w.sign() * (w.abs() - 0.5 * lr).clamp(min=0)
        >>> saga(loss_i, torch.zeros(2), n=2, lr=0.1, steps=1000, prox=soft)  # of h(w) = ‖w‖₁/2
        tensor([2.0000, 0.7500])
    """
    f, order = begin(loss_i, w0, n, lr, steps, indices, l2, prox, callback, seed)
    if table not in ("full", "empty"):
        raise ValueError(f"table must be 'full' or 'empty', got {table!r}")
    w, full = f.w, table == "full" and bool(order)
    rows, total = f.gradients(w) if full else (f.table(), 0 * w)
    seen, count = bytearray([full]) * f.n, f.n * full
    for step, i in enumerate(order, 1):
        count += not seen[i]
        seen[i] = True
        g = f.gradient(w, i)
        change = f.lift(g - rows[i], i)
        w = f.step(w, change + total / count)
        total = total + change
        rows[i] = g
        if f.stop(step, w):
            break
    return f.tensor(w)
