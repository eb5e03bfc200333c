"""AdamW: Adam with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2)."""

from typing import Any, Unpack

from dlopt.adaptive.hyperparameters import bias_correction, check_adam, with_betas
from dlopt.engine.checks import CONVENTIONS, choice
from dlopt.engine.optimizer import EngineOptions, RuleOptimizer
from dlopt.engine.rule import xp
from dlopt.engine.scalars import plain_value


def adamw(g, p, m, v, *, lr, beta1, beta2, eps, weight_decay, bias1, bias2):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    m_hat = m / bias1
    v_hat = v / bias2
    return -lr * (m_hat / (xp.sqrt(v_hat) + eps) + weight_decay * p), m, v


def adamw_amsgrad(g, p, m, v, v_max, *, lr, beta1, beta2, eps, weight_decay, bias1, bias2):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    v_max = xp.maximum(v_max, v)
    m_hat = m / bias1
    v_hat = v_max / bias2
    return -lr * (m_hat / (xp.sqrt(v_hat) + eps) + weight_decay * p), m, v, v_max


class AdamW(RuleOptimizer):
    r"""AdamW, as ``torch.optim.AdamW``: the same keywords, defaults, numbers and checkpoints.

    Args:
        params: tensors of any shape, named tensors, or dicts of parameter groups. float16, bfloat16, float32,
            float64 and complex.
        lr: :math:`\gamma \ge 0`, in units of the parameter: about how far an element moves in one step.
        betas: :math:`(\beta_1, \beta_2)` in [0, 1), the factors by which the running means of the gradient and of
            its square shrink each step.
        eps: :math:`\varepsilon \ge 0`, in units of the gradient, outside the root.
        weight_decay: :math:`\lambda \ge 0`, decoupled: each step takes :math:`\gamma\lambda\theta` off the
            parameter.
        amsgrad: divide by the largest :math:`v` so far, as ``torch.optim`` does.
        convention: ``"torch"``, or ``"paper"``, where :math:`\lambda` is multiplied by the schedule alone, not by
            the learning rate: a step takes :math:`\eta_t\lambda\theta`, with :math:`\eta_t` the ratio of ``lr`` to the
            ``initial_lr`` that torch's schedulers keep in the group, 1 without one.
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
        >>> AdamW([w], lr=0.1, weight_decay=0.5).step()
        >>> w
        tensor([ 0.8500, -1.8000], requires_grad=True)
    """

    rules = (adamw, adamw_amsgrad)
    state_keys = {"m": "exp_avg", "v": "exp_avg_sq", "v_max": "max_exp_avg_sq"}
    quantized = {"m": "signed", "v": "unsigned"}
    scalars = staticmethod(bias_correction)
    decoupled = True

    def __init__(
        self, params: Any, lr: Any = 1e-3, betas: tuple[Any, Any] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: Any = 1e-2, amsgrad: bool = False, *, convention: str = "torch", **engine: Unpack[EngineOptions],
    ) -> None:  # fmt: skip
        hyper = dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad)
        super().__init__(params, {**hyper, "convention": convention}, **engine)

    def check(self, group: dict[str, Any]) -> None:
        check_adam(group)
        choice("convention", group["convention"], CONVENTIONS)

    def hyper(self, group: dict[str, Any]) -> dict[str, Any]:
        hyper = with_betas(group)
        if group["convention"] == "paper":  # lr * decay is to be eta * decay, with eta = lr / initial lr
            first = plain_value("lr", group.get("initial_lr", group["lr"]))
            hyper["weight_decay"] = group["weight_decay"] / first if first else 0.0
        return hyper

    def rule(self, group: dict[str, Any], t: float) -> Any:
        return self.rules[bool(group["amsgrad"])]
