"""The fused CPU face: a program becomes one machine-code loop, run on torch's own thread pool.

The arithmetic is IEEE 754 with no fast-math flag, so the result is bit-identical to NumPy's wherever
NumPy itself rounds correctly (``+ - * / sqrt``). Of 0 and -0 the larger, and the smaller, is the second, as by
NumPy on x86; on other processors NumPy's choice between the two signs is another one.
"""

from __future__ import annotations

import contextlib
import functools
from array import array
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dlopt.engine.faces import threads
from dlopt.engine.faces.fused import mixed, unfit
from dlopt.engine.faces.llvm_eight_bits import Coded, block_by_block
from dlopt.engine.faces.llvm_emitter import Emitter, in_memory
from dlopt.engine.faces.llvm_random import random_key, random_word
from dlopt.engine.faces.llvm_sums import summed
from dlopt.engine.faces.llvm_target import fetch, lock, target
from dlopt.engine.lowering import Lowered, lower_norms, lower_program
from dlopt.engine.norms import CHUNK, LANES, norms
from dlopt.engine.program import Program

if TYPE_CHECKING:
    from dlopt.engine.batch import Batch

LINE, AHEAD = 64, 6
"""Bytes of numbers that are computed side by side, as many as memory gives at a time; and for how many such lines ahead
memory is asked. By itself a processor sees some hundred operations ahead, which is less."""
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


@functools.cache
def missing() -> str | None:
    """Why the face cannot run on this machine; None if it can."""
    try:
        import llvmlite  # noqa: F401
    except ImportError:
        return "llvmlite is not installed: pip install 'dlopt[cpu]'"
    return None


def refuses(batch: Batch) -> str | None:
    """Why this face cannot take `batch`; None if it can."""
    reason = unfit(batch, "cpu", (*DTYPES, torch.int64, torch.uint8)) or missing() or mixed(batch)
    if reason:
        return reason
    if batch.program.norms and batch.program.coded:
        return "it takes no norms of 8-bit state"
    if batch.stays:
        return "it takes its scalars from the host, and they stay on the device"
    if torch.float16 in batch.dtypes and not target().half:
        return "this processor converts no float16"
    return None


def run(batch: Batch) -> None:
    """Apply one step to every tensor of `batch`, in one launch."""
    function = batch.kept = batch.kept or kernel(batch.program, batch.dtypes, batch.compute)
    memory, pointers, slots = batch.memory(), batch.addresses(), batch.slots or ()
    if batch.program.norms:
        values, own = _slots(batch, pointers, memory.sizes), len(slots)
    else:
        values, own = array("d", map(float, slots)), 0
    batch.mark_written()  # now: to come back to Python after the launch is slow, the caches are full of tensors
    threads.launch(function, pointers, memory.sizes, values, own)


def _slots(batch: Batch, pointers: array[int], sizes: tuple[int, ...]) -> array[float]:
    """The slots of every tensor, after a pass over the tensors that sums."""
    program, lowered = batch.program, lower_norms(batch.program)
    chunks = sum(-(-size // CHUNK) for size in sizes)
    partials = np.empty((chunks, len(lowered.outputs), LANES))
    own = array("d", map(float, lowered.host(**batch.scalars)))
    summing = kernel(program, batch.dtypes, batch.compute, True)
    threads.launch(summing, pointers, sizes, own, sums=partials)
    with np.errstate(all="ignore"):
        roots = dict(zip(program.norm_names, norms(partials, sizes).T, strict=True))
        values = lower_program(program).host(**batch.scalars, **roots)
    table = np.empty((len(sizes), len(values)))
    for column, value in zip(table.T, values, strict=True):
        column[:] = value
    return array("d", table.tobytes())


@functools.cache
def _kernel(program: Program, dtypes: tuple[torch.dtype, ...], compute: torch.dtype, sums: bool) -> int:
    name = f"dlopt_{program.rule.name}" + "_norms" * sums
    return target().compile(name, build(name, program, dtypes, compute, sums), vectorize=sums or not by_lines(program))


def kernel(program: Program, dtypes: tuple[torch.dtype, ...], compute: torch.dtype, sums: bool = False) -> int:
    """The address of the compiled program, or of its pass that `sums`: compiled once per process, 20 to 40 ms."""
    with lock:
        return _kernel(program, dtypes, compute, sums)


def by_lines(program: Program) -> bool:
    """Whether elements are taken :data:`LINE` by line. Where some are coded or random, LLVM sees to vectors itself."""
    return set(program.kinds) == {None}


def build(name: str, program: Program, dtypes: tuple[torch.dtype, ...], compute: torch.dtype, sums: bool) -> str:
    """LLVM IR of the worker ``name(header)``; see :mod:`dlopt.engine.faces.threads` for the header."""
    from llvmlite import ir

    i64, double, pointer = ir.IntType(64), ir.DoubleType(), ir.PointerType()
    module, lowered = ir.Module(name), lower_norms(program) if sums else lower_program(program)
    streams = len(dtypes)

    signature = ir.FunctionType(ir.VoidType(), [*[pointer] * streams, i64, pointer, i64, *[pointer] * sums])
    body = ir.Function(module, signature, name + "_chunk")
    addresses, values = body.args[:streams], body.args[streams + 1]
    body.linkage = "internal"
    body.attributes.add("noinline")
    for argument in (*addresses, values, *body.args[streams + 3 :]):
        argument.add_attribute("noalias")
    b = ir.IRBuilder(body.append_basic_block("entry"))
    emit = Emitter(module, compute, dtypes[1])
    for k, slot in enumerate(lowered.slots):
        value = b.load(b.gep(values, [i64(k)], source_etype=double), typ=double)
        emit.values[slot] = value if emit.real == double else b.fptrunc(value, emit.real)
    read = _Reader(program, emit, lowered, dtypes)
    if sums:
        same = [dtype is compute and not program.kinds[k] for k, dtype in enumerate(dtypes[: program.streams])]
        summed(b, emit, read, lowered, same)
    else:
        _written(b, read, dtypes)
    width = 8 * LANES * len(lowered.outputs) if sums else 0
    widths = [256 * _bytes(dtype) for dtype in dtypes[: program.streams]] + [4] * len(program.coded)
    chunk = block_by_block(module, body, widths) if program.coded else body
    threads.worker(module, name, chunk, widths, width)
    return str(module)


class _Reader:
    """Loads an element of every stream: decodes 8 bits, makes random words. Returns the other streams' places."""

    def __init__(self, program: Program, emit: Emitter, lowered: Lowered, dtypes: tuple[torch.dtype, ...]) -> None:
        self.program, self.emit, self.lowered, self.dtypes = program, emit, lowered, dtypes
        self.keys: dict[int, Any] = {}
        self.coded: dict[int, Coded] = {}

    def prepare(self, b: Any) -> None:
        """What all elements share; once, before the loop."""
        addresses, program = b.function.args, self.program
        scales = dict(zip(program.coded, addresses[program.streams : len(self.dtypes)], strict=True))
        self.coded = {k: Coded(b, kind, addresses[k], scales[k]) for k, kind in program.coded.items()}
        self.keys = {k: random_key(b, addresses[k]) for k, kind in enumerate(program.kinds) if kind == "random"}
        for state in self.coded.values():
            state.begin(b, addresses[len(self.dtypes)])

    def __call__(self, b: Any, i: Any) -> dict[int, Any]:
        places, emit, streams = {}, self.emit, len(self.dtypes)
        for k, (node, dtype) in enumerate(zip(self.lowered.inputs, self.dtypes, strict=False)):
            if k in self.keys:
                emit.values[node] = random_word(b, self.keys[k], b.add(b.function.args[streams + 2], i))
            elif k in self.coded:
                emit.values[node] = emit.widen(b, self.coded[k].load(b, i), torch.float32)
            else:
                places[k] = _place(b, k, i, dtype)
                emit.values[node] = emit.load(b, places[k], dtype)
        return places


def _written(b: Any, read: _Reader, dtypes: tuple[torch.dtype, ...]) -> None:
    """The loops over the elements of a chunk that write the outputs, and the return."""
    from llvmlite import ir

    i64, count = ir.IntType(64), b.function.args[len(dtypes)]
    read.prepare(b)
    done = i64(0)
    if by_lines(read.program):
        lanes = LINE // read.emit.compute.itemsize
        lines = _Reader(read.program, read.emit.side_by_side(b, lanes), read.lowered, dtypes)
        done = b.and_(count, i64(-lanes))
        with _loop(b, i64(0), done, lanes) as i:
            for k, dtype in enumerate(dtypes):
                fetch(b, _place(b, k, b.add(i, i64(AHEAD * lanes)), dtype))
            _element(b, lines, i, dtypes)
    with _loop(b, done, count) as i:
        _element(b, read, i, dtypes)
    for state in read.coded.values():
        state.finish(b, count)
    b.ret_void()


def _element(b: Any, read: _Reader, i: Any, dtypes: tuple[torch.dtype, ...]) -> None:
    """Read element `i` of every stream, or as many from it as the emitter has lanes; compute; write."""
    places, emit = read(b, i), read.emit
    results = [emit(b, node) for node in read.lowered.outputs]
    for k, value in enumerate(results, start=read.lowered.first):
        if k in read.coded:
            read.coded[k].store(b, i, emit.narrow(b, value, torch.float32))
        else:
            emit.store(b, value, places[k], dtypes[k])


@contextlib.contextmanager
def _loop(b: Any, start: Any, stop: Any, step: int = 1) -> Iterator[Any]:
    """What is built inside is run for i = start, start + step, … below `stop`."""
    before, inside, after = b.block, b.append_basic_block("loop"), b.append_basic_block("end")
    b.cbranch(b.icmp_signed("<", start, stop), inside, after)
    b.position_at_end(inside)
    i = b.phi(start.type)
    i.add_incoming(start, before)
    yield i
    following = b.add(i, i.type(step))
    i.add_incoming(following, b.block)
    b.cbranch(b.icmp_signed("<", following, stop), inside, after)
    b.position_at_end(after)


def _bytes(dtype: torch.dtype) -> int:
    return 0 if dtype is torch.int64 else dtype.itemsize


def _place(b: Any, stream: int, i: Any, dtype: torch.dtype) -> Any:
    """Where element `i` of a stream is."""
    return b.gep(b.function.args[stream], [i], source_etype=in_memory(dtype))
