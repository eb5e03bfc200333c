"""Clipping as part of an optimizer's step, with and without a closure."""

from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.optim import Optimizer

Opt = TypeVar("Opt", bound=Optimizer)
_attached: WeakKeyDictionary[Optimizer, Any] = WeakKeyDictionary()


def clip_before_step(optimizer: Opt, clip: Callable[[list[Tensor]], Any] | None) -> Opt:
    """Let `optimizer` clip its gradients at the beginning of every step.

    With a closure the gradients exist only after it has run, so it is wrapped: `clip` follows every evaluation.
    Clipping comes before weight decay, momentum and all else that the step does. The norm is that of all parameter
    groups together. An optimizer has one clip: a second call replaces it, None takes it off.

    The clip is not part of ``state_dict()``, and neither a copy nor a pickle of the optimizer has it. LBFGS with a
    line search compares losses with slopes: clipped slopes mislead it.

    With a ``torch.amp.GradScaler``, call ``scaler.unscale_(optimizer)`` before ``scaler.step(optimizer)``: a
    threshold means nothing on scaled gradients. (For optimizers without a fused kernel the scaler does it itself.)

    Args:
        optimizer: any ``torch.optim.Optimizer``, those of dlopt included.
        clip: called with the list of all parameters, under ``no_grad``; its result is ignored. To choose
            parameters, choose in it: ``lambda params: clip_grad_adaptive_(params[:-2])``.

    Returns:
        The optimizer itself.

    Raises:
        TypeError: `optimizer` is no optimizer, or `clip` can not be called.
        RuntimeError: at ``step``, if the gradients are still multiplied by the scale of a GradScaler.

    Example:
        >>> from functools import partial
        >>> from dlopt.sgd import SGD, clip_grad_norm_
        >>> w = torch.zeros(2, requires_grad=True)
        >>> opt = clip_before_step(SGD([w], lr=1.0), partial(clip_grad_norm_, max_norm=5.0))
        >>> w.grad = torch.tensor([30.0, 40.0])
        >>> opt.step()
        >>> w
        tensor([-3.0000, -4.0000], requires_grad=True)
    """
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"clip_before_step needs a torch.optim.Optimizer, not {type(optimizer).__name__}")
    if clip is not None and not callable(clip):
        raise TypeError(f"clip must be a function of the list of parameters, not {clip!r}")
    if optimizer in _attached:
        _attached.pop(optimizer).remove()
    if clip is not None:
        _attached[optimizer] = optimizer.register_step_pre_hook(_hook(clip))
    return optimizer


def _hook(clip: Callable[[list[Tensor]], Any]) -> Callable[..., Any]:
    def run(optimizer: Optimizer) -> None:
        if getattr(optimizer, "grad_scale", None) is not None:
            raise RuntimeError("the gradients are still scaled: call scaler.unscale_(optimizer) before scaler.step")
        with torch.no_grad():
            clip([p for group in optimizer.param_groups for p in group["params"]])

    def before_step(optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        given = [*args[1:], kwargs.get("closure")]  # the optimizer itself comes first
        closure = given[0]
        if closure is None:
            run(optimizer)
            return None

        def clipped() -> Any:
            loss = closure()
            run(optimizer)
            return loss

        return (args[0], clipped, *args[2:]), {name: value for name, value in kwargs.items() if name != "closure"}

    return before_step
