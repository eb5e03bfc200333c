"""Steps whose scalars stay on the device: hyperparameters that are tensors there, a scaler's findings, counts.

Nothing is read back, so the host does not wait, and a CUDA graph that holds the step computes on when it is replayed.
Counts become one tensor on the device for all parameters of a batch, and what depends on them a vector, a value a
parameter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from dlopt.engine.optimizer import RuleOptimizer

Group = dict[str, Any]
DEVICES = ["cuda"]
"""Types of device where scalars may stay."""


@dataclass(frozen=True)
class Scaling:
    """What a ``GradScaler`` has told the optimizer: the gradients' scale, and whether the step must change nothing.

    ``skip``, a boolean on the device, is None where that is known already; so is ``scale`` where there is none.
    """

    scale: float | Tensor | None = None
    skip: Tensor | None = None


UNSCALED = Scaling()
"""What it is without a scaler."""


def scaling(optimizer: RuleOptimizer) -> Scaling | None:
    """What is to be done about a scaler; None if the whole step is to be left out.

    GradScaler sets ``grad_scale`` and ``found_inf`` for the time of a step (see torch/amp/grad_scaler.py).
    """
    scale, found = getattr(optimizer, "grad_scale", None), getattr(optimizer, "found_inf", None)
    if scale is None and found is None:
        return UNSCALED
    if isinstance(found, Tensor) and found.device.type in DEVICES and _can_stay(optimizer):
        return Scaling(scale, found != 0)
    if found is not None and float(found) != 0:
        return None
    return Scaling(None if scale is None else float(scale))


def _can_stay(optimizer: RuleOptimizer) -> bool:
    """Whether every group's step can do without the host.

    A class that does not count knows a first step by its state's not being there: such a step must not be left out
    after the state was made.
    """
    for group in optimizer.param_groups:
        if not wanted(optimizer, group, True):
            return False
        keys = {optimizer.state_keys[s] for s in optimizer.as_rule(optimizer.rule(group, object())).elements[2:]}  # type: ignore[arg-type]
        if not (
            optimizer.counted
            or all(keys <= optimizer.state.get(p, {}).keys() for p in group["params"] if p.grad is not None)
        ):
            return False
    return True


def wanted(optimizer: RuleOptimizer, group: Group, skip: bool) -> bool:
    """Whether the next step of `group` keeps its scalars on the device.

    Raises:
        RuntimeError: it must, being capturable, and cannot.
    """
    if group["capturable"]:
        check(optimizer, group)
        return True
    if group["params"] and group["params"][0].device.type not in DEVICES:  # most often the answer, and quickly had
        return False
    if not (skip or _tensors(group)) or group["differentiable"] or optimizer.matrix or optimizer.sparse_only:
        return False
    return all(p.device.type in DEVICES for p in group["params"]) and _rule(optimizer, group) is not None


def _tensors(group: Group) -> bool:
    """Whether a hyperparameter is a tensor on a device."""
    values = [v for value in group.values() for v in (value if type(value) is tuple else (value,))]
    return any(map(stays, values))


def stays(value: Any) -> bool:
    """Whether a hyperparameter is a tensor on a device. A step does not look at it."""
    return isinstance(value, Tensor) and value.device.type in DEVICES


def _rule(optimizer: RuleOptimizer, group: Group) -> Callable[..., Any] | None:
    """The rule for every step; None if the count decides, which nobody may look at."""
    try:
        return optimizer.rule(group, object())  # type: ignore[arg-type]
    except TypeError:
        return None


def check(optimizer: RuleOptimizer, group: Group) -> None:
    """Refuse a capturable group whose step must ask the host.

    Raises:
        RuntimeError: in torch's words, where torch has them.
    """
    name = type(optimizer).__name__
    if any(p.device.type not in DEVICES for p in group["params"]):
        raise RuntimeError(
            f"If capturable=True, params and state_steps must be on supported devices: {DEVICES}. "
            "It is for CUDA graphs: outside of one leave it False, the numbers are the same"
        )
    if optimizer.matrix or optimizer.sparse_only:
        kind = "matrix rule" if optimizer.matrix else "sparse gradient"
        raise RuntimeError(f"{name} does not support `capturable`, for CUDA graphs: a {kind} asks the host")
    if group["differentiable"]:
        raise RuntimeError("`capturable`, for CUDA graphs, does not go with `differentiable`")
    if _rule(optimizer, group) is None:
        raise RuntimeError(
            f"{name} does not support `capturable`, for CUDA graphs: it chooses its rule by the step count, "
            "which stays on the device"
        )


def number(value: Tensor, device: torch.device) -> Tensor:
    """A hyperparameter that is a tensor, as float64 on `device`."""
    return value.detach().to(device, torch.float64, non_blocking=True).reshape(())


def health(optimizer: RuleOptimizer) -> None:
    """Refuse to be captured where not everything stays on the device.

    Raises:
        RuntimeError: as torch's optimizers do.
    """
    if torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing():
        if not all(group["capturable"] for group in optimizer.param_groups):
            raise RuntimeError(
                "Attempting CUDA graph capture of step() for an instance of "
                f"{type(optimizer).__name__} but param_groups' capturable is False."
            )
