"""Lion (Chen et al. 2023, algorithm 2): the sign of a mean of gradients, found by a search over programs."""

from typing import Any, Unpack

from dlopt.adaptive.hyperparameters import check_adam, with_betas
from dlopt.engine.optimizer import EngineOptions, RuleOptimizer
from dlopt.engine.rule import xp


def lion(g, p, m, *, lr, beta1, beta2, weight_decay):
    c = beta1 * m + (1 - beta1) * g
    m = beta2 * m + (1 - beta2) * g
    return -lr * (xp.sign(c) + weight_decay * p), m


class Lion(RuleOptimizer):
    r"""Lion: every element moves by lr, towards the sign of a mean of gradients.

    Args:
        params: tensors of any shape, named tensors, or dicts of parameter groups. float16, bfloat16, float32,
            float64, and complex, where real and imaginary part have a sign each.
        lr: :math:`\eta \ge 0`, in units of the parameter: exactly how far an element moves. The paper advises 3 to 10
            times less than for AdamW.
        betas: :math:`(\beta_1, \beta_2)` in [0, 1): the weight of the past in the step, and in what is kept.
        weight_decay: :math:`\lambda \ge 0`, decoupled: each step takes :math:`\eta\lambda\theta` off the parameter.
            The paper advises 3 to 10 times more than for AdamW.
        maximize, foreach, capturable, differentiable, fused, writing, seed, optim_bits: see
            :class:`dlopt.engine.EngineOptions`.

    State, float32 or wider: ``exp_avg``. Half of AdamW's.

    Raises:
        ValueError: for a hyperparameter out of its range, NaN or infinite.
        RuntimeError: at ``step`` for a sparse gradient.

    Example:
        >>> import torch
        >>> w = torch.tensor([1.0, -2.0], requires_grad=True)
        >>> w.grad = torch.tensor([100.0, -0.01])
        >>> Lion([w], lr=0.1).step()
        >>> w
        tensor([ 0.9000, -1.9000], requires_grad=True)
    """

    rules = (lion,)
    state_keys = {"m": "exp_avg"}
    quantized = {"m": "signed"}
    counted = False
    decoupled = True

    def __init__(
        self, params: Any, lr: Any = 1e-4, betas: tuple[Any, Any] = (0.9, 0.99), weight_decay: Any = 0,
        **engine: Unpack[EngineOptions],
    ) -> None:  # fmt: skip
        super().__init__(params, dict(lr=lr, betas=betas, weight_decay=weight_decay), **engine)

    def check(self, group: dict[str, Any]) -> None:
        check_adam({**group, "eps": 0})

    def hyper(self, group: dict[str, Any]) -> dict[str, Any]:
        return with_betas(group)
