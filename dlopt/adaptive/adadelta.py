"""Adadelta (Zeiler 2012, algorithm 1)."""

from typing import Any, Unpack

from dlopt.engine.checks import learning_rate, number
from dlopt.engine.optimizer import EngineOptions, RuleOptimizer
from dlopt.engine.rule import xp


def adadelta(g, p, v, u, *, lr, rho, eps):
    v = rho * v + (1 - rho) * g * g
    d = xp.sqrt(u + eps) / xp.sqrt(v + eps) * g
    u = rho * u + (1 - rho) * d * d
    return -lr * d, v, u


class Adadelta(RuleOptimizer):
    r"""Adadelta, as ``torch.optim.Adadelta``: the same keywords, defaults, numbers and checkpoints.

    Args:
        params: tensors of any shape, named tensors, or dicts of parameter groups. float16, bfloat16, float32,
            float64 and complex.
        lr: :math:`\gamma \ge 0`, a pure number: the step has the parameter's units already. The paper has none,
            which is 1.
        rho: :math:`\rho` in [0, 1], the factor by which both running means shrink each step. The paper's is .95,
            torch's .9.
        eps: :math:`\varepsilon \ge 0`, inside both roots, in units of the gradient squared and of the parameter
            squared at once. It alone sets the length of the first step.
        weight_decay: :math:`\lambda \ge 0`, coupled: :math:`\lambda\theta` is added to the gradient.
        maximize, foreach, capturable, differentiable, fused, writing, seed, optim_bits: see
            :class:`dlopt.engine.EngineOptions`.

    State, float32 or wider: ``square_avg``, of gradients, ``acc_delta``, of changes; and ``step``.

    Raises:
        ValueError: for a hyperparameter out of its range, NaN or infinite.
        RuntimeError: at ``step`` for a sparse gradient.

    Example:
        >>> import torch
        >>> w = torch.tensor([1.0, -2.0], requires_grad=True)
        >>> w.grad = torch.tensor([100.0, -0.01])
        >>> Adadelta([w], lr=100.0).step()
        >>> w
        tensor([ 0.6838, -1.6985], requires_grad=True)
    """

    rules = (adadelta,)
    state_keys = {"v": "square_avg", "u": "acc_delta"}
    quantized = {"v": "unsigned", "u": "unsigned"}

    def __init__(
        self, params: Any, lr: Any = 1.0, rho: float = 0.9, eps: float = 1e-6, weight_decay: Any = 0,
        **engine: Unpack[EngineOptions],
    ) -> None:  # fmt: skip
        super().__init__(params, dict(lr=lr, rho=rho, eps=eps, weight_decay=weight_decay), **engine)

    def check(self, group: dict[str, Any]) -> None:
        learning_rate(group["lr"])
        number("rho value", group["rho"], low=0, high=1)
        number("epsilon value", group["eps"], low=0)
        number("weight_decay value", group["weight_decay"], low=0)
