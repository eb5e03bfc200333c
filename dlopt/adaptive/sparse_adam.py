"""SparseAdam: Adam (Kingma & Ba 2015) on the rows that a sparse gradient touches, as torch has it."""

from typing import Any, Unpack

from torch import Tensor

from dlopt.adaptive.hyperparameters import bias_correction, check_adam, with_betas
from dlopt.engine.checks import number
from dlopt.engine.optimizer import EngineOptions, RuleOptimizer
from dlopt.engine.rule import xp


def sparse_adam(g, p, m, v, *, lr, beta1, beta2, eps, bias1, bias2):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    return -(lr * xp.sqrt(bias2) / bias1) * m / (xp.sqrt(v) + eps), m, v


class SparseAdam(RuleOptimizer):
    r"""Adam for sparse gradients, as ``torch.optim.SparseAdam``: the same keywords, defaults, numbers, checkpoints.

    Only rows with a gradient are looked at: a step costs what they cost, and the moments of all others stand still,
    where Adam's would shrink. The step count is the parameter's, so a row that is seen for the first time at step
    1000 is corrected as if it had been there from the start: with the default betas its first step is 2.5 lr long.
    Adam's is as long, but Adam goes on moving the row, about ten times as far, by the momentum that is left.

    Args:
        params: dense tensors, named tensors, or dicts of parameter groups; their gradients are sparse, as those of
            ``torch.nn.Embedding(sparse=True)``. float16, bfloat16, float32, float64.
        lr: :math:`\gamma > 0`, in units of the parameter: about how far an element moves in one step.
        betas: :math:`(\beta_1, \beta_2)` in [0, 1), the factors by which the running means of the gradient and of
            its square shrink at each step that touches them.
        eps: :math:`\hat\varepsilon > 0`, in units of the gradient, added to the root of the uncorrected :math:`v`
            (the form of the paper's section 2), where :class:`Adam` adds it to the corrected one.
        maximize, foreach, capturable, differentiable, fused, writing, seed, optim_bits: see
            :class:`dlopt.engine.EngineOptions`.

    State, float32 or wider, of the parameter's full shape: ``exp_avg``, ``exp_avg_sq``; and ``step``.

    Raises:
        ValueError: for a hyperparameter out of its range, NaN or infinite; a sparse or complex parameter.
        RuntimeError: at ``step`` for a dense gradient (:class:`Adam` takes it).

    Example:
        >>> import torch
        >>> words = torch.nn.Embedding(4, 1, sparse=True)
        >>> torch.nn.init.zeros_(words.weight).shape
        torch.Size([4, 1])
        >>> opt = SparseAdam(words.parameters(), lr=0.1)
        >>> words(torch.tensor([2, 2])).sum().backward()
        >>> opt.step()
        >>> words.weight.detach().flatten()
        tensor([ 0.0000,  0.0000, -0.1000,  0.0000])
    """

    rules = (sparse_adam,)
    state_keys = {"m": "exp_avg", "v": "exp_avg_sq"}
    scalars = staticmethod(bias_correction)
    sparse_only = True

    def __init__(
        self, params: Any, lr: Any = 1e-3, betas: tuple[Any, Any] = (0.9, 0.999), eps: float = 1e-8,
        **engine: Unpack[EngineOptions],
    ) -> None:  # fmt: skip
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps), **engine)

    def check(self, group: dict[str, Any]) -> None:
        check_adam({**group, "weight_decay": 0})
        number("learning rate", group["lr"], above=0)
        number("epsilon value", group["eps"], above=0)

    def check_parameter(self, p: Tensor) -> None:
        if p.is_sparse:
            raise ValueError("SparseAdam requires dense parameter tensors")
        if p.is_complex():
            raise ValueError("SparseAdam does not support complex parameters")

    def hyper(self, group: dict[str, Any]) -> dict[str, Any]:
        return with_betas(group)

    def sparse(self, group: dict[str, Any]) -> str:
        return "rows"
