"""A network's loss as a function of one vector, which is what the methods of this chapter ask for."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call


class _Loss(nn.Module):
    def __init__(self, model: nn.Module, loss: Callable[[nn.Module], Tensor]) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self) -> Tensor:
        return self.loss(self.model)


def flat_loss(model: nn.Module, loss: Callable[[nn.Module], Tensor]) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """The loss as a function of all parameters in one vector, and the vector where the model stands.

    Args:
        model: its d parameters, of one dtype and device, in the order of ``model.parameters()``; a shared one
            counts once. Frozen ones are among them. The model is left as it is: what it would write into its buffers,
            as batch normalization in training mode does, goes into copies, made anew in each call.
        loss: model -> scalar tensor.

    Returns:
        f, from a tensor of shape ``(d,)`` to a scalar, which ``torch.func`` can differentiate; and a copy of the
        parameters, of shape ``(d,)``.

    Raises:
        ValueError: the model has no parameters, or several dtypes; or f is given a vector of another shape.

    Example:
        >>> line = nn.Linear(1, 1)
        >>> f, theta = flat_loss(line, lambda m: m(torch.tensor([[2.0]])).square().sum())
        >>> f(torch.tensor([3.0, 1.0])), theta.shape  # (2 * 3 + 1)^2
        (tensor(49.), torch.Size([2]))
    """
    wrapped = _Loss(model, loss)
    named = dict(wrapped.named_parameters())
    if len({p.dtype for p in named.values()}) != 1:
        raise ValueError("the model must have parameters, and all of one dtype")
    shapes, sizes = [p.shape for p in named.values()], [p.numel() for p in named.values()]

    def f(theta: Tensor) -> Tensor:
        if theta.shape != (sum(sizes),):
            raise ValueError(f"the vector must have shape ({sum(sizes)},), got {tuple(theta.shape)}")
        parts = [part.view(shape) for part, shape in zip(theta.split(sizes), shapes, strict=True)]
        buffers = {name: buffer.clone() for name, buffer in wrapped.named_buffers()}
        return functional_call(wrapped, buffers | dict(zip(named, parts, strict=True)), ())

    return f, torch.cat([p.detach().flatten() for p in named.values()])
