"""What a step asks of every tensor, for many tensors at once.

Python takes some 100 ns a tensor and a question. The compiled loops of :mod:`dlopt.engine.faces.llvm_facts` ask all in
40; where there are none, Python does the same.
"""

from __future__ import annotations

from array import array
from operator import attrgetter, is_, itemgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dlopt.engine.faces import llvm_facts

_ZERO = array("q", (0,))
PLAIN = (Tensor, torch.nn.Parameter, torch.nn.Buffer)
_layout, _dtype = map(attrgetter, ("layout", "dtype"))


class Facts(NamedTuple):
    """A fact a field, in each a 64-bit number a tensor, as bytes: quick to compare.

    Two tensors of one dtype have the same number in `dtype`; it says no more.
    """

    identity: bytes
    address: bytes
    numel: bytes
    dtype: bytes
    contiguous: bytes

    def one_dtype(self) -> bool:
        """Whether all tensors have the same."""
        return self.dtype == self.dtype[:8] * (len(self.dtype) // 8)


def facts(tensors: list[Tensor]) -> Facts | None:
    """The facts of `tensors`, None unless all are plain strided tensors: no subclasses, no wrappers without memory.

    Example:
        >>> w = torch.zeros(2, 3)
        >>> array("q", facts([w, w.T]).numel), array("q", facts([w, w.T]).contiguous)
        (array('q', [6, 6]), array('q', [1, 0]))
        >>> facts([w.to_sparse()])
    """
    loops = llvm_facts.loops(PLAIN)
    if loops is None or type(tensors) is not list:  # the loops take nothing else
        return asked(tensors)
    n = 8 * len(tensors)
    found = _ZERO * (len(tensors) * len(Facts._fields))
    if loops.read(tensors, found.buffer_info()[0], len(tensors)) < len(tensors):
        return None
    text = found.tobytes()
    return Facts(text[:n], text[n : 2 * n], text[2 * n : 3 * n], text[3 * n : 4 * n], text[4 * n :])


def asked(tensors: list[Tensor]) -> Facts | None:
    """:func:`facts`, by asking PyTorch's Python interface."""
    if not set(map(type, tensors)) <= set(PLAIN) or set(map(_layout, tensors)) - {torch.strided}:
        return None
    try:
        addresses = map(Tensor.data_ptr, tensors)
        identities, dtypes = map(id, tensors), map(id, map(_dtype, tensors))
        sizes, contiguous = map(Tensor.numel, tensors), map(Tensor.is_contiguous, tensors)
        rows = identities, addresses, sizes, dtypes, contiguous
        return Facts(*(array("q", list(row)).tobytes() for row in rows))
    except RuntimeError:  # a wrapper, as vmap's
        return None


def values(entries: list[dict[str, Any]], key: str, before: list[Any]) -> list[Any]:
    """What each of `entries` has at `key`; the list `before` itself if that holds the same objects.

    Raises:
        KeyError, TypeError: one has nothing there, or is no dict.

    Example:
        >>> found = values([{"step": 1}, {"step": 2}], "step", [])
        >>> found, values([{"step": 1}, {"step": 2}], "step", found) is found
        ([1, 2], True)
    """
    loops = llvm_facts.loops(PLAIN)
    if loops is not None and len(before) == len(entries) == loops.same(entries, key, before, len(entries)):
        return before
    found = list(map(itemgetter(key), entries))
    return before if len(before) == len(found) and all(map(is_, found, before)) else found


def versioned(t: Tensor) -> bool:
    """Whether autograd counts the writes to `t`. It does not for what was made in inference mode."""
    try:
        return t._version >= 0
    except RuntimeError:
        return False


def written(tensors: list[Tensor], all_versioned: bool) -> None:
    """Tell autograd that `tensors` are written to; whether all are :func:`versioned` was found out before."""
    loops = llvm_facts.loops(PLAIN)
    if not all_versioned or loops is None or loops.bump is None:
        torch.autograd.graph.increment_version(tensors)
    else:
        loops.bump(tensors, len(tensors))
