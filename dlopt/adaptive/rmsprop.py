"""RMSprop (Hinton, Srivastava & Swersky 2012, lecture 6e; with momentum, centered: Graves 2013, eq. 38 to 45)."""

from typing import Any, Unpack

from dlopt.engine.checks import CONVENTIONS, choice, learning_rate, number
from dlopt.engine.optimizer import EngineOptions, RuleOptimizer
from dlopt.engine.rule import xp


def rmsprop(g, p, v, *, lr, alpha, eps, inside):
    v = alpha * v + (1 - alpha) * g * g
    return -lr * g / (xp.sqrt(v + inside) + eps), v


def rmsprop_momentum(g, p, v, b, *, lr, alpha, eps, inside, momentum):
    v = alpha * v + (1 - alpha) * g * g
    b = momentum * b + g / (xp.sqrt(v + inside) + eps)
    return -lr * b, v, b


def rmsprop_centered(g, p, v, m, *, lr, alpha, eps, inside):
    v = alpha * v + (1 - alpha) * g * g
    m = alpha * m + (1 - alpha) * g
    variance = xp.maximum(v - m * m, 0)
    return -lr * g / (xp.sqrt(variance + inside) + eps), v, m


def rmsprop_centered_momentum(g, p, v, m, b, *, lr, alpha, eps, inside, momentum):
    v = alpha * v + (1 - alpha) * g * g
    m = alpha * m + (1 - alpha) * g
    variance = xp.maximum(v - m * m, 0)
    b = momentum * b + g / (xp.sqrt(variance + inside) + eps)
    return -lr * b, v, m, b


class RMSprop(RuleOptimizer):
    r"""RMSprop, as ``torch.optim.RMSprop``: the same keywords, defaults, numbers and checkpoints.

    Args:
        params: tensors of any shape, named tensors, or dicts of parameter groups. float16, bfloat16, float32,
            float64 and complex.
        lr: :math:`\gamma \ge 0`, in units of the parameter. The first step is :math:`1/\sqrt{1-\alpha}` times as
            long: there is no bias correction.
        alpha: :math:`\alpha` in [0, 1], the factor by which the running means shrink each step. Hinton's is .9,
            torch's .99.
        eps: :math:`\varepsilon \ge 0`, in units of the gradient, outside the root.
        weight_decay: :math:`\lambda \ge 0`, coupled: :math:`\lambda\theta` is added to the gradient.
        momentum: :math:`\mu \ge 0`, on the scaled gradients.
        centered: divide by the standard deviation, not by the root of the mean square. Where rounding makes the
            variance negative it counts as 0; ``torch.optim`` takes its root, NaN.
        convention: ``"torch"``, or ``"paper"``, with `eps` inside the root (Graves 2013, eq. 40), in units of the
            gradient squared. Hinton's lecture has none at all.
        maximize, foreach, capturable, differentiable, fused, writing, seed, optim_bits: see
            :class:`dlopt.engine.EngineOptions`.

    State, float32 or wider: ``square_avg``, with `centered` ``grad_avg``, with `momentum` ``momentum_buffer``; and
    ``step``.

    Raises:
        ValueError: for a hyperparameter out of its range, NaN or infinite.
        RuntimeError: at ``step`` for a sparse gradient.

    Example:
        >>> import torch
        >>> w = torch.tensor([1.0, -2.0], requires_grad=True)
        >>> w.grad = torch.tensor([100.0, -0.01])
        >>> RMSprop([w], lr=0.01).step()
        >>> w
        tensor([ 0.9000, -1.9000], requires_grad=True)
    """

    rules = (rmsprop, rmsprop_momentum, rmsprop_centered, rmsprop_centered_momentum)
    state_keys = {"v": "square_avg", "m": "grad_avg", "b": "momentum_buffer"}
    quantized = {"v": "unsigned", "b": "signed"}

    def __init__(
        self, params: Any, lr: Any = 1e-2, alpha: float = 0.99, eps: float = 1e-8, weight_decay: Any = 0,
        momentum: float = 0, centered: bool = False, *, convention: str = "torch", **engine: Unpack[EngineOptions],
    ) -> None:  # fmt: skip
        hyper = dict(lr=lr, momentum=momentum, alpha=alpha, eps=eps, centered=centered, weight_decay=weight_decay)
        super().__init__(params, {**hyper, "convention": convention}, **engine)

    def check(self, group: dict[str, Any]) -> None:
        learning_rate(group["lr"])
        number("epsilon value", group["eps"], low=0)
        number("momentum value", group["momentum"], low=0)
        number("weight_decay value", group["weight_decay"], low=0)
        number("alpha value", group["alpha"], low=0, high=1)
        choice("convention", group["convention"], CONVENTIONS)
        if group["centered"] and group.get("optim_bits") == 8:
            raise ValueError("Invalid optim_bits: the variance of a centered RMSprop is lost in 8 bits; leave it at 32")

    def hyper(self, group: dict[str, Any]) -> dict[str, Any]:
        paper = group["convention"] == "paper"
        return {**group, "eps": 0.0 if paper else group["eps"], "inside": group["eps"] if paper else 0.0}

    def rule(self, group: dict[str, Any], t: float) -> Any:
        return self.rules[2 * bool(group["centered"]) + (group["momentum"] > 0)]
