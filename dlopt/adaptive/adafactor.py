"""Adafactor (Shazeer & Stern 2018, algorithms 4 and 5): the second moment from its row and column means."""

from typing import Any, Unpack

import torch
from torch import Tensor

from dlopt.engine.checks import CONVENTIONS, choice, learning_rate, number
from dlopt.engine.optimizer import EngineOptions, RuleOptimizer
from dlopt.engine.rule import xp


def factored(g, p, R, C, *, lr, rho, beta2, eps_square, eps_mean, eps_root, eps2, d, weight_decay):
    S = g * g
    R = beta2 * R + (1 - beta2) * (S.mean(-1, keepdim=True) + eps_square)
    C = beta2 * C + (1 - beta2) * (S.mean(-2, keepdim=True) + eps_square)
    ratio = R / R.mean(-2, keepdim=True).clamp(min=eps_mean)  # first: R C by itself may underflow, or overflow
    V = torch.mul(ratio, C, out=S)  # in the memory of the squares, as all that follows
    return clipped(g, V, p, lr, rho, eps_root, eps2, d, weight_decay), R, C


def unfactored(g, p, V, *, lr, rho, beta2, eps_square, eps_root, eps2, d, weight_decay):
    V = beta2 * V + (1 - beta2) * (g * g + eps_square)
    return clipped(g, V.clone(), p, lr, rho, eps_root, eps2, d, weight_decay), V


def clipped(g, V, p, lr, rho, eps_root, eps2, d, weight_decay):
    """The change: U = g/√V with its root mean square clipped at d, times the parameter's own; and decay. Uses V up."""
    U = V.clamp_(min=eps_root**2).rsqrt_().mul_(g)
    alpha = rho * rms(p).clamp(min=eps2)
    U.mul_(-alpha / (rms(U) / d).clamp(min=1))
    decay = lr * weight_decay
    if isinstance(decay, Tensor):
        return U.sub_(decay * p)
    return U.add_(p, alpha=-decay) if decay else U


def rms(X: Tensor) -> Tensor:
    """The root mean square of each tensor of a stack."""
    norm = torch.linalg.vector_norm(X.reshape(len(X), -1), dim=1) / X[0].numel() ** 0.5
    return norm.view(-1, *[1] * (X.dim() - 1))


def relative_step(t, *, lr, beta2_decay):
    beta2 = 1 - t**beta2_decay
    rho = xp.minimum(lr, 1 / xp.sqrt(t))
    return beta2, rho


class Adafactor(RuleOptimizer):
    r"""Adafactor, as ``torch.optim.Adafactor``: the same keywords, defaults, numbers and checkpoints.

    The last two dimensions are factored: n × m second moments become n + m. Tensors of one dimension keep them all.

    Args:
        params: tensors of any shape, named tensors, or dicts of parameter groups. float16, bfloat16, float32,
            float64.
        lr: :math:`\ge 0`, a pure number: the step is a share of the parameter's root mean square,
            :math:`\rho_t = \min(\text{lr}, 1/\sqrt t)` of it.
        beta2_decay: :math:`\le 0`; the mean of squares shrinks by :math:`\hat\beta_{2t} = 1 - t^{\text{beta2\_decay}}`.
        eps: :math:`(\varepsilon_1, \varepsilon_2)`: the smallest second moment, and the smallest root mean square that
            a parameter is taken to have. None for the first is the machine epsilon of the group's first parameter that
            has a gradient, as in torch (so keep dtypes in groups of their own), or 1e-30 in the paper.
        d: :math:`\ge 1`, the largest root mean square of an update in units of the rate.
        weight_decay: :math:`\lambda \ge 0`, decoupled: each step takes :math:`\text{lr}\,\lambda\theta` off.
        convention: ``"torch"`` applies :math:`\varepsilon_1` to the finished second moment, ``"paper"`` adds it to
            every squared gradient.
        maximize, foreach, capturable, differentiable, fused, writing, seed, optim_bits: see
            :class:`dlopt.engine.EngineOptions`.

    State, float32 or wider: ``row_var`` and ``col_var``, or ``variance`` in one dimension; and ``step``.

    Raises:
        ValueError: for a hyperparameter out of its range, NaN or infinite.
        RuntimeError: at ``step`` for a sparse gradient or a complex parameter.

    Example:
        >>> w = torch.ones(2, 3, requires_grad=True)
        >>> w.grad = torch.tensor([[1.0, 10.0, 100.0], [-1.0, -10.0, -100.0]])
        >>> Adafactor([w], lr=0.1).step()
        >>> w
        tensor([[0.9000, 0.9000, 0.9000],
                [1.1000, 1.1000, 1.1000]], requires_grad=True)
    """

    matrix = True
    rules = (factored,)
    vector_rule = staticmethod(unfactored)
    state_keys = {"R": "row_var", "C": "col_var", "V": "variance"}
    scalars = staticmethod(relative_step)
    decoupled = True

    def __init__(
        self, params: Any, lr: Any = 1e-2, beta2_decay: float = -0.8, eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0, weight_decay: Any = 0.0, *, convention: str = "torch", **engine: Unpack[EngineOptions],
    ) -> None:  # fmt: skip
        hyper = dict(lr=lr, beta2_decay=beta2_decay, eps=eps, d=d, weight_decay=weight_decay)
        super().__init__(params, {**hyper, "convention": convention}, **engine)

    def check(self, group: dict[str, Any]) -> None:
        learning_rate(group["lr"])
        number("value: beta2_decay should be <= 0 but is", group["beta2_decay"], high=0)
        if not isinstance(group["eps"], (tuple, list)) or len(group["eps"]) != 2:
            raise ValueError(f"Invalid eps: {group['eps']!r} is not a pair")
        if group["eps"][0] is not None:
            number("value: epsilon1 should be >= 0 but is", group["eps"][0], low=0)
        number("value: epsilon2 should be >= 0 but is", group["eps"][1], low=0)
        number("value: Clipping threshold d should be >= 1 but is", group["d"], low=1)
        number("weight_decay value", group["weight_decay"], low=0)
        choice("convention", group["convention"], CONVENTIONS)

    def hyper(self, group: dict[str, Any]) -> dict[str, Any]:
        eps1, eps2 = group["eps"]
        paper = group["convention"] == "paper"
        if eps1 is None:
            params = group.get("params", [])
            first = next((p for p in params if p.grad is not None), params[0] if params else torch.empty(0))
            eps1 = 1e-30 if paper else torch.finfo(first.dtype).eps
        torchs = dict(eps_mean=0.0 if paper else eps1, eps_root=0.0 if paper else eps1)
        return {**group, **torchs, "eps_square": eps1 if paper else 0.0, "eps2": eps2}

    def state_shape(self, symbol: str, p: Tensor) -> torch.Size:
        if symbol == "V":
            return p.shape
        return torch.Size((*p.shape[:-1], 1) if symbol == "R" else (*p.shape[:-2], 1, p.shape[-1]))
