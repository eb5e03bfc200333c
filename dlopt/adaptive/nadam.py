"""NAdam: Adam with Nesterov's momentum (Dozat 2016, algorithm 2)."""

from typing import Any, Unpack

from dlopt.adaptive.hyperparameters import check_adam, with_betas
from dlopt.engine.checks import CONVENTIONS, choice, number
from dlopt.engine.optimizer import EngineOptions, RuleOptimizer
from dlopt.engine.rule import xp


def nadam(g, p, m, n, *, lr, decay, beta2, eps, of_m, of_g, bias2):
    m = decay * m + (1 - decay) * g
    n = beta2 * n + (1 - beta2) * g * g
    m_bar = of_m * m + of_g * g
    n_hat = n / bias2
    return -lr * m_bar / (xp.sqrt(n_hat) + eps), m, n


def nadam_decoupled(g, p, m, n, *, lr, decay, beta2, eps, of_m, of_g, bias2, weight_decay):
    d, m, n = nadam(g, p, m, n, lr=lr, decay=decay, beta2=beta2, eps=eps, of_m=of_m, of_g=of_g, bias2=bias2)
    return d - lr * weight_decay * p, m, n


def warming_momentum(t, product, *, beta1, beta2, momentum_decay, paper):
    mu = beta1 * (1 - 0.5 * 0.96 ** (t * momentum_decay))
    mu_next = beta1 * (1 - 0.5 * 0.96 ** ((t + 1) * momentum_decay))
    product = product * mu
    of_m = mu_next / (1 - product * mu_next)
    of_g = (1 - mu) / (1 - product)
    decay = xp.where(paper == 1, mu, beta1)
    bias2 = (1 - beta2**t) / xp.where(paper == 1, beta2, 1)
    return product, of_m, of_g, decay, bias2


class NAdam(RuleOptimizer):
    r"""NAdam, as ``torch.optim.NAdam``: the same keywords, defaults, numbers and checkpoints.

    Args:
        params: tensors of any shape, named tensors, or dicts of parameter groups. float16, bfloat16, float32,
            float64 and complex.
        lr: :math:`\gamma \ge 0`, in units of the parameter: about how far an element moves in one step.
        betas: :math:`(\beta_1, \beta_2)` in [0, 1).
        eps: :math:`\varepsilon \ge 0`, in units of the gradient, outside the root.
        weight_decay: :math:`\lambda \ge 0`; coupled unless the next but one says otherwise.
        momentum_decay: :math:`\psi \ge 0` in :math:`\mu_t = \beta_1(1 - \frac12 0.96^{t\psi})`, which rises from
            about :math:`\beta_1/2` to :math:`\beta_1`.
        decoupled_weight_decay: each step takes :math:`\gamma\lambda\theta` off the parameter instead.
        convention: ``"torch"``, or ``"paper"``: there the mean of gradients shrinks by :math:`\mu_t`, where torch takes
            :math:`\beta_1`, and :math:`\hat n = \beta_2 n / (1 - \beta_2^t)`, where torch leaves out the first factor.
        maximize, foreach, capturable, differentiable, fused, writing, seed, optim_bits: see
            :class:`dlopt.engine.EngineOptions`.

    State, float32 or wider: ``exp_avg``, ``exp_avg_sq``; ``step``, and ``mu_product``, which is kept in float64
    (torch: float32).

    Raises:
        ValueError: for a hyperparameter out of its range, NaN or infinite.
        RuntimeError: at ``step`` for a sparse gradient.

    Example:
        >>> import torch
        >>> w = torch.tensor([1.0, -2.0], requires_grad=True)
        >>> w.grad = torch.tensor([100.0, -0.01])
        >>> NAdam([w], lr=0.1).step()
        >>> w
        tensor([ 0.8944, -1.8944], requires_grad=True)
    """

    rules = (nadam, nadam_decoupled)
    state_keys = {"m": "exp_avg", "n": "exp_avg_sq"}
    quantized = {"m": "signed", "n": "unsigned"}
    scalars = staticmethod(warming_momentum)
    scalar_state = {"product": ("mu_product", 1.0)}

    def __init__(
        self, params: Any, lr: Any = 2e-3, betas: tuple[Any, Any] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: Any = 0, momentum_decay: float = 4e-3, decoupled_weight_decay: bool = False, *,
        convention: str = "torch", **engine: Unpack[EngineOptions],
    ) -> None:  # fmt: skip
        hyper = dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, momentum_decay=momentum_decay)
        decoupled = dict(decoupled_weight_decay=decoupled_weight_decay, convention=convention)
        super().__init__(params, {**hyper, **decoupled}, **engine)

    def check(self, group: dict[str, Any]) -> None:
        check_adam(group)
        number("momentum_decay value", group["momentum_decay"], low=0)
        choice("convention", group["convention"], CONVENTIONS)

    def hyper(self, group: dict[str, Any]) -> dict[str, Any]:
        return {**with_betas(group), "paper": float(group["convention"] == "paper")}

    def rule(self, group: dict[str, Any], t: float) -> Any:
        return self.rules[bool(group["decoupled_weight_decay"])]
