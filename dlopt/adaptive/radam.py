"""RAdam: Adam that waits until its second moment can be trusted (Liu et al. 2020, algorithm 2)."""

from typing import Any, Unpack

from dlopt.adaptive.hyperparameters import check_adam, with_betas
from dlopt.engine.checks import CONVENTIONS, choice
from dlopt.engine.optimizer import EngineOptions, RuleOptimizer
from dlopt.engine.rule import xp
from dlopt.engine.scalars import evaluate


def warming(g, p, m, v, *, lr, beta1, beta2, bias1):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    m_hat = m / bias1
    return -lr * m_hat, m, v


def rectified(g, p, m, v, *, lr, beta1, beta2, eps, bias1, root, r):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    m_hat = m / bias1
    return -(lr * r * root) * m_hat / (xp.sqrt(v) + eps), m, v


def warming_decoupled(g, p, m, v, *, lr, beta1, beta2, bias1, weight_decay):
    d, m, v = warming(g, p, m, v, lr=lr, beta1=beta1, beta2=beta2, bias1=bias1)
    return d - lr * weight_decay * p, m, v


def rectified_decoupled(g, p, m, v, *, lr, beta1, beta2, eps, bias1, root, r, weight_decay):
    d, m, v = rectified(g, p, m, v, lr=lr, beta1=beta1, beta2=beta2, eps=eps, bias1=bias1, root=root, r=r)
    return d - lr * weight_decay * p, m, v


def rectification(t, *, beta1, beta2):
    bias1 = 1 - beta1**t
    root = xp.sqrt(1 - beta2**t)
    last = 2 / (1 - beta2) - 1
    rho = last - 2 * t * beta2**t / (1 - beta2**t)
    r = xp.sqrt((rho - 4) * (rho - 2) * last / ((last - 4) * (last - 2) * rho))
    return bias1, root, r, rho


class RAdam(RuleOptimizer):
    r"""RAdam, as ``torch.optim.RAdam``: the same keywords, defaults, numbers and checkpoints.

    Args:
        params: tensors of any shape, named tensors, or dicts of parameter groups. float16, bfloat16, float32,
            float64 and complex.
        lr: :math:`\gamma \ge 0`, in units of the parameter once rectified; in the first steps, which are those of
            momentum, in units of parameter per gradient.
        betas: :math:`(\beta_1, \beta_2)` in [0, 1).
        eps: :math:`\varepsilon \ge 0`, in units of the gradient, added to the root of the uncorrected :math:`v`. The
            paper has none.
        weight_decay: :math:`\lambda \ge 0`; coupled unless the next says otherwise.
        decoupled_weight_decay: each step takes :math:`\gamma\lambda\theta` off the parameter instead.
        convention: ``"torch"`` rectifies once :math:`\rho_t > 5`, ``"paper"`` once :math:`\rho_t > 4`: from step 6
            or step 5 on with the default betas.
        maximize, foreach, capturable, differentiable, fused, writing, seed, optim_bits: see
            :class:`dlopt.engine.EngineOptions`.

    State, float32 or wider: ``exp_avg``, ``exp_avg_sq``; and ``step``.

    Raises:
        ValueError: for a hyperparameter out of its range, NaN or infinite.
        RuntimeError: at ``step`` for a sparse gradient.

    Example:
        >>> import torch
        >>> w = torch.tensor([1.0, -2.0], requires_grad=True)
        >>> w.grad = torch.tensor([100.0, -0.01])
        >>> RAdam([w], lr=0.001).step()
        >>> w
        tensor([ 0.9000, -2.0000], requires_grad=True)
    """

    rules = (warming, rectified, warming_decoupled, rectified_decoupled)
    state_keys = {"m": "exp_avg", "v": "exp_avg_sq"}
    quantized = {"m": "signed", "v": "unsigned"}
    scalars = staticmethod(rectification)

    def __init__(
        self, params: Any, lr: Any = 1e-3, betas: tuple[Any, Any] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: Any = 0, decoupled_weight_decay: bool = False, *, convention: str = "torch",
        **engine: Unpack[EngineOptions],
    ) -> None:  # fmt: skip
        hyper = dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
        decoupled = dict(decoupled_weight_decay=decoupled_weight_decay, convention=convention)
        super().__init__(params, {**hyper, **decoupled}, **engine)

    def check(self, group: dict[str, Any]) -> None:
        check_adam(group)
        choice("convention", group["convention"], CONVENTIONS)

    def hyper(self, group: dict[str, Any]) -> dict[str, Any]:
        return with_betas(group)

    def rule(self, group: dict[str, Any], t: float) -> Any:
        beta2 = float(group["betas"][1])
        rho = evaluate(rectification, t, beta1=0.0, beta2=beta2)["rho"]
        trusted = rho > (4 if group["convention"] == "paper" else 5)
        return self.rules[trusted + 2 * bool(group["decoupled_weight_decay"])]
