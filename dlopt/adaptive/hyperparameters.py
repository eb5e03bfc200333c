"""The hyperparameters that the methods around Adam share."""

from typing import Any

from torch import Tensor

from dlopt.engine import checks


def check_adam(group: dict[str, Any]) -> None:
    """Refuse a learning rate, betas, eps or weight decay that is wrong, in torch's words."""
    checks.learning_rate(group["lr"])
    checks.betas(group["betas"])
    checks.number("epsilon value", group["eps"], low=0)
    checks.number("weight_decay value", group["weight_decay"], low=0)
    if group["foreach"]:
        tensors = {"lr": group["lr"], "betas[0]": group["betas"][0], "betas[1]": group["betas"][1]}
        for name, value in tensors.items():
            if isinstance(value, Tensor):
                raise ValueError(f"{name} as a Tensor is not supported for capturable=False and foreach=True")


def with_betas(group: dict[str, Any]) -> dict[str, Any]:
    """The group with its pair of betas by the rules' names."""
    return {**group, "beta1": group["betas"][0], "beta2": group["betas"][1]}


def bias_correction(t, *, beta1, beta2):
    bias1 = 1 - beta1**t
    bias2 = 1 - beta2**t
    return bias1, bias2
