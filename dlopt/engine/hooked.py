"""What torch puts around the methods of an optimizer, only where somebody wants it."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer, optimizer


def hooked(step: Callable[..., Any]) -> Callable[..., Any]:
    """`step` with torch's hooks, and its mark in profiles, as ``torch.optim`` puts them around every ``step``.

    Where there is neither hook nor profiler it is `step` alone: the mark takes as long as a quarter of a small step.
    So it is for a subclass with a ``step`` of its own that calls this one: torch has put its own around that.
    """
    whole = Optimizer.profile_hook_step(step)

    @functools.wraps(step)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        if type(self).step is not wrapper:
            return step(self, *args, **kwargs)
        wanted = (
            torch.compiler.is_compiling()  # what is asked here would be asked once and never again
            or self._optimizer_step_pre_hooks
            or self._optimizer_step_post_hooks
            or optimizer._global_optimizer_pre_hooks
            or optimizer._global_optimizer_post_hooks
            or torch.autograd._profiler_enabled()
        )
        return (whole if wanted else step)(self, *args, **kwargs)

    wrapper.hooked = True  # type: ignore[attr-defined]  # torch would put its own around it
    return wrapper


def eager(method: Callable[..., Any]) -> Callable[..., Any]:
    """torch's `method`, but without what hides it from the compiler as long as there is none.

    The decorator imports the compiler at the first call, which takes seconds and some 100 MB.
    """
    return method if "torch._dynamo" in sys.modules else inspect.unwrap(method)
