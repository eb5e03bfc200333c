"""What runs a step. A face is a module with ``refuses(batch) -> reason or None`` and ``run(batch)``.

To add one, write the module and put its name into ``FUSED``; nothing else knows the faces by name.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
from collections.abc import Iterator
from contextvars import ContextVar
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dlopt.engine.batch import Batch

FUSED = ("triton", "llvm")
"""The fused faces, the fastest first."""
ALL = (*FUSED, "torch", "numpy")

_forced: ContextVar[str | None] = ContextVar("face", default=None)
_log = logging.getLogger("dlopt")


@contextlib.contextmanager
def use(name: str) -> Iterator[None]:
    """Run every step inside the ``with`` block on one face: ``"numpy"``, ``"torch"``, ``"llvm"`` or ``"triton"``.

    Raises:
        ValueError: for an unknown face. The step itself raises RuntimeError if the face cannot do it.

    Example:
        >>> import torch, dlopt
        >>> w = torch.ones(3, requires_grad=True)
        >>> w.grad = torch.ones(3)
        >>> with dlopt.engine.faces.use("numpy"):
        ...     dlopt.SGD([w], lr=0.5).step()
        >>> w
        tensor([0.5000, 0.5000, 0.5000], requires_grad=True)
    """
    if name not in ALL:
        raise ValueError(f"Invalid face: {name!r}, not one of {ALL}")
    token = _forced.set(name)
    try:
        yield
    finally:
        _forced.reset(token)


def choose(batch: Batch, group: dict[str, Any]) -> ModuleType:
    """The face for `batch`: the forced one, or the fastest that takes it.

    Raises:
        RuntimeError: if a face was asked for, by ``fused=True`` or :func:`use`, and cannot take the batch.
    """
    asked = _forced.get(), group["fused"], group["foreach"]
    if batch.asked != asked:  # or it is the batch of the step before
        batch.face, batch.asked = _chosen(batch, group, asked[0]), asked
    return batch.face


def _chosen(batch: Batch, group: dict[str, Any], forced: str | None) -> ModuleType:
    if forced:
        return _demand(batch, (forced,))
    if group["fused"]:
        return _demand(batch, FUSED)
    if group["foreach"] is None and group["fused"] is None:
        for name in FUSED:
            face = load(name)
            reason = face.refuses(batch)
            if reason is None:
                return face
            if reason == face.missing():
                _say(reason)
    return load("torch")


def _demand(batch: Batch, names: tuple[str, ...]) -> ModuleType:
    reasons = []
    for name in names:
        face = load(name)
        reason = face.refuses(batch)
        if reason is None:
            return face
        reasons.append(f"the {name} face cannot take this step: {reason}")
    raise RuntimeError("; ".join(reasons))


@functools.cache
def load(name: str) -> ModuleType:
    """The module of the face `name`, imported when first wanted."""
    return importlib.import_module(f"{__name__}.{name}")


@functools.cache
def _say(reason: str) -> None:
    _log.warning("dlopt: no fused step, the torch face runs instead: %s", reason)
