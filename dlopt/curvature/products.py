"""Products of a loss's Hessian with vectors, without the matrix (Pearlmutter 1994, Neural Computation 6(1)).

The directional derivative of the gradient is the product: ``H v = d/dr grad(theta + r v)`` at ``r = 0`` (his
equation 2.1). Here it is taken in reverse mode, as the gradient of ``<grad, v>``: about two more gradients' work.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

__all__ = ["Hessian", "hessian_operator", "hvp"]


class Hessian:
    """The Hessian of a loss at one point: call it with a vector to multiply. Made by :func:`hessian_operator`.

    Attributes:
        size: number n of trainable numbers, in the order of the parameters, each flattened.
        loss: the loss at this point, a float.
        gradient: the gradient there, of shape ``(n,)``.
    """

    def __init__(self, loss: Tensor, parameters: list[Tensor]) -> None:
        self._parameters = parameters
        self._gradients = torch.autograd.grad(
            loss, parameters, create_graph=True, allow_unused=True, materialize_grads=True
        )
        self.loss = loss.item()
        self.gradient = _flat(self._gradients).detach()
        self.size = self.gradient.numel()

    def __call__(self, vector: Tensor) -> Tensor:
        """H v for a `vector` of shape ``(n,)``, dtype and device of the parameters; detached.

        Raises:
            ValueError: the vector has another shape, dtype or device.
        """
        like = self.gradient
        if not isinstance(vector, Tensor) or vector.shape != like.shape:
            given = tuple(vector.shape) if isinstance(vector, Tensor) else type(vector).__name__
            raise ValueError(f"the vector must be a tensor of shape ({self.size},), got {given}")
        if vector.dtype != like.dtype or vector.device != like.device:
            raise ValueError(f"the vector must be {like.dtype} on {like.device}, got {vector.dtype} on {vector.device}")
        curved = [(g, v) for g, v in zip(self._gradients, self._split(vector), strict=True) if g.requires_grad]
        if not curved:
            return torch.zeros_like(like)  # a loss that is linear in its parameters
        gradients, pieces = zip(*curved, strict=True)
        products = torch.autograd.grad(
            gradients, self._parameters, pieces, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        return _flat(products).detach()

    def _split(self, vector: Tensor) -> list[Tensor]:
        pieces = vector.detach().split([p.numel() for p in self._parameters])
        return [piece.view(p.shape) for piece, p in zip(pieces, self._parameters, strict=True)]


def hessian_operator(loss: Callable[[], Tensor], parameters: Iterable[Tensor]) -> Hessian:
    """The Hessian of ``loss()`` at the present parameters, as something that multiplies vectors.

    The loss and its gradient are computed once; each product then costs about two gradients. The graph is kept, and
    with it the activations of one forward pass, until the operator is dropped. Do not change the parameters
    in place meanwhile: autograd refuses products after that.

    Args:
        loss: called once; returns a scalar that depends on the parameters and can be differentiated twice.
        parameters: real floating-point leaves of one dtype on one device, each once. Frozen ones are left out.

    Raises:
        ValueError: no trainable parameter, one that is given twice, is no leaf, is complex or of another dtype or
            device; a loss that is no scalar, has no graph, or is not finite.

    Example:
        >>> w = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> hessian = hessian_operator(lambda: w[0] ** 2 * w[1], [w])  # [[2 y, 2 x], [2 x, 0]] at (1, 2)
        >>> hessian.size, hessian(torch.tensor([1.0, 0.0])), hessian(torch.tensor([0.0, 1.0]))
        (2, tensor([4., 2.]), tensor([2., 0.]))
    """
    trainable = _trainable(parameters)
    with torch.enable_grad():
        value = loss()
    if not isinstance(value, Tensor) or value.numel() != 1:
        raise ValueError(f"the loss must be a scalar tensor, got {_kind(value)}")
    if not value.requires_grad:
        raise ValueError("the loss has no graph: it was detached, or does not depend on a trainable parameter")
    if not torch.isfinite(value):
        raise ValueError(f"the loss is {value.item()}: there is no Hessian to speak of")
    with torch.enable_grad():
        return Hessian(value.reshape(()), trainable)


def hvp(loss: Callable[[], Tensor], parameters: Iterable[Tensor], vector: Tensor) -> Tensor:
    """One product H v; for several at one point make a :func:`hessian_operator`, which keeps the graph.

    Args:
        loss, parameters: as for :func:`hessian_operator`.
        vector: of shape ``(n,)``.

    Raises:
        ValueError: as for :func:`hessian_operator`, or the vector does not fit.

    Example:
        >>> w = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> hvp(lambda: (w**3).sum(), [w], torch.tensor([1.0, 1.0]))  # diagonal, 6 w
        tensor([ 6., 12.])
    """
    return hessian_operator(loss, parameters)(vector)


def _trainable(parameters: Iterable[Tensor]) -> list[Tensor]:
    if isinstance(parameters, Tensor):
        raise ValueError("give a list of parameters, not one tensor")
    given = list(parameters)
    for p in given:
        if not isinstance(p, Tensor) or not p.is_leaf:
            raise ValueError(f"a parameter must be a leaf tensor, got {_kind(p)}")
    trainable = [p for p in given if p.requires_grad]
    if not trainable:
        raise ValueError("there is no parameter that requires a gradient")
    if len({id(p) for p in trainable}) < len(trainable):
        raise ValueError("a parameter is given twice")
    for p in trainable:
        if not p.is_floating_point() or p.dtype != trainable[0].dtype or p.device != trainable[0].device:
            raise ValueError(f"parameters must be real, of one dtype on one device; got {p.dtype} on {p.device}")
    return trainable


def _flat(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([t.reshape(-1) for t in tensors])


def _kind(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}" + ("" if value.is_leaf else ", made by an operation")
    return type(value).__name__
