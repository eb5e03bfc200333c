"""Schedule-Free SGD (Defazio et al. 2024, eq. 2 to 4): averaging in the place of a schedule.

Three points: z takes the steps, x averages them, and the gradient is taken at y, between the two:

    y = (1 - beta) z + beta x,    z' = z - lr g,    x' = (1 - c) x + c z'

The parameter holds y while training. From y and z, x can be had; written for y, the method is the rule below.
"""

from typing import Any, Unpack

from dlopt.engine.checks import learning_rate, number
from dlopt.engine.modes import ModeOptimizer
from dlopt.engine.optimizer import EngineOptions
from dlopt.engine.rule import xp


def schedule_free(g, p, z, *, lr, beta, c):
    d = c * (z - p) - lr * (1 - beta * (1 - c)) * g
    z = z - lr * g
    return d, z


def polyak_ruppert(g, p, x, *, lr, c):
    z = p - lr * g
    x = (1 - c) * x + c * z
    return -lr * g, x


def to_average(g, p, z, *, beta):
    x = (g - (1 - beta) * z) / beta
    return x - g, z


def from_average(g, p, z, *, beta):
    y = (1 - beta) * z + beta * g
    return y - g, z


def swap(g, p, x):
    return x - g, g


def averaging(t, lr_max, weight_sum, *, lr, warmup_steps, r, weight_lr_power):
    lr = lr * xp.minimum(1, t / xp.maximum(warmup_steps, 1))
    lr_max = xp.maximum(lr_max, lr)
    weight = t**r * lr_max**weight_lr_power
    weight_sum = weight_sum + weight
    c = xp.where(weight_sum > 0, weight / weight_sum, 0)
    return lr, lr_max, weight_sum, c


def check_averaging(group: dict[str, Any]) -> None:
    """Refuse a learning rate, warm-up or weighting of the average that is wrong."""
    learning_rate(group["lr"])
    for name in ("weight_decay", "warmup_steps", "r", "weight_lr_power"):
        number(f"{name} value", group[name], low=0)


class ScheduleFreeSGD(ModeOptimizer):
    r"""SGD that needs no schedule and no last step: at any time the average is ready for use.

    While training, the parameters are at :math:`y`. Call ``eval()`` before the model is evaluated or saved for use,
    and they are at the average :math:`x`; call ``train()`` before training goes on. The mode is saved.
    Batch normalization has its statistics from :math:`y`: run :func:`dlopt.sgd.update_bn` after ``eval()``.
    Change ``momentum`` in eval mode only: in training mode :math:`x` is known from :math:`y` and :math:`z` by it.

    Args:
        params: tensors of any shape, named tensors, or dicts of parameter groups. float16, bfloat16, float32,
            float64 and complex.
        lr: :math:`\gamma \ge 0`, in units of parameter per gradient; best constant after the warm-up, and larger than
            SGD's.
        momentum: :math:`\beta` in [0, 1): where between :math:`z` and :math:`x` the gradient is taken. 0 is
            Polyak–Ruppert averaging of plain SGD.
        weight_decay: :math:`\lambda \ge 0`, coupled: :math:`\lambda y` is added to the gradient.
        warmup_steps: the rate rises linearly over as many steps.
        r: a step's weight in the average grows as its number to this power.
        weight_lr_power: and as the largest rate so far to this one.
        maximize, foreach, capturable, differentiable, fused, writing, seed, optim_bits: see
            :class:`dlopt.engine.EngineOptions`.

    State: ``z``, or with ``momentum=0`` ``x``, of the parameter's shape, float32 or wider; ``step``, ``lr_max`` and
    ``weight_sum``.

    Raises:
        ValueError: for a hyperparameter out of its range, NaN or infinite.
        RuntimeError: at ``step`` in eval mode, or for a sparse gradient.

    Example:
        >>> import torch
        >>> w = torch.tensor([1.0], requires_grad=True)
        >>> opt = ScheduleFreeSGD([w], lr=0.5)
        >>> for _ in range(3):
        ...     opt.zero_grad()
        ...     (w * w / 2).sum().backward()
        ...     opt.step()
        >>> w
        tensor([0.2525], requires_grad=True)
        >>> opt.eval()
        >>> w
        tensor([0.2729], requires_grad=True)
    """

    rules = (schedule_free, polyak_ruppert)
    moves = {schedule_free: (to_average, from_average), polyak_ruppert: (swap, swap)}
    state_keys = {"z": "z", "x": "x"}
    scalars = staticmethod(averaging)
    scalar_state = {"lr_max": ("lr_max", 0.0), "weight_sum": ("weight_sum", 0.0)}

    def __init__(
        self, params: Any, lr: Any = 1.0, momentum: float = 0.9, weight_decay: Any = 0, warmup_steps: int = 0,
        r: float = 0.0, weight_lr_power: float = 2.0, **engine: Unpack[EngineOptions],
    ) -> None:  # fmt: skip
        hyper = dict(lr=lr, momentum=momentum, weight_decay=weight_decay, warmup_steps=warmup_steps)
        super().__init__(params, {**hyper, "r": r, "weight_lr_power": weight_lr_power}, **engine)

    def check(self, group: dict[str, Any]) -> None:
        check_averaging(group)
        number("momentum value", group["momentum"], low=0, below=1)

    def hyper(self, group: dict[str, Any]) -> dict[str, Any]:
        return {**group, "beta": group["momentum"]}

    def rule(self, group: dict[str, Any], t: float) -> Any:
        return self.rules[bool(group["momentum"] == 0)]
