"""SARAH: a gradient estimate that is carried along (Nguyen, Liu, Scheinberg & Takáč 2017, arXiv:1703.00102)."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from dlopt.engine.checks import integer

from .checks import LossI
from .problem import Callback, HandOn, Prox, begin


@np.errstate(over="ignore", invalid="ignore")
def sarah(
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
    inner: int | None = None,
    option: str = "last",
) -> Tensor:
    r"""Minimize (1/n) Σ loss_i(w, i) + l2/2 ‖w‖² by a running estimate of the gradient, made exact now and then.

    Every `inner` steps v is set to the full gradient, and one step is taken along it. Each further step updates v:

    .. math:: v \leftarrow v + \nabla f_i(w) - \nabla f_i(w_{\text{before}}), \qquad
        w \leftarrow w - \gamma(v + \lambda w)

    (algorithm 1 of the paper). Given the past, v is biased, except in the first step after a full gradient. Within a
    loop v goes to zero for strongly convex f (theorem 1), which SVRG's direction does not.

    Cost: two gradients a step, and n for each of the ⌈steps/inner⌉ full gradients. Memory: the previous w and v, no
    table.

    Args:
        loss_i, w0, n, steps, indices, l2, callback, seed: as for :func:`svrg`. The step along the full gradient
            needs no index: it is not counted and the callback is not told of it, so `inner` is the paper's m − 1.
        prox: as for :func:`saga`, applied after every step, the uncounted one too; the paper has none.
        lr: step length, in units of w per gradient; above 0. The theory needs less than 1/L, with L the largest
            curvature of any one example.
        inner: steps from one full gradient to the next, at least 1; by default n.
        option: where the next loop starts, and what is returned: "last", the last iterate; "random", one of the loop's
            iterates from first to last (the paper's); "average", their mean.

    Returns:
        A new tensor of w0's shape, dtype and device; where the callback stopped it, the w it was told.
        With `lr` too large it may be inf or NaN.

    Raises:
        ValueError: as :func:`svrg`.

    Example:
        >>> import torch
        >>> x, y = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([3.0, 2.0])
        >>> def loss_i(w, i):
        ...     return (x[i] @ w - y[i]) ** 2 / 2
        >>> sarah(loss_i, torch.zeros(2), n=2, lr=0.1, steps=1000)
        tensor([3.0000, 1.0000])
    """
    f, order = begin(loss_i, w0, n, lr, steps, indices, l2, prox, callback, seed)
    inner, hand_on = f.n if inner is None else integer("inner", inner, 1), HandOn(option, seed)
    w = f.w
    for step, i in enumerate(order, 1):
        if step % inner == 1 or inner == 1:
            hand_on.add(w)
            v = f.mean(w)
            before, w = w, f.step(w, v)
            hand_on.add(w)
        v = v + f.change(w, before, i)
        before, w = w, f.step(w, v)
        hand_on.add(w)
        if f.stop(step, w):
            return f.tensor(w)
        if step % inner == 0 or step == len(order):
            w = hand_on.take(w)
    return f.tensor(w)
