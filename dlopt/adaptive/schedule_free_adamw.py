"""Schedule-Free AdamW (Defazio et al. 2024, algorithm 1). See :mod:`dlopt.adaptive.schedule_free_sgd` for x, y, z."""

from typing import Any, Unpack

from torch import Tensor

from dlopt.adaptive.hyperparameters import check_adam, with_betas
from dlopt.adaptive.schedule_free_sgd import averaging, check_averaging, from_average, to_average
from dlopt.engine.device import stays
from dlopt.engine.modes import ModeOptimizer
from dlopt.engine.optimizer import EngineOptions
from dlopt.engine.rule import xp


def schedule_free_adamw(g, p, z, v, *, lr, beta, beta2, eps, weight_decay, bias2, c):
    v = beta2 * v + (1 - beta2) * g * g
    v_hat = v / bias2
    u = g / (xp.sqrt(v_hat) + eps) + weight_decay * p
    d = c * (z - p) - lr * (1 - beta * (1 - c)) * u
    z = z - lr * u
    return d, z, v


def averaged_rmsprop(g, p, x, v, *, lr, beta2, eps, weight_decay, bias2, c):
    v = beta2 * v + (1 - beta2) * g * g
    v_hat = v / bias2
    u = g / (xp.sqrt(v_hat) + eps) + weight_decay * p
    z = p - lr * u
    x = (1 - c) * x + c * z
    return -lr * u, x, v


def to_average_of_two(g, p, z, v, *, beta):
    d, z = to_average(g, p, z, beta=beta)
    return d, z, v


def from_average_of_two(g, p, z, v, *, beta):
    d, z = from_average(g, p, z, beta=beta)
    return d, z, v


def swap_of_two(g, p, x, v):
    return x - g, g, v


def averaging_adamw(t, lr_max, weight_sum, *, lr, warmup_steps, r, weight_lr_power, beta2):
    lr, lr_max, weight_sum, c = averaging(
        t, lr_max, weight_sum, lr=lr, warmup_steps=warmup_steps, r=r, weight_lr_power=weight_lr_power
    )
    bias2 = 1 - beta2**t
    return lr, lr_max, weight_sum, c, bias2


class ScheduleFreeAdamW(ModeOptimizer):
    r"""AdamW that needs no schedule and no last step: at any time the average is ready for use.

    While training, the parameters are at :math:`y`. Call ``eval()`` before the model is evaluated or saved for use,
    and they are at the average :math:`x`; call ``train()`` before training goes on. The mode is saved.
    Batch normalization has its statistics from :math:`y`: run :func:`dlopt.sgd.update_bn` after ``eval()``.
    Change :math:`\beta_1` in eval mode only: in training mode :math:`x` is known from :math:`y` and :math:`z` by it.

    Args:
        params: tensors of any shape, named tensors, or dicts of parameter groups. float16, bfloat16, float32,
            float64 and complex.
        lr: :math:`\gamma \ge 0`, in units of the parameter; best constant after the warm-up, and larger than AdamW's.
        betas: :math:`(\beta_1, \beta_2)` in [0, 1): where between :math:`z` and :math:`x` the gradient is taken, and
            the factor by which the mean of squares shrinks. There is no mean of gradients. As a tensor on a GPU,
            which a step does not look at, :math:`\beta_1` is not 0.
        eps: :math:`\varepsilon \ge 0`, in units of the gradient, added to the root of the corrected mean, as in the
            authors' code since its version 1.3; earlier the correction was part of the rate.
        weight_decay: :math:`\lambda \ge 0`, decoupled and at :math:`y`.
        warmup_steps: the rate rises linearly over as many steps.
        r: a step's weight in the average grows as its number to this power.
        weight_lr_power: and as the largest rate so far to this one.
        maximize, foreach, capturable, differentiable, fused, writing, seed, optim_bits: see
            :class:`dlopt.engine.EngineOptions`.

    State: ``z``, or with :math:`\beta_1 = 0` ``x``, and ``exp_avg_sq``, of the parameter's shape, float32 or wider;
    ``step``, ``lr_max`` and ``weight_sum``. As much as AdamW's.

    Raises:
        ValueError: for a hyperparameter out of its range, NaN or infinite.
        RuntimeError: at ``step`` in eval mode, or for a sparse gradient.

    Example:
        >>> import torch
        >>> w = torch.tensor([1.0, -2.0], requires_grad=True)
        >>> opt = ScheduleFreeAdamW([w], lr=0.1)
        >>> w.grad = torch.tensor([100.0, -0.01])
        >>> opt.step(); opt.eval()
        >>> w
        tensor([ 0.9000, -1.9000], requires_grad=True)
    """

    rules = (schedule_free_adamw, averaged_rmsprop)
    moves = {
        schedule_free_adamw: (to_average_of_two, from_average_of_two),
        averaged_rmsprop: (swap_of_two, swap_of_two),
    }
    state_keys = {"z": "z", "x": "x", "v": "exp_avg_sq"}
    quantized = {"v": "unsigned"}  # z and x are parameters, and move by less than a code
    scalars = staticmethod(averaging_adamw)
    scalar_state = {"lr_max": ("lr_max", 0.0), "weight_sum": ("weight_sum", 0.0)}
    decoupled = True

    def __init__(
        self, params: Any, lr: Any = 0.0025, betas: tuple[Any, Any] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: Any = 0, warmup_steps: int = 0, r: float = 0.0, weight_lr_power: float = 2.0,
        **engine: Unpack[EngineOptions],
    ) -> None:  # fmt: skip
        hyper = dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, warmup_steps=warmup_steps)
        super().__init__(params, {**hyper, "r": r, "weight_lr_power": weight_lr_power}, **engine)

    def check(self, group: dict[str, Any]) -> None:
        check_averaging(group)
        check_adam(group)
        if stays(group["betas"][0]) and float(group["betas"][0]) == 0:
            raise ValueError("Invalid beta parameter at index 0: 0 chooses another rule, give it as a number")

    def hyper(self, group: dict[str, Any]) -> dict[str, Any]:
        hyper = with_betas(group)
        return {**hyper, "beta": hyper["beta1"]}

    def rule(self, group: dict[str, Any], t: float) -> Any:
        return self.rules[not stays(group["betas"][0]) and float(group["betas"][0]) == 0]

    def initial(self, group: dict[str, Any], symbol: str, p: Tensor) -> Any:
        start = super().initial(group, symbol, p)
        return 0.0 if symbol == "v" else start
