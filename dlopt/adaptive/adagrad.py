"""AdaGrad (Duchi, Hazan & Singer 2011, figure 1 with a diagonal matrix)."""

from typing import Any, Unpack

from dlopt.engine.checks import learning_rate, number
from dlopt.engine.optimizer import EngineOptions, RuleOptimizer
from dlopt.engine.rule import xp


def adagrad(g, p, G, *, lr, eps):
    G = G + g * g
    return -lr * g / (xp.sqrt(G) + eps), G


def decayed_rate(t, *, lr, lr_decay):
    lr = lr / (1 + (t - 1) * lr_decay)
    return lr


class Adagrad(RuleOptimizer):
    r"""AdaGrad, as ``torch.optim.Adagrad``: the same keywords, defaults, numbers and checkpoints.

    Args:
        params: tensors of any shape, named tensors, or dicts of parameter groups. float16, bfloat16, float32,
            float64 and complex.
        lr: :math:`\gamma \ge 0`, in units of the parameter: how far an element moves in its first step.
        lr_decay: :math:`\ge 0`; the rate at step t is :math:`\gamma / (1 + (t - 1)\,\text{lr\_decay})`. The paper
            has none: :math:`\sqrt{G}` makes steps shorter by itself.
        weight_decay: :math:`\lambda \ge 0`, coupled: :math:`\lambda\theta` is added to the gradient.
        initial_accumulator_value: what every element of :math:`G` begins as, at least 0.
        eps: :math:`\delta \ge 0`, in units of the gradient, outside the root.
        maximize, foreach, capturable, differentiable, fused, writing, seed, optim_bits: see
            :class:`dlopt.engine.EngineOptions`.

    A sparse gradient touches its own rows only, and costs what they cost.

    State, float32 or wider: ``sum``; and ``step``.

    Raises:
        ValueError: for a hyperparameter out of its range, NaN or infinite.
        RuntimeError: at ``step`` for a gradient that does not fit: weight decay with a sparse one, say.

    Example:
        >>> import torch
        >>> w = torch.tensor([1.0, -2.0], requires_grad=True)
        >>> opt = Adagrad([w], lr=0.1)
        >>> for _ in range(2):
        ...     w.grad = torch.tensor([100.0, -0.001])
        ...     opt.step()
        >>> w
        tensor([ 0.8293, -1.8293], requires_grad=True)
    """

    rules = (adagrad,)
    state_keys = {"G": "sum"}
    scalars = staticmethod(decayed_rate)

    def __init__(
        self, params: Any, lr: Any = 1e-2, lr_decay: float = 0, weight_decay: Any = 0,
        initial_accumulator_value: float = 0, eps: float = 1e-10, **engine: Unpack[EngineOptions],
    ) -> None:  # fmt: skip
        hyper = dict(lr=lr, lr_decay=lr_decay, eps=eps, weight_decay=weight_decay)
        super().__init__(params, {**hyper, "initial_accumulator_value": initial_accumulator_value}, **engine)

    def check(self, group: dict[str, Any]) -> None:
        learning_rate(group["lr"])
        for name in ("lr_decay", "weight_decay", "initial_accumulator_value"):
            number(f"{name} value", group[name], low=0)
        number("epsilon value", group["eps"], low=0)

    def initial(self, group: dict[str, Any], symbol: str, p: Any) -> float:
        return float(group["initial_accumulator_value"])

    def sparse(self, group: dict[str, Any]) -> str:
        return "rows"
