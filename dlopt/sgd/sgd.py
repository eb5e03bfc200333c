"""Stochastic gradient descent (Robbins & Monro 1951), heavy ball (Polyak 1964, eq. 9), Nesterov (1983).

Momentum is written as torch writes it, with the learning rate outside the buffer, and Nesterov's point
is the one looked ahead to (Sutskever et al. 2013, eq. 3 and 4, shifted by momentum * b).
Coupled weight decay has been added to ``g`` before a rule sees it; the decoupled one stands in a rule.
"""

from typing import Any, Unpack

from dlopt.engine.checks import learning_rate, number
from dlopt.engine.optimizer import EngineOptions, RuleOptimizer
from dlopt.engine.rule import xp


def sgd(g, p, *, lr):
    return -lr * g


def heavy_ball(g, p, b, *, lr, momentum, gain):
    b = momentum * b + gain * g
    return -lr * b, b


def nesterov(g, p, b, *, lr, momentum, gain):
    b = momentum * b + gain * g
    return -lr * (g + momentum * b), b


def sgd_decoupled(g, p, *, lr, weight_decay):
    return sgd(g, p, lr=lr) - lr * weight_decay * p


def heavy_ball_decoupled(g, p, b, *, lr, momentum, gain, weight_decay):
    d, b = heavy_ball(g, p, b, lr=lr, momentum=momentum, gain=gain)
    return d - lr * weight_decay * p, b


def nesterov_decoupled(g, p, b, *, lr, momentum, gain, weight_decay):
    d, b = nesterov(g, p, b, lr=lr, momentum=momentum, gain=gain)
    return d - lr * weight_decay * p, b


def first_undamped(t, *, dampening):
    gain = xp.where(t == 1, 1, 1 - dampening)
    return gain


class SGD(RuleOptimizer):
    r"""SGD with momentum, as ``torch.optim.SGD``: the same keywords, defaults, numbers and checkpoints.

    Args:
        params: tensors of any shape, named tensors, or dicts of parameter groups. float16, bfloat16,
            float32, float64 and complex.
        lr: :math:`\gamma \ge 0`, in units of parameter per gradient; a number or a 1-element tensor.
        momentum: :math:`\mu \ge 0`, the factor by which the buffer shrinks each step.
        dampening: :math:`\tau`; the gradient enters the buffer times :math:`1 - \tau`, undamped the first time.
        weight_decay: :math:`\lambda \ge 0`. Coupled: added to the gradient as :math:`\lambda\theta`, so
            that momentum averages it too.
        nesterov: use the gradient looked ahead to; needs a momentum and zero dampening.
        decoupled_weight_decay: let :math:`\lambda` shrink the parameter by :math:`\gamma\lambda` directly
            (SGDW, Loshchilov & Hutter 2019, algorithm 1 with :math:`\eta_t\lambda` read as lr * weight_decay).
        maximize, foreach, differentiable, fused, writing, seed, optim_bits: see
            :class:`dlopt.engine.EngineOptions`.

    State: ``momentum_buffer``, of the parameter's shape, float32 or wider. None with ``momentum=0``.

    Raises:
        ValueError: for a hyperparameter out of its range, NaN or infinite.
        RuntimeError: at ``step`` for a gradient that does not fit: weight decay with a sparse one, say.

    Example:
        >>> import torch
        >>> w = torch.tensor([1.0, -2.0], requires_grad=True)
        >>> opt = SGD([w], lr=0.1, momentum=0.9)
        >>> for _ in range(2):
        ...     opt.zero_grad()
        ...     (w * w).sum().backward()
        ...     opt.step()
        >>> w
        tensor([ 0.4600, -0.9200], requires_grad=True)
    """

    rules = (sgd, heavy_ball, nesterov, sgd_decoupled, heavy_ball_decoupled, nesterov_decoupled)
    state_keys = {"b": "momentum_buffer"}
    quantized = {"b": "signed"}
    scalars = staticmethod(first_undamped)
    counted = False

    def __init__(
        self, params: Any, lr: Any = 1e-3, momentum: float = 0, dampening: float = 0, weight_decay: Any = 0,
        nesterov: bool = False, *, decoupled_weight_decay: bool = False, **engine: Unpack[EngineOptions],
    ) -> None:  # fmt: skip
        hyper = dict(lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay, nesterov=nesterov)
        super().__init__(params, {**hyper, "decoupled_weight_decay": decoupled_weight_decay}, **engine)

    def check(self, group: dict[str, Any]) -> None:
        learning_rate(group["lr"])
        number("momentum value", group["momentum"], low=0)
        number("dampening value", group["dampening"])
        number("weight_decay value", group["weight_decay"], low=0)
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")

    def rule(self, group: dict[str, Any], t: float) -> Any:
        which = 0 if group["momentum"] == 0 else 2 if group["nesterov"] else 1
        decoupled = bool(group["decoupled_weight_decay"] and group["weight_decay"] != 0)
        return self.rules[which + 3 * decoupled]

    def sparse(self, group: dict[str, Any]) -> str:
        return "rows" if group["momentum"] == 0 else "dense"
