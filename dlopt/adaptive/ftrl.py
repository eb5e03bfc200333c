"""FTRL-Proximal (McMahan et al. 2013, algorithm 1): online gradient descent that leaves weights at exact zeros."""

from typing import Any, Unpack

from dlopt.engine.checks import number
from dlopt.engine.device import stays
from dlopt.engine.optimizer import EngineOptions, RuleOptimizer
from dlopt.engine.rule import xp


def ftrl(g, p, z, n, *, lr, beta, l1, ridge):
    sigma = (xp.sqrt(n + g * g) - xp.sqrt(n)) / lr
    z = z + g - sigma * p
    n = n + g * g
    far = -(z - xp.sign(z) * l1) / ((beta + xp.sqrt(n)) / lr + ridge)
    w = xp.where(xp.abs(z) <= l1, 0, far)
    return w - p, z, n


class FTRL(RuleOptimizer):
    r"""FTRL-Proximal: each weight minimizes all its past linearized losses at once, plus L1 and L2.

    With ``l1=0`` and ``l2=0`` it is AdaGrad with :math:`\beta` in the denominator, from weights that begin at zero.
    With ``l1`` a weight whose gradients have nearly cancelled is exactly 0.0, on every face, in every dtype.

    Args:
        params: tensors of any shape, named tensors, or dicts of parameter groups. They should begin at zero: a
            weight is a function of the state, which knows of its start only what its gradients have let in. A weight
            that begins elsewhere is 0 after a gradient of 0, and nearer to 0 after one that is small beside ``beta``.
            float16, bfloat16, float32, float64, and complex, where real and imaginary part are apart.
        lr: :math:`\alpha > 0`, in units of the parameter: about how far a weight moves at first. Constant: the
            formula has the schedule in it.
        beta: :math:`\beta \ge 0`, in units of the gradient; makes the first steps shorter. The paper advises 1.
        l1: :math:`\lambda_1 \ge 0`, in units of the gradient, summed over steps: not multiplied by their number.
        l2: :math:`\lambda_2 \ge 0`, in units of gradient per parameter, likewise.
        maximize, foreach, capturable, differentiable, fused, writing, seed, optim_bits: see
            :class:`dlopt.engine.EngineOptions`.

    A sparse gradient touches its own rows only. From weights of zero, at a constant learning rate, that is exact: a row
    without a gradient would not move anyway.

    State, float32 or wider: ``z``, ``n``.

    Raises:
        ValueError: for a hyperparameter out of its range, NaN or infinite; a learning rate of 0, now or later; but
            later no step looks at a tensor on a GPU, and where that is 0 the weights become NaN.
        RuntimeError: at ``step`` for a gradient that does not fit.

    Example:
        >>> import torch
        >>> w = torch.zeros(2, requires_grad=True)
        >>> opt = FTRL([w], lr=0.1, l1=1.0)
        >>> w.grad = torch.tensor([3.0, 0.5])
        >>> opt.step()
        >>> w
        tensor([-0.0500,  0.0000], requires_grad=True)
    """

    rules = (ftrl,)
    state_keys = {"z": "z", "n": "n"}
    counted = False

    def __init__(
        self, params: Any, lr: Any = 0.1, beta: float = 1.0, l1: float = 0.0, l2: float = 0.0,
        **engine: Unpack[EngineOptions],
    ) -> None:  # fmt: skip
        super().__init__(params, dict(lr=lr, beta=beta, l1=l1, l2=l2), **engine)

    def check(self, group: dict[str, Any]) -> None:
        number("learning rate", group["lr"], above=0)
        for name in ("beta", "l1", "l2"):
            number(f"{name} value", group[name], low=0)

    def hyper(self, group: dict[str, Any]) -> dict[str, Any]:
        if not stays(group["lr"]):
            number("learning rate", group["lr"], above=0)  # a schedule may have brought it to 0: the rule divides by it
        return {**group, "ridge": group["l2"]}

    def sparse(self, group: dict[str, Any]) -> str:
        return "rows"
