"""SCSG: SVRG whose anchor looks at a batch (Lei & Jordan 2017, arXiv:1609.03261; Lei et al. 2017, 1706.09156)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from dlopt.engine.checks import HyperparameterTypeError, integer

from .checks import LossI
from .problem import Callback, Prox, begin


@np.errstate(over="ignore", invalid="ignore")
def scsg(
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
    batch: int | Callable[[int], int] | None = None,
    lengths: Any = None,
) -> Tensor:
    r"""Minimize (1/n) Σ loss_i(w, i) + l2/2 ‖w‖² + h(w) as :func:`svrg`, with anchors that cost less than a pass.

    Loop j = 1, 2, … (algorithm 1 of arXiv:1706.09156 with mini-batches of one): the anchor :math:`\tilde w` is where
    we are, g the mean gradient there over B_j examples drawn without replacement, and the loop has N_j steps with
    :math:`P(N_j = k) = B_j^k/(B_j+1)^{k+1}`, of mean B_j. Step:

    .. math:: w \leftarrow \operatorname{prox}\bigl(w - \gamma(\nabla f_i(w) - \nabla f_i(\tilde w) + g
        + \lambda w)\bigr)

    With a batch that stays below n the direction is off by the batch's error, and the method settles at a
    distance from the minimum. With B_j = n it is SVRG with a random length.

    Cost: two gradients a step, and B_j an anchor, about three a step in all; none where N_j is 0. Memory: the anchor
    and its gradient, no table.

    Args:
        loss_i, w0, n, lr, steps, indices, l2, prox, callback, seed: as for :func:`svrg`; `seed` also decides the
            batches and lengths, by ``numpy.random.default_rng([seed, 1])``. The last loop is cut to fit `steps`.
        batch: B_j, a number or a function of j = 1, 2, …; at least 1, and n where it is more. By default
            ⌈j^1.5⌉, the paper's choice that needs no constant.
        lengths: the N_j, integers of at least 0 that sum to at least `steps`; drawn by default.

    Returns:
        The last w, a new tensor of w0's shape, dtype and device. With `lr` too large it may be inf or NaN.

    Raises:
        ValueError: as :func:`sag`; for a batch below 1, and lengths that are negative, no integers or too few.

    Example:
        >>> import torch
        >>> x, y = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([3.0, 2.0])
        >>> def loss_i(w, i):
        ...     return (x[i] @ w - y[i]) ** 2 / 2
        >>> scsg(loss_i, torch.zeros(2), n=2, lr=0.1, steps=1000)
        tensor([3.0000, 1.0000])
    """
    f, order = begin(loss_i, w0, n, lr, steps, indices, l2, prox, callback, seed)
    size_of, given = _sizes(batch), _lengths(lengths, len(order))
    random = np.random.default_rng([seed, 1])
    w, step, j = f.w, 0, 0
    while step < len(order):
        size = min(f.n, integer("batch", size_of(j + 1), 1))
        length = random.geometric(1 / (size + 1)) - 1 if given is None else given[j]
        rows = random.choice(f.n, size, replace=False).tolist()
        j += 1
        if length == 0:
            continue
        anchor, mean = w, f.mean(w, rows)
        for i in order[step : step + length]:
            w = f.step(w, f.change(w, anchor, i) + mean)
            step += 1
            if f.stop(step, w):
                return f.tensor(w)
    return f.tensor(w)


def _sizes(batch: Any) -> Callable[[int], int]:
    if batch is None:
        return lambda j: math.ceil(j**1.5)
    if callable(batch):
        return batch
    size = integer("batch", batch, 1)
    return lambda j: size


def _lengths(lengths: Any, steps: int) -> list[int] | None:
    if lengths is None:
        return None
    given = np.asarray(lengths)
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        raise HyperparameterTypeError(f"lengths must be a sequence of integers, got {lengths!r:.80}")
    if given.size and given.min() < 0 or given.sum() < steps:
        raise ValueError(f"lengths must be at least 0 and sum to {steps} steps or more, got a sum of {given.sum()}")
    return given.tolist()
