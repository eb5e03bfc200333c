"""AMSGrad as its paper has it (Reddi, Kale & Kumar 2018, algorithm 2)."""

from typing import Any, Unpack

from dlopt.adaptive.hyperparameters import check_adam, with_betas
from dlopt.engine.checks import number
from dlopt.engine.optimizer import EngineOptions, RuleOptimizer
from dlopt.engine.rule import xp


def amsgrad(g, p, m, v, v_hat, *, lr, beta1, beta2, eps):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    v_hat = xp.maximum(v_hat, v)
    return -lr * m / (xp.sqrt(v_hat) + eps), m, v, v_hat


def falling_rate(t, *, lr, power):
    lr = lr / t**power
    return lr


class AMSGrad(RuleOptimizer):
    r"""AMSGrad: Adam whose :math:`v` never falls, as the paper has it: no bias correction, and a falling rate.

    ``torch.optim``'s reading, :class:`Adam` with ``amsgrad=True``, corrects both moments, and takes the maximum before
    it does so.

    Args:
        params: tensors of any shape, named tensors, or dicts of parameter groups. float16, bfloat16, float32,
            float64 and complex.
        lr: :math:`\alpha \ge 0`, in units of the parameter.
        betas: :math:`(\beta_1, \beta_2)` in [0, 1). The paper's experiments try .99 and .999 for the second.
        eps: in units of the gradient, at least 0, outside the root. The paper has none; with 0, an element whose
            gradients were all zero becomes NaN.
        power: the rate at step t is :math:`\alpha / t^{\text{power}}`. 1/2 is the paper's theorem; 0 leaves the
            rate to a scheduler.
        weight_decay: :math:`\lambda \ge 0`, coupled: :math:`\lambda\theta` is added to the gradient.
        maximize, foreach, capturable, differentiable, fused, writing, seed, optim_bits: see
            :class:`dlopt.engine.EngineOptions`.

    State, float32 or wider: ``exp_avg``, ``exp_avg_sq``, ``max_exp_avg_sq``; and ``step``.

    Raises:
        ValueError: for a hyperparameter out of its range, NaN or infinite.
        RuntimeError: at ``step`` for a sparse gradient.

    Example:
        >>> import torch
        >>> w = torch.tensor([1.0], requires_grad=True)
        >>> opt = AMSGrad([w], lr=0.1, betas=(0.0, 0.99))
        >>> for gradient in (10.0, 1.0):
        ...     w.grad = torch.tensor([gradient])
        ...     opt.step()
        >>> w
        tensor([-0.0707], requires_grad=True)
    """

    rules = (amsgrad,)
    state_keys = {"m": "exp_avg", "v": "exp_avg_sq", "v_hat": "max_exp_avg_sq"}
    quantized = {"m": "signed", "v": "unsigned"}  # a maximum must not fall: v_hat stays float32
    scalars = staticmethod(falling_rate)

    def __init__(
        self, params: Any, lr: Any = 1e-3, betas: tuple[Any, Any] = (0.9, 0.999), eps: float = 1e-8,
        power: float = 0.5, weight_decay: Any = 0, **engine: Unpack[EngineOptions],
    ) -> None:  # fmt: skip
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, power=power, weight_decay=weight_decay), **engine)

    def check(self, group: dict[str, Any]) -> None:
        check_adam(group)
        number("power", group["power"], low=0)

    def hyper(self, group: dict[str, Any]) -> dict[str, Any]:
        return with_betas(group)
