"""Muon: momentum whose matrix is made orthogonal (Jordan et al. 2024; Liu et al. 2025, section 2)."""

from typing import Any, Unpack

import torch
from torch import Tensor

from dlopt.adaptive.orthogonal import COEFFICIENTS, orthogonalize
from dlopt.engine.checks import integer, learning_rate, number
from dlopt.engine.optimizer import EngineOptions, RuleOptimizer


def muon(g, p, B, *, lr, momentum, nesterov, scale, ns_coefficients, ns_steps, eps, weight_decay):
    B = torch.lerp(B, g, 1 - momentum)
    M = torch.lerp(g, B, momentum) if nesterov else B
    O = orthogonalize(M.flatten(2), ns_coefficients, ns_steps, eps).view_as(p)  # noqa: E741
    rows, columns = p.flatten(2).shape[1:]
    return -lr * (SCALES[scale](rows, columns) * O.to(p.dtype) + weight_decay * p), B


SCALES = {
    "original": lambda rows, columns: max(1, rows / columns) ** 0.5,
    "match_rms_adamw": lambda rows, columns: 0.2 * max(rows, columns) ** 0.5,
}


class Muon(RuleOptimizer):
    r"""Muon, as ``torch.optim.Muon``: the same keywords, defaults, numbers and checkpoints; filters too.

    For the hidden matrices of a network. Everything else (biases, norms, embeddings, the last layer) belongs to AdamW:
    ``matrices, rest = dlopt.split_for_muon(model)`` sorts them, for two optimizers that step one after the other. A
    matrix that stacks several, as the queries, keys and values of attention in one weight, is taken as one.

    Args:
        params: matrices, or filters of convolutions in two or three dimensions, which are flattened to (out, in ×
            window); named, or dicts of parameter groups. float16, bfloat16, float32, float64.
        lr: :math:`\gamma \ge 0`, in units of the parameter: about the change of each singular value.
        weight_decay: :math:`\lambda \ge 0`, decoupled: each step takes :math:`\gamma\lambda\theta` off the parameter.
        momentum: :math:`\mu` in [0, 1), the factor by which the running mean of gradients shrinks each step.
        nesterov: mix the gradient in once more.
        ns_coefficients: of the polynomial in :func:`orthogonalize`.
        eps: the smallest norm to divide by.
        ns_steps: how many times the polynomial is applied, below 100.
        adjust_lr_fn: multiplies the step by :math:`\sqrt{\max(1, n/m)}` for a matrix of n rows and m columns
            (``"original"``, which None means), or by :math:`0.2\sqrt{\max(n, m)}` (``"match_rms_adamw"``): then lr and
            weight decay that suit AdamW suit this.
        maximize, foreach, capturable, differentiable, fused, writing, seed, optim_bits: see
            :class:`dlopt.engine.EngineOptions`.

    State, float32 or wider: ``momentum_buffer``. Half of AdamW's.

    Raises:
        ValueError: for a hyperparameter out of its range, NaN or infinite; a parameter that is no matrix or filter.
        RuntimeError: at ``step`` for a sparse gradient or a complex parameter.

    Example:
        >>> w = torch.zeros(2, 2, requires_grad=True)
        >>> w.grad = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
        >>> Muon([w], lr=0.1).step()
        >>> w.diagonal().detach().round(decimals=2)
        tensor([-0.0700, -0.1100])
    """

    matrix = True
    rules = (muon,)
    state_keys = {"B": "momentum_buffer"}
    counted = False
    decoupled = True
    least_dim = 2

    def __init__(
        self, params: Any, lr: Any = 1e-3, weight_decay: Any = 0.1, momentum: float = 0.95, nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = COEFFICIENTS, eps: float = 1e-7, ns_steps: int = 5,
        adjust_lr_fn: str | None = None, **engine: Unpack[EngineOptions],
    ) -> None:  # fmt: skip
        hyper = dict(lr=lr, weight_decay=weight_decay, momentum=momentum, nesterov=nesterov, eps=eps)
        newton = dict(ns_coefficients=ns_coefficients, ns_steps=ns_steps, adjust_lr_fn=adjust_lr_fn)
        super().__init__(params, {**hyper, **newton}, **engine)

    def check(self, group: dict[str, Any]) -> None:
        learning_rate(group["lr"])
        number("momentum value", group["momentum"], low=0, below=1)
        number("weight_decay value", group["weight_decay"], low=0)
        number("epsilon value", group["eps"], above=0)
        integer("ns_steps", group["ns_steps"], low=1)
        if group["ns_steps"] >= 100:
            raise ValueError("Number of steps must be less than 100 for computational efficiency")
        if not isinstance(group["ns_coefficients"], (tuple, list)) or len(group["ns_coefficients"]) != 3:
            raise ValueError("Coefficients must be a tuple of exactly 3 values")
        for value in group["ns_coefficients"]:
            number("ns_coefficients value", value)
        if group["adjust_lr_fn"] not in (None, *SCALES):
            raise ValueError(f"Adjust learning rate function {group['adjust_lr_fn']} is not supported")

    def check_parameter(self, p: Tensor) -> None:
        if p.dim() not in (2, 4, 5):
            raise ValueError(
                f"Muon only supports 2D parameters, and filters of 4 or 5 dimensions, not one of size {p.size()}: "
                "dlopt.split_for_muon sorts a model's parameters"
            )

    def hyper(self, group: dict[str, Any]) -> dict[str, Any]:
        self.check(group)  # what has turned bad since is refused before anything is written
        return {**group, "scale": group["adjust_lr_fn"] or "original"}
