"""Adamax (Kingma & Ba 2015, algorithm 2): Adam with the largest gradient in the place of the root mean square."""

from typing import Any, Unpack

from dlopt.adaptive.hyperparameters import check_adam, with_betas
from dlopt.engine.optimizer import EngineOptions, RuleOptimizer
from dlopt.engine.rule import xp


def adamax(g, p, m, u, *, lr, beta1, beta2, eps, bias1):
    m = beta1 * m + (1 - beta1) * g
    u = xp.maximum(beta2 * u, xp.abs(g) + eps)
    return -(lr / bias1) * m / u, m, u


def first_bias(t, *, beta1):
    bias1 = 1 - beta1**t
    return bias1


class Adamax(RuleOptimizer):
    r"""Adamax, as ``torch.optim.Adamax``: the same keywords, defaults, numbers and checkpoints.

    Args:
        params: tensors of any shape, named tensors, or dicts of parameter groups. float16, bfloat16, float32,
            float64 and complex.
        lr: :math:`\gamma \ge 0`, in units of the parameter: no element moves further in one step, but for one per cent
            at the default betas.
        betas: :math:`(\beta_1, \beta_2)` in [0, 1), the factors by which the running mean of the gradient and its
            largest size shrink each step.
        eps: :math:`\varepsilon \ge 0`, in units of the gradient, added to each gradient's size before the maximum.
            The paper has none; with 0, an element whose gradients were all zero becomes NaN.
        weight_decay: :math:`\lambda \ge 0`, coupled: :math:`\lambda\theta` is added to the gradient.
        maximize, foreach, capturable, differentiable, fused, writing, seed, optim_bits: see
            :class:`dlopt.engine.EngineOptions`.

    State, float32 or wider: ``exp_avg``, ``exp_inf``; and ``step``.

    Raises:
        ValueError: for a hyperparameter out of its range, NaN or infinite.
        RuntimeError: at ``step`` for a sparse gradient.

    Example:
        >>> import torch
        >>> w = torch.tensor([1.0, -2.0], requires_grad=True)
        >>> w.grad = torch.tensor([100.0, -0.01])
        >>> Adamax([w], lr=0.1).step()
        >>> w
        tensor([ 0.9000, -1.9000], requires_grad=True)
    """

    rules = (adamax,)
    state_keys = {"m": "exp_avg", "u": "exp_inf"}
    quantized = {"m": "signed"}  # u falls by a thousandth a step: rounded to the nearest code, never
    scalars = staticmethod(first_bias)

    def __init__(
        self, params: Any, lr: Any = 2e-3, betas: tuple[Any, Any] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: Any = 0, **engine: Unpack[EngineOptions],
    ) -> None:  # fmt: skip
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay), **engine)

    def check(self, group: dict[str, Any]) -> None:
        check_adam(group)

    def hyper(self, group: dict[str, Any]) -> dict[str, Any]:
        return with_betas(group)
