"""SVRG: an anchor's full gradient as a control variate (Johnson & Zhang, NIPS 2013)."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from dlopt.engine.checks import integer

from .checks import LossI
from .problem import Callback, HandOn, Prox, begin


@np.errstate(over="ignore", invalid="ignore")
def svrg(
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
    r"""Minimize (1/n) Σ loss_i(w, i) + l2/2 ‖w‖² + h(w) with the full gradient at an anchor, renewed now and then.

    Every `inner` steps the anchor :math:`\tilde w` moves to where we are and costs a pass over the data. Step:

    .. math:: w \leftarrow \operatorname{prox}\bigl(w - \gamma(\nabla f_i(w) - \nabla f_i(\tilde w)
        + \nabla f(\tilde w) + \lambda w)\bigr)

    The direction is unbiased, and exact at the anchor. For `option` "random" and no prox, theorem 1 of the paper has
    the expected gap shrink by :math:`1/(\ell\gamma(1-2L\gamma)m) + 2L\gamma/(1-2L\gamma)` an anchor, m = `inner`.

    Cost: two gradients a step, and n for each of the ⌈steps/inner⌉ anchors; the first stands at w0. Memory: the anchor
    and its gradient, no table.

    Args:
        loss_i, w0, n, steps, indices, l2, prox, callback, seed: as for :func:`saga`; `seed` also decides the random
            iterates, by ``numpy.random.default_rng([seed, 1])``. A step is an inner one; an anchor is none, and
            the callback is not told of it.
        lr: step length, in units of w per gradient; above 0. The theory needs less than 1/(4 L), with L the
            largest curvature of any one example.
        inner: steps from one anchor to the next, at least 1; by default 2n, the paper's choice for convex problems
            (it takes 5n for others).
        option: where the next inner loop starts, and what is returned: "last", the last iterate (the paper's option
            I); "random", one of the m iterates that the loop computed a gradient at (option II); "average",
            their mean.

    Returns:
        A new tensor of w0's shape, dtype and device; where the callback stopped it, the w it was told.
        With `lr` too large it may be inf or NaN.

    Raises:
        ValueError: as :func:`sag`; for an `inner` below 1 or an unknown `option`.

    Example:
        >>> import torch
        >>> x, y = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([3.0, 2.0])
        >>> def loss_i(w, i):
        ...     return (x[i] @ w - y[i]) ** 2 / 2
        >>> svrg(loss_i, torch.zeros(2), n=2, lr=0.1, steps=1000)
        tensor([3.0000, 1.0000])
    """
    f, order = begin(loss_i, w0, n, lr, steps, indices, l2, prox, callback, seed)
    inner, hand_on = 2 * f.n if inner is None else integer("inner", inner, 1), HandOn(option, seed)
    w = f.w
    for step, i in enumerate(order, 1):
        if step % inner == 1 or inner == 1:
            anchor, full = w, f.mean(w)
        hand_on.add(w)
        w = f.step(w, f.change(w, anchor, i) + full)
        if f.stop(step, w):
            return f.tensor(w)
        if step % inner == 0 or step == len(order):
            w = hand_on.take(w)
    return f.tensor(w)
