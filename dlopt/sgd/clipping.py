"""Gradient clipping: by norm (Pascanu et al. 2013, algorithm 1), by value, adaptive (Brock et al. 2021, eq. 3).

What decides is written in the grammar of rules, ``norm_factor`` and ``adaptive_factor``: by what a gradient is
multiplied. Norms and factors are computed in float32 or wider. A gradient that is None is passed over, an empty
one has norm 0, and of a sparse one the entries that are there are meant.
"""

import math
import types
import warnings
from collections.abc import Iterable
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from dlopt.engine.checks import number
from dlopt.engine.faces.torch import namespace
from dlopt.engine.rule import with_namespace, xp

_WIDER = {torch.float16: torch.float32, torch.bfloat16: torch.float32, torch.complex32: torch.complex64}


def norm_factor(*, norm, c):
    return xp.minimum(1, c / (norm + 1e-6))


def adaptive_factor(*, norm, weight, c, eps):
    limit = c * xp.maximum(weight, eps)
    return xp.minimum(1, limit / norm)


@torch.no_grad()
def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float | str = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
    *,
    per_tensor: bool = False,
) -> Tensor:
    r"""Scale gradients down, in place, so that their norm is at most `max_norm`.

    ``g`` becomes ``g * min(1, max_norm / (norm + 1e-6))``, as in ``torch.nn.utils.clip_grad_norm_``: the same
    arguments, numbers and return value, except that the norm of float16 and bfloat16 gradients is computed in
    float32. Pascanu et al. 2013 (arXiv:1211.5063), algorithm 1, without the 1e-6.

    Args:
        parameters: one tensor or several, of any shapes, dtypes and devices.
        max_norm: the threshold c, in units of the gradient; inf measures and changes nothing. 0, which torch takes,
            would set every gradient to 0 and is refused.
        norm_type: p of the p-norm, above 0; ``inf`` or ``"inf"`` for the largest magnitude.
        error_if_nonfinite: raise if the norm is inf or NaN. If False, a NaN anywhere makes every gradient NaN, and
            an infinite one makes itself NaN and all others 0.
        foreach: compute on lists of tensors. None: if they are plain tensors. False: one tensor at a time.
        per_tensor: clip each gradient to `max_norm` by its own norm, not all by their joint norm.

    Returns:
        The joint norm before clipping, a scalar (0 without gradients); with `per_tensor` the norms, of shape
        ``(n,)`` for n gradients that are not None. float32 or wider, on the first gradient's device.

    Raises:
        ValueError: `max_norm` or `norm_type` is negative, 0, NaN or no number, or a parameter or gradient is
            given twice.
        TypeError: something in `parameters` is no tensor.
        RuntimeError: the norm is not finite, with `error_if_nonfinite`; the gradients are as they were.

    Example:
        >>> w = torch.zeros(2, requires_grad=True)
        >>> w.grad = torch.tensor([30.0, 40.0])
        >>> clip_grad_norm_([w], max_norm=5.0), w.grad
        (tensor(50.), tensor([3.0000, 4.0000]))
    """
    max_norm = _above_zero("max_norm", max_norm)
    norm_type = math.inf if norm_type == "inf" else _above_zero("norm_type", norm_type)
    grads = [_dense(p) for p in _with_gradient(parameters)]
    if not grads:
        return torch.zeros(0) if per_tensor else torch.tensor(0.0)
    lists = foreach or (foreach is None and all(type(g) is Tensor for g in grads))
    each = torch.stack([norm.to(grads[0].device) for norm in _norms(grads, norm_type, lists)])
    total = torch.linalg.vector_norm(each, norm_type)
    if error_if_nonfinite and not total.isfinite():
        raise RuntimeError(
            f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, so it cannot be "
            "clipped. To disable this error and scale the gradients by the non-finite norm anyway, "
            "set `error_if_nonfinite=False`"
        )
    if max_norm < math.inf:
        factor = _on(total, norm_factor)(norm=each if per_tensor else total, c=max_norm)
        for same, factors in _alike(grads, factor):
            _multiply(same, factors, lists)
    return each if per_tensor else total


@torch.no_grad()
def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None) -> None:
    """Limit every element of the gradients, in place, to ``[-clip_value, clip_value]``.

    As ``torch.nn.utils.clip_grad_value_``; of a complex gradient, which torch refuses, the real and the imaginary
    parts. Infinite elements become finite, NaN stays NaN. The direction of the gradient changes.

    Args:
        parameters, foreach: as for :func:`clip_grad_norm_`.
        clip_value: above 0, in units of the gradient.

    Raises:
        ValueError: `clip_value` is not above 0 or no number, or a parameter or gradient is given twice.
        TypeError: something in `parameters` is no tensor.

    Example:
        >>> w = torch.zeros(2, requires_grad=True)
        >>> w.grad = torch.tensor([3.0, -40.0])
        >>> clip_grad_value_([w], clip_value=5.0)
        >>> w.grad
        tensor([ 3., -5.])
    """
    clip_value = _above_zero("clip_value", clip_value)
    grads = [_dense(p) for p in _with_gradient(parameters)]
    grads = [torch.view_as_real(g) if g.is_complex() else g for g in grads]
    lists = foreach or (foreach is None and all(type(g) is Tensor for g in grads))
    for same, _ in _alike(grads, torch.ones(())):
        if lists:
            torch._foreach_clamp_min_(same, -clip_value)
            torch._foreach_clamp_max_(same, clip_value)
        else:
            for grad in same:
                grad.clamp_(-clip_value, clip_value)


@torch.no_grad()
def clip_grad_adaptive_(parameters: Tensor | Iterable[Tensor], clip_factor: float = 0.01, eps: float = 1e-3) -> None:
    r"""Scale each unit's gradient down, in place, to at most `clip_factor` times the norm of the unit's weights.

    Adaptive gradient clipping, Brock et al. 2021 (arXiv:2102.06171), eq. 3: a step of SGD then changes no unit by
    more than a share ``lr * clip_factor`` of itself. A unit is what feeds one output: a row of a linear layer or of
    an embedding, a filter of a convolution, in torch's layout all that shares the first index; a vector (biases,
    gains) or a scalar is one unit. A unit with weights below `eps` counts as `eps`, or zeros would stay zeros.

    The paper leaves the last linear layer out: pass the other parameters only. A transposed convolution has its
    outputs on the second index: its units are not what is meant here, leave it out or clip it by norm.

    Args:
        parameters: one tensor or several. A sparse gradient must be that of an embedding: rows.
        clip_factor: the paper's λ, above 0: gradient over weight. The paper trains large batches with 0.01;
            smaller batches bear more.
        eps: the paper's ε, above 0, in units of the weights.

    Raises:
        ValueError: `clip_factor` or `eps` is not above 0, infinite or no number, or a parameter or gradient is
            given twice.
        TypeError: something in `parameters` is no tensor.
        RuntimeError: a sparse gradient that is not one of rows.

    Example:
        >>> w = torch.tensor([[3.0, 4.0], [0.0, 0.0]], requires_grad=True)
        >>> w.grad = torch.tensor([[30.0, 40.0], [0.0, 1.0]])
        >>> clip_grad_adaptive_([w], clip_factor=0.1)
        >>> w.grad
        tensor([[3.0000e-01, 4.0000e-01],
                [0.0000e+00, 1.0000e-04]])
    """
    clip_factor, eps = (_above_zero(*pair, finite=True) for pair in (("clip_factor", clip_factor), ("eps", eps)))
    chosen = _with_gradient(parameters)
    for p in chosen:
        if p.grad.layout is not torch.strided and (p.grad.layout is not torch.sparse_coo or p.grad.sparse_dim() != 1):
            raise RuntimeError("adaptive clipping needs a dense gradient, or a sparse one of whole rows")
    for p in chosen:
        g = _dense(p)
        w = p if p.grad.layout is torch.strided else p[p.grad.indices()[0]]
        dims = tuple(range(1, g.dim())) or None
        norm, weight = (_norm(x, 2.0, dims) for x in (g, w))
        factor = _on(norm, adaptive_factor)(norm=norm, weight=weight, c=clip_factor, eps=eps)
        _multiply([g], factor[None], lists=False)


def _above_zero(what: str, value: Any, *, finite: bool = False) -> float:
    """`value` as a float, once it is known to be a number above 0; inf only where `finite` is not asked for."""
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    if finite or not (isinstance(value, Real) and value == math.inf):
        number(what, value)
    if value <= 0:
        raise ValueError(f"Invalid {what}: {value}. One clips to a number above 0")
    return float(value)


def _with_gradient(parameters: Tensor | Iterable[Tensor]) -> list[Any]:
    """The parameters that have a gradient with something in it or of size 0, each once."""
    given = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    if not given and isinstance(parameters, types.GeneratorType):
        warnings.warn("`parameters` is an empty generator, no gradient clipping will occur.", stacklevel=4)
    for p in given:
        if not isinstance(p, Tensor):
            raise TypeError(f"parameters must be tensors, not {type(p).__name__}")
    if len({id(p) for p in given}) < len(given):
        raise ValueError("a parameter is given twice: its gradient would be clipped twice")
    chosen = [p for p in given if p.grad is not None]
    if len({id(p.grad) for p in chosen}) < len(chosen):
        raise ValueError("two parameters share one tensor as their gradient: it would be clipped twice")
    return chosen


def _dense(p: Any) -> Tensor:
    """The gradient of `p`, or the entries of a sparse one: a tensor to be changed in place."""
    if p.grad.layout is torch.strided:
        if p.grad.is_conj() or p.grad.is_neg():
            p.grad = p.grad.resolve_conj().resolve_neg()  # torch changes no list of such views in place
        return p.grad
    if p.grad.layout is torch.sparse_coo and not p.grad.is_coalesced():
        p.grad = p.grad.coalesce()  # only then is an entry one number
    return p.grad.values()


def _norm(x: Tensor, norm_type: float, dims: tuple[int, ...] | None = None) -> Tensor:
    """Its norm over `dims`, kept as dimensions of size 1, or over all."""
    wide = _WIDER.get(x.dtype)
    return torch.linalg.vector_norm(x, norm_type, dims, keepdim=dims is not None, dtype=wide)


def _norms(grads: list[Tensor], norm_type: float, lists: bool) -> list[Tensor]:
    full = [g if g.numel() else g.new_zeros(1) for g in grads]
    if not lists:
        return [_norm(g, norm_type) for g in full]
    found: dict[int, Tensor] = {}
    for same, places in _alike(full, torch.arange(len(full))):
        norms = torch._foreach_norm(same, norm_type, dtype=_WIDER.get(same[0].dtype))
        found.update(zip(places.tolist(), norms, strict=True))
    return [found[i] for i in range(len(full))]


def _alike(tensors: list[Tensor], values: Tensor) -> list[tuple[list[Tensor], Tensor]]:
    """Tensors of one device and dtype together, with the one value there is, or the value of each of them."""
    groups: dict[Any, list[int]] = {}
    for i, x in enumerate(tensors):
        groups.setdefault((x.device, x.dtype), []).append(i)
    return [([tensors[i] for i in places], (values[places] if values.dim() else values)) for places in groups.values()]


def _on(like: Tensor, factor: Any) -> Any:
    """A factor's rule as it computes on tensors such as `like`."""
    return with_namespace(factor, namespace(like.dtype, like.dtype))


def _multiply(same: list[Tensor], factor: Tensor, lists: bool | None) -> None:
    factor = factor.to(same[0].device)
    half = same[0].dtype in _WIDER
    if lists and not half and not factor.dim():
        torch._foreach_mul_(same, factor)
        return
    for g, c in zip(same, factor if factor.dim() else [factor] * len(same), strict=True):
        g.mul_(c.reshape((1,) * g.dim()) if half and not c.dim() else c)  # a GPU rounds a scalar to half first
