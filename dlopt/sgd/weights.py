"""The tensors of a model by name: taken, compared, copied. What averaging and early stopping share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

Source = nn.Module | Iterable[Tensor]
Tensors = Mapping[str, Tensor]


def parameters_of(source: Source) -> dict[str, Tensor]:
    """Parameters by name, trainable or frozen, each once however often it is shared; a list's by number.

    Raises:
        TypeError: `source` is neither a module nor an iterable of tensors.
        ValueError: there are none.

    Example:
        >>> list(parameters_of(nn.Linear(3, 2)))
        ['weight', 'bias']
    """
    if isinstance(source, nn.Module):
        found: dict[str, Tensor] = dict(source.named_parameters())
    elif isinstance(source, Tensor):
        raise TypeError("expected a module or an iterable of tensors, not one tensor: give [tensor]")
    else:
        found = {str(i): p for i, p in enumerate(source)}
    if not found:
        raise ValueError("there are no parameters")
    for name, p in found.items():
        if not isinstance(p, Tensor):
            raise TypeError(f"expected tensors, but {name} is a {type(p).__name__}")
        if is_lazy(p):
            raise ValueError(f"{name} has no shape yet: call the lazy module once first")
    return found


def buffers_of(source: Source) -> dict[str, Tensor]:
    """Buffers by name, each once, those that are not saved included; none for a list of tensors.

    Example:
        >>> list(buffers_of(nn.BatchNorm1d(4)))
        ['running_mean', 'running_var', 'num_batches_tracked']
    """
    return dict(source.named_buffers()) if isinstance(source, nn.Module) else {}


def check_alike(what: str, kept: Tensors, given: Tensors) -> None:
    """Refuse unless both have the same names and shapes.

    Raises:
        ValueError: naming the first difference.

    Example:
        >>> check_alike("the average", {"w": torch.ones(2)}, {"w": torch.ones(3)})
        Traceback (most recent call last):
        ValueError: w has shape (3,), but (2,) in the average
    """
    surplus, missing = sorted(set(given) - set(kept)), sorted(set(kept) - set(given))
    if surplus or missing:
        raise ValueError(f"names differ from {what}: {surplus} are new, {missing} are gone")
    for name, tensor in given.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{name} is a {type(tensor).__name__}, but a tensor in {what}")
        if tensor.shape != kept[name].shape:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}, but {tuple(kept[name].shape)} in {what}")


@torch.no_grad()
def copies(tensors: Tensors) -> dict[str, Tensor]:
    """A copy of each, cut off from autograd.

    Example:
        >>> copies({"w": torch.ones(2, requires_grad=True)})
        {'w': tensor([1., 1.])}
    """
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


@torch.no_grad()
def write(values: Tensors, into: Tensors) -> None:
    """Copy `values` into tensors of the same names, in place, rounding to their dtypes.

    Raises:
        ValueError: an expanded tensor, whose entries share memory, was to hold different values there. Nothing has
            been written then.

    Example:
        >>> w = torch.zeros(2, dtype=torch.bfloat16)
        >>> write({"w": torch.tensor([1.0, 2.0])}, {"w": w})
        >>> w
        tensor([1., 2.], dtype=torch.bfloat16)
    """
    pairs = []
    for name, tensor in into.items():
        once, value = tensor, values[name]
        for dim in _repeated(tensor):  # torch writes into no expanded tensor: write its memory once
            once, value = once.narrow(dim, 0, 1), value.narrow(dim, 0, 1)
        if once is not tensor and not value.expand(tensor.shape).equal(values[name]):
            raise ValueError(f"{name} is an expanded tensor and cannot hold different values in the same memory")
        pairs.append((once, value))
    for once, value in pairs:
        once.copy_(value)


def _repeated(tensor: Tensor) -> list[int]:
    """The dimensions along which all entries are the same piece of memory."""
    if tensor.layout is not torch.strided:
        return []
    return [dim for dim, step in enumerate(tensor.stride()) if step == 0 and tensor.shape[dim] > 1]
