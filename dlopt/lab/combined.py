"""Several optimizers as one, because a method may be made of two: Muon for the matrices, AdamW for all else."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dlopt.adaptive import AdamW, Muon, split_for_muon

__all__ = ["Combined", "muon_with_adamw"]


class Combined(torch.optim.Optimizer):
    """Optimizers that step together, each on parameters of its own.

    Its groups are theirs, so that one learning-rate scheduler moves all of them.

    Args:
        optimizers: at least one; no parameter is in two.

    Raises:
        ValueError: no optimizers, or a parameter that is in two.

    Example:
        >>> a, b = torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)
        >>> both = Combined([torch.optim.SGD([a], lr=0.1), torch.optim.SGD([b], lr=0.2)])
        >>> (a + b).sum().backward()
        >>> both.step()
        >>> round(a.item(), 4), round(b.item(), 4)
        (0.9, 0.8)
    """

    def __init__(self, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        self.optimizers = list(optimizers)
        groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
        super().__init__(groups, {})
        self.param_groups = groups

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of each, on the gradients of one call of `closure`."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for optimizer in self.optimizers:
            optimizer.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The states of all, in order."""
        return {"optimizers": [optimizer.state_dict() for optimizer in self.optimizers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Bring all back to where :meth:`state_dict` found them."""
        for optimizer, state in zip(self.optimizers, state_dict["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.param_groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]


def muon_with_adamw(parameters: Iterable[Tensor], lr: Any, embeddings: int = 0, weight_decay: float = 0.0) -> Combined:
    """Muon for the hidden matrices and filters, AdamW for everything else, one learning rate for both.

    Muon's step is scaled to the root mean square of AdamW's (Liu et al. 2025), so that one rate suits both. Which
    parameter goes where is decided by :func:`dlopt.split_for_muon`. It would ask the model which ones are embeddings;
    here they are the first few.

    Args:
        parameters: all of a model's, in the model's order.
        lr: for both, in units of AdamW.
        embeddings: how many of the first parameters are embeddings, which AdamW gets.
        weight_decay: for both, decoupled.

    Returns:
        A :class:`Combined`; without a hidden matrix it is AdamW alone.

    Raises:
        ValueError: a bad learning rate or weight decay, no parameters, more embeddings than parameters.

    Example:
        >>> net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        >>> both = muon_with_adamw(net.parameters(), lr=0.01)
        >>> [[tuple(p.shape) for p in group["params"]] for group in both.param_groups]
        [[(16, 8)], [(16,), (2, 16), (2,)]]
    """
    model = nn.ParameterList(parameters)
    matrices, rest = split_for_muon(model, also=[str(i) for i in range(embeddings)])
    parts: list[torch.optim.Optimizer] = []
    if matrices:
        parts.append(Muon(matrices, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"))
    if rest or not parts:
        parts.append(AdamW(rest, lr=lr, weight_decay=weight_decay))
    return Combined(parts)
