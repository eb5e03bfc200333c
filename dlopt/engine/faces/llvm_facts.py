"""Loops over many tensors, compiled against the C interface that PyTorch keeps stable for its extensions.

A tensor's Python object holds its ``at::Tensor``, a handle in that interface, some words after its beginning. Where,
is found out by looking for the word that is ``_cdata``, the tensor's address. To advance versions is in no such
interface: that is a C++ function, taken where its name is found.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from dlopt.engine.faces.llvm_target import fetch, lock, target

_FACTS = ("get_data_ptr", "get_numel", "get_dtype", "is_contiguous")
_BUMP = "_ZN5torch8autograd4impl12bump_versionERKN2at6TensorE"  # torch::autograd::impl::bump_version


class Loops(NamedTuple):
    """Loops over lists of `n`, which return how far they came.

    ``read(tensors, facts, n)`` stops at what is not strided, has no memory, or is of a type that was not named.
    `facts` is the address of a row of `n` 64-bit numbers for each of identity, address, number of elements, dtype,
    and whether contiguous. ``same(dicts, key, values, n)`` stops where a dict does not hold that very object.
    ``bump(tensors, n)`` advances version counters; a tensor without one would end the process. None where it is not
    to be had.
    """

    read: Callable[[list[Any], int, int], int]
    same: Callable[[list[Any], str, list[Any], int], int]
    bump: Callable[[list[Any], int], int] | None = None


@functools.cache
def loops(types: tuple[type, ...]) -> Loops | None:
    """The loops, for tensors of `types`; None if they cannot be compiled here."""
    try:
        from llvmlite import ir

        library = ctypes.CDLL(torch._C.__file__)
        ask = [_address(library, f"aoti_torch_{name}") for name in ("get_layout", *_FACTS)]
        lists, dicts = (_address(ctypes.pythonapi, f"{kind}_GetItem") for kind in ("PyList", "PyDict"))
        strided = library.aoti_torch_layout_strided()
        t = torch.empty(0)
        kind, handle = _word(t, id(type(t))), _word(t, t._cdata)
        module = ir.Module("dlopt_facts")
        read = _Loop(module, "read", ctypes.py_object, ctypes.c_void_p)
        _read(read, lists, list(map(id, types)), kind, handle, strided, ask)
        same = _Loop(module, "same", *[ctypes.py_object] * 3)
        same.go_on_if(same.equal(same.call(dicts, same.item(lists, 0), same.arguments[1]), same.item(lists, 2)))
        written = [read, same]
        if hasattr(library, _BUMP):
            bump = _Loop(module, "bump", ctypes.py_object)
            bump.call(_address(library, _BUMP), bump.after(bump.item(lists, 0), handle))
            written.append(bump)
        return Loops(*_compiled(module, written))
    except (ImportError, OSError, RuntimeError, AttributeError, LookupError):
        return None  # Python does the same, slower; a missing llvmlite is named where a face is chosen


def _compiled(module: Any, loops: list[_Loop]) -> list[Any]:
    """The functions, to be called with Python objects, and addresses, while the interpreter waits."""
    for loop in loops:
        loop.end_turn()
    prototypes = [ctypes.PYFUNCTYPE(ctypes.c_int64, *loop.types, ctypes.c_int64) for loop in loops]
    with lock:
        target().compile(loops[0].function.name, str(module))
        addresses = [target().engine.get_function_address(loop.function.name) for loop in loops]
    return [prototype(address) for prototype, address in zip(prototypes, addresses, strict=True)]


def _address(library: Any, name: str) -> int:
    address = ctypes.cast(getattr(library, name), ctypes.c_void_p).value
    assert address is not None
    return address


def _word(thing: Any, value: int) -> int:
    """After how many bytes of the object `thing` the 64-bit number `value` stands.

    Raises:
        LookupError: it does not.
    """
    for offset in range(0, type(thing).__basicsize__, 8):
        if ctypes.c_uint64.from_address(id(thing) + offset).value == value:
            return offset
    raise LookupError


class _Loop:
    """A function of `arguments`, pointers all, and `n`: a loop that is written turn by turn, `i` from 0 to `n`."""

    def __init__(self, module: Any, name: str, *arguments: Any) -> None:
        from llvmlite import ir

        self.ir, self.module, self.types = ir, module, arguments
        self.byte, self.i32, self.i64, self.pointer = ir.IntType(8), ir.IntType(32), ir.IntType(64), ir.PointerType()
        signature = ir.FunctionType(self.i64, [*[self.pointer] * len(arguments), self.i64])
        self.function = ir.Function(module, signature, f"dlopt_{name}")
        *self.arguments, self.n = self.function.args
        entry, self.head, self.end = map(self.function.append_basic_block, ("entry", "head", "end"))
        self.b = ir.IRBuilder(entry)
        self.b.branch(self.head)
        self.b.position_at_end(self.head)
        self.i = self.b.phi(self.i64)
        self.i.add_incoming(self.i64(0), entry)
        self.go_on_if(self.b.icmp_signed("<", self.i, self.n))

    def go_on_if(self, condition: Any) -> None:
        """Else end, and return `i`."""
        following = self.function.append_basic_block()
        self.b.cbranch(condition, following, self.end)
        self.b.position_at_end(following)

    def equal(self, x: Any, y: Any) -> Any:
        return self.b.icmp_unsigned("==", x, y)

    def call(self, address: int, *arguments: Any, result: Any = None) -> Any:
        """Call the function at `address`, which returns a pointer if nothing else is said."""
        signature = self.ir.FunctionType(result or self.pointer, [a.type for a in arguments])
        return self.b.call(self.b.inttoptr(self.i64(address), signature.as_pointer()), arguments)

    def item(self, get: int, argument: int, ahead: int = 0) -> Any:
        """The `i`-th of the list that is an argument, or one that is so many turns ahead, the last at most."""
        i, last = self.b.add(self.i, self.i64(ahead)), self.b.sub(self.n, self.i64(1))
        return self.call(get, self.arguments[argument], self.b.select(self.b.icmp_signed("<", i, last), i, last))

    def after(self, pointer: Any, offset: int) -> Any:
        return self.b.gep(pointer, [self.i64(offset)], source_etype=self.byte)

    def end_turn(self) -> None:
        self.i.add_incoming(self.b.add(self.i, self.i64(1)), self.b.block)
        self.b.branch(self.head)
        self.b.position_at_end(self.end)
        self.b.ret(self.i)


def _read(loop: _Loop, lists: int, types: list[int], kind: int, handle: int, strided: int, ask: list[int]) -> None:
    """One turn of ``read``: the type is looked at before PyTorch is asked, the layout before the memory."""
    b, i32, i64 = loop.b, loop.i32, loop.i64

    def plain(thing: Any) -> Any:
        own = b.load(loop.after(thing, kind), typ=i64)
        return functools.reduce(b.or_, [loop.equal(own, i64(named)) for named in types])

    fetch(b, loop.item(lists, 0, ahead=16))
    tensor, later = loop.item(lists, 0), loop.item(lists, 0, ahead=8)
    loop.go_on_if(plain(tensor))
    later = b.select(plain(later), later, tensor)
    inside = b.load(loop.after(later, handle), typ=loop.pointer)
    for line in range(3):
        fetch(b, loop.after(inside, 64 * line))
    with b.goto_entry_block():
        layout, *places = [b.alloca(width) for width in (i32, i64, i64, i32, loop.byte)]
    tensor_handle = loop.after(tensor, handle)
    loop.go_on_if(loop.equal(loop.call(ask[0], tensor_handle, layout, result=i32), i32(0)))
    loop.go_on_if(loop.equal(b.load(layout, typ=i32), i32(strided)))
    failed = [loop.call(get, tensor_handle, at, result=i32) for get, at in zip(ask[1:], places, strict=True)]
    loop.go_on_if(loop.equal(functools.reduce(b.or_, failed), i32(0)))
    numbers = [b.ptrtoint(tensor, i64), *(b.load(at, typ=at.allocated_type) for at in places)]
    for row, value in enumerate(numbers):
        wide = value if value.type == i64 else b.zext(value, i64)
        place = b.add(b.mul(loop.n, i64(row)), loop.i)
        b.store(wide, b.gep(loop.arguments[1], [place], source_etype=i64))
