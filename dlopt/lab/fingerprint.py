"""A hash of anything a run depends on, functions included: equal inputs and equal code, equal hash."""

import dataclasses
import dis
import functools
import hashlib
import inspect
import os
import sys
import sysconfig
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dlopt.lab.optional import require

__all__ = ["fingerprint"]


def fingerprint(value: Any) -> str:
    """A hash that sees into functions: bytecode, constants, defaults, closure, and the globals they read.

    What comes from `dlopt`, Python or an installed package counts by name and version; all else by content.
    Equal values have equal hashes in every process of one Python version.

    Args:
        value: numbers, strings, containers, tensors, arrays, functions, classes, partials, dataclasses;
            objects of your own classes by their attributes, others by their pickle.

    Returns:
        64 hexadecimal digits.

    Raises:
        TypeError: something in it can be neither looked into nor pickled (an open file, a lock).

    Example:
        >>> fingerprint(lambda x: x + 1) == fingerprint(lambda x: x + 2)
        False
        >>> fingerprint({"lr": 0.1, "nesterov": True}) == fingerprint({"nesterov": True, "lr": 0.1})
        True
    """
    walk = _Walk()
    walk.visit(value)
    return walk.digest.hexdigest()


class _Walk:
    """Goes through a value depth first and feeds all that matters to one digest."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self.open: list[int] = []
        self.done: dict[int, tuple[str, Any]] = {}  # keeps objects alive, so that no identity is used twice

    def feed(self, *parts: Any) -> None:
        self.digest.update(repr(parts).encode())

    def visit(self, x: Any) -> None:
        if x is None or x is Ellipsis or isinstance(x, (bool, int, float, complex, str, bytes)):
            self.feed(type(x).__name__, x)
        elif isinstance(x, _NAMED) or (isinstance(x, (type, types.FunctionType)) and _library(x)):
            self.feed("name", getattr(x, "__module__", None), getattr(x, "__qualname__", str(x)), _library(x))
        elif id(x) in self.open:
            self.feed("cycle", len(self.open) - self.open.index(id(x)))
        else:
            if id(x) not in self.done:
                outer, self.digest = self.digest, hashlib.sha256()
                self.open.append(id(x))
                self.content(x)
                self.open.pop()
                self.done[id(x)] = self.digest.hexdigest(), x
                self.digest = outer
            self.feed(self.done[id(x)][0])

    def content(self, x: Any) -> None:
        match x:
            case torch.Tensor():
                self.feed("tensor", str(x.dtype), tuple(x.shape))
                flat = x.detach().cpu().contiguous().view(-1)
                self.digest.update(flat.view(torch.uint8).numpy().tobytes())
            case np.ndarray() if x.dtype != object:
                self.feed("array", x.dtype.str, x.shape)
                self.digest.update(x.tobytes())
            case tuple() | list():
                self.feed(type(x).__name__, len(x))
                for item in x:
                    self.visit(item)
            case set() | frozenset():
                self.feed("set", sorted(fingerprint(item) for item in x))
            case Mapping():
                self.feed("mapping", len(x))
                for name in sorted(x, key=fingerprint):
                    self.visit(name)
                    self.visit(x[name])
            case types.ModuleType():
                self.feed("module", x.__name__, _library(x) or Path(x.__file__ or "").read_bytes())
            case types.CodeType():
                flags = x.co_flags & ~inspect.CO_NESTED  # where it stands does not matter
                names = (x.co_names, x.co_varnames, x.co_freevars)
                self.feed("code", x.co_code, names, x.co_argcount, x.co_kwonlyargcount, flags)
                self.visit(x.co_consts)
            case types.FunctionType() if getattr(x, "hooked", False):
                self.content(_unhooked(x))  # torch wraps `step` when an optimizer is first made
            case types.FunctionType():
                used = {name: x.__globals__[name] for name in _globals(x.__code__) if name in x.__globals__}
                cells = [cell.cell_contents for cell in x.__closure__ or () if cell != types.CellType()]
                self.visit(("function", x.__code__, x.__defaults__, x.__kwdefaults__, cells, used))
            case type():
                self.visit(("class", x.__name__, x.__bases__, _body(x)))
            case functools.partial():
                self.visit(("partial", x.func, x.args, x.keywords))
            case types.MethodType():
                self.visit(("method", x.__func__, x.__self__))
            case property():
                self.visit(("property", x.fget, x.fset))
            case staticmethod() | classmethod():
                self.visit((type(x).__name__, x.__func__))
            case _ if hasattr(x, "__wrapped__"):
                self.visit(("wrapped", type(x), x.__wrapped__))
            case _ if hasattr(x, "__dict__") and (dataclasses.is_dataclass(x) or not _library(type(x))):
                fields = dataclasses.fields(x) if dataclasses.is_dataclass(x) else ()  # may stand in slots
                self.visit(("object", type(x), {f.name: getattr(x, f.name, None) for f in fields} | vars(x)))
            case _:
                self.feed("pickle", _pickled(x))


_NAMED = (types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType,
          types.MethodWrapperType, types.MemberDescriptorType, types.GetSetDescriptorType,
          np.ufunc, torch.dtype, torch.device)  # fmt: skip

_INCIDENTAL = {"__dict__", "__weakref__", "__doc__", "__module__", "__firstlineno__", "__static_attributes__",
               "__abstractmethods__", "_abc_impl", "__dataclass_fields__", "__dataclass_params__"}  # fmt: skip


def _body(cls: type) -> dict[str, Any]:
    """What `cls` itself defines, without what torch adds to an optimizer class when one is first made."""
    inherited = [_unhooked(base.step) for base in cls.__mro__[1:] if hasattr(base, "step")]
    body = {name: value for name, value in vars(cls).items() if name not in _INCIDENTAL}
    step = body.get("step")
    if step is not None and _unhooked(step) in inherited:
        del body["step"]
    return body


def _unhooked(step: Any) -> Any:
    """An optimizer's `step` as it was before torch wrapped it."""
    return step.__wrapped__ if getattr(step, "hooked", False) else step


def _globals(code: types.CodeType) -> Iterator[str]:
    """Names of the globals that `code` and the functions inside it may read."""
    names = {i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    yield from sorted(names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _globals(constant)


@functools.cache
def _folders() -> tuple[str, ...]:
    """Where Python and installed packages live."""
    paths = sysconfig.get_paths()
    return tuple(os.path.realpath(paths[key]) + os.sep for key in ("stdlib", "platstdlib", "purelib", "platlib"))


def _library(x: Any) -> str | None:
    """Version of the library that a module, class or function comes from; None if it is the user's."""
    if isinstance(x, types.FunctionType) and (x.__closure__ or "<" in x.__qualname__):
        return None  # one name, many functions: only the content tells them apart
    name = x.__name__ if isinstance(x, types.ModuleType) else getattr(x, "__module__", None)
    package = (name or "").split(".")[0]
    if package == "dlopt":
        return "dlopt"  # its sources are hashed as a whole
    module = sys.modules.get(name or "")
    if module is None or package == "__main__":
        return None
    file = getattr(module, "__file__", None)
    if file is not None and not os.path.realpath(file).startswith(_folders()):
        return None
    return str(getattr(sys.modules.get(package), "__version__", sys.version))


def _pickled(x: Any) -> str:
    try:
        return str(require("joblib").hash(x))
    except Exception as error:
        raise TypeError(f"cannot take a fingerprint of {x!r}; pass cache=False to do without") from error
