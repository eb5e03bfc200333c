"""Proximal SGD: the L1 penalty as a step of its own, with zeros that are zeros.

Daubechies, Defrise & De Mol 2004 (iterative soft thresholding, eq. 1.1 to 1.3); Duchi & Singer 2009 (FOBOS, eq. 2, 3
and 19); Parikh & Boyd 2014 (Proximal Algorithms, eq. 4.7 and 6.9).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Unpack

import numpy as np
import torch

from dlopt.engine.checks import learning_rate, number
from dlopt.engine.faces import torch as torch_face
from dlopt.engine.optimizer import EngineOptions, RuleOptimizer
from dlopt.engine.rule import with_namespace, xp


def soft_threshold(x, *, k):
    return xp.maximum(x - k, 0) + xp.minimum(x + k, 0)


def proximal(g, p, *, lr, l1):
    u = p - lr * g
    z = soft_threshold(u, k=lr * l1)
    return z - p


class ProximalSGD(RuleOptimizer):
    r"""SGD for a loss plus :math:`\lambda_1 \lVert\theta\rVert_1`: a gradient step, then soft thresholding.

    The penalty never enters the gradient. After the step on the loss every element is pulled towards zero by
    :math:`\gamma\lambda_1`, and one that would cross zero stops there: at an exact 0.0, on every face, in every dtype
    and with every ``writing``. At a minimizer a zero has a gradient of at most ``l1`` in size, and any other element
    one of exactly ``l1``, against its sign.

    Args:
        params: tensors of any shape, named tensors, or dicts of parameter groups. float16, bfloat16, float32,
            float64, and complex, where real and imaginary part are penalized apart. Biases belong in a group with
            ``l1=0``.
        lr: :math:`\gamma \ge 0`, in units of parameter per gradient; a number or a 1-element tensor. To converge it
            must be below 2 / L for a loss of largest curvature L.
        l1: :math:`\lambda_1 \ge 0`, in units of the gradient.
        weight_decay: :math:`\lambda \ge 0`, coupled: :math:`\lambda\theta` is added to the gradient. With ``l1`` this
            is the elastic net.
        maximize, foreach, differentiable, fused, writing, seed, optim_bits: see
            :class:`dlopt.engine.EngineOptions`. `maximize` climbs
            the loss; the penalty still pulls to zero.

    It keeps no state. A sparse gradient is taken row by row if ``l1`` is 0; otherwise the penalty acts on all rows.

    Raises:
        ValueError: for a hyperparameter out of its range, NaN or infinite.
        RuntimeError: at ``step`` for a gradient that does not fit: weight decay with a sparse one, say.

    Example:
        >>> w = torch.tensor([1.0, -0.05], requires_grad=True)
        >>> opt = ProximalSGD([w], lr=0.1, l1=1.0)
        >>> (w * w).sum().backward()
        >>> opt.step()
        >>> w
        tensor([0.7000, 0.0000], requires_grad=True)
    """

    rules = (proximal,)
    counted = False

    def __init__(
        self, params: Any, lr: Any = 1e-3, l1: Any = 0, weight_decay: Any = 0, **engine: Unpack[EngineOptions]
    ) -> None:
        super().__init__(params, dict(lr=lr, l1=l1, weight_decay=weight_decay), **engine)

    def check(self, group: dict[str, Any]) -> None:
        learning_rate(group["lr"])
        number("l1 value", group["l1"], low=0)
        number("weight_decay value", group["weight_decay"], low=0)

    def sparse(self, group: dict[str, Any]) -> str:
        return "rows" if group["l1"] == 0 else "dense"


def l1_prox(strength: float) -> Callable[[Any, float], Any]:
    """The proximal map of ``strength * ||w||_1``, for a solver that takes ``prox(w, lr) -> w``.

    Args:
        strength: weight of the penalty, at least 0, in units of the gradient.

    Returns:
        A function of a real array or tensor of any shape and of the step size; it returns a new one, with exact zeros,
        in the same dtype. It can be pickled.

    Raises:
        ValueError: `strength` is negative, NaN or infinite. The function itself raises TypeError for complex numbers.

    Example:
        >>> l1_prox(2.0)(np.array([1.0, -0.5, 0.1]), 0.25).tolist()
        [0.5, 0.0, 0.0]
    """
    number("strength", strength, low=0)
    return partial(_shrunk, float(strength))


def _shrunk(strength: float, w: Any, lr: float) -> Any:
    if torch.is_complex(w) if isinstance(w, torch.Tensor) else np.iscomplexobj(w):
        raise TypeError("an l1_prox takes real numbers, and these are complex")
    if isinstance(w, torch.Tensor):
        namespace = torch_face.namespace(w.dtype, w.dtype)
        return with_namespace(soft_threshold, namespace)(w, k=lr * strength)
    return soft_threshold(np.asarray(w), k=lr * strength)
