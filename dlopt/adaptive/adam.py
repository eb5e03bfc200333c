"""Adam (Kingma & Ba 2015, algorithm 1), and torch's reading of AMSGrad (Reddi, Kale & Kumar 2018, algorithm 2)."""

from typing import Any, Unpack

from dlopt.adaptive.adamw import adamw, adamw_amsgrad
from dlopt.adaptive.hyperparameters import bias_correction, check_adam, with_betas
from dlopt.engine.optimizer import EngineOptions, RuleOptimizer
from dlopt.engine.rule import xp


def adam(g, p, m, v, *, lr, beta1, beta2, eps, bias1, bias2):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    m_hat = m / bias1
    v_hat = v / bias2
    return -lr * m_hat / (xp.sqrt(v_hat) + eps), m, v


def adam_amsgrad(g, p, m, v, v_max, *, lr, beta1, beta2, eps, bias1, bias2):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    v_max = xp.maximum(v_max, v)
    m_hat = m / bias1
    v_hat = v_max / bias2
    return -lr * m_hat / (xp.sqrt(v_hat) + eps), m, v, v_max


class Adam(RuleOptimizer):
    r"""Adam, as ``torch.optim.Adam``: the same keywords, defaults, numbers and checkpoints.

    Args:
        params: tensors of any shape, named tensors, or dicts of parameter groups. float16, bfloat16, float32,
            float64 and complex.
        lr: :math:`\gamma \ge 0`, in units of the parameter: about how far an element moves in one step.
        betas: :math:`(\beta_1, \beta_2)` in [0, 1), the factors by which the running means of the gradient and of
            its square shrink each step.
        eps: :math:`\varepsilon \ge 0`, in units of the gradient, outside the root.
        weight_decay: :math:`\lambda \ge 0`, coupled: :math:`\lambda\theta` is added to the gradient, so that it is
            divided by :math:`\sqrt{\hat v}` too. For the decoupled kind use :class:`AdamW`.
        amsgrad: divide by the largest :math:`v` so far. torch's reading, with bias correction; the paper's is
            :class:`AMSGrad`.
        decoupled_weight_decay: what makes it :class:`AdamW`.
        maximize, foreach, capturable, differentiable, fused, writing, seed, optim_bits: see
            :class:`dlopt.engine.EngineOptions`.

    State, float32 or wider: ``exp_avg``, ``exp_avg_sq``, with `amsgrad` ``max_exp_avg_sq``; and ``step``.

    Raises:
        ValueError: for a hyperparameter out of its range, NaN or infinite.
        RuntimeError: at ``step`` for a sparse gradient (:class:`SparseAdam` takes it).

    Example:
        >>> import torch
        >>> w = torch.tensor([1.0, -2.0], requires_grad=True)
        >>> w.grad = torch.tensor([100.0, -0.001])
        >>> Adam([w], lr=0.1).step()
        >>> w
        tensor([ 0.9000, -1.9000], requires_grad=True)
    """

    rules = (adam, adam_amsgrad, adamw, adamw_amsgrad)
    state_keys = {"m": "exp_avg", "v": "exp_avg_sq", "v_max": "max_exp_avg_sq"}
    quantized = {"m": "signed", "v": "unsigned"}  # a maximum must not fall: v_max stays float32
    scalars = staticmethod(bias_correction)

    def __init__(
        self, params: Any, lr: Any = 1e-3, betas: tuple[Any, Any] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: Any = 0, amsgrad: bool = False, *, decoupled_weight_decay: bool = False,
        **engine: Unpack[EngineOptions],
    ) -> None:  # fmt: skip
        hyper = dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad)
        super().__init__(params, {**hyper, "decoupled_weight_decay": decoupled_weight_decay}, **engine)

    def check(self, group: dict[str, Any]) -> None:
        check_adam(group)

    def hyper(self, group: dict[str, Any]) -> dict[str, Any]:
        return with_betas(group)

    def rule(self, group: dict[str, Any], t: float) -> Any:
        return self.rules[bool(group["amsgrad"]) + 2 * bool(group["decoupled_weight_decay"])]
