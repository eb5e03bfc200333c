"""The fused CPU face: a program becomes one machine-code loop, run on torch's own thread pool.

The arithmetic is IEEE 754 with no fast-math flag, so the result is bit-identical to NumPy's wherever
NumPy itself rounds correctly (``+ - * / sqrt``). Of 0 and -0 the larger, and the smaller, is the second, as by
NumPy on x86; on other processors NumPy's choice between the two signs is another one.
"""

from __future__ import annotations

import functools
from array import array
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dlopt.engine.faces import threads
from dlopt.engine.faces.fused import mixed, unfit
from dlopt.engine.faces.llvm_eight_bits import Coded, block_by_block
from dlopt.engine.faces.llvm_random import random_key, random_word, rounded
from dlopt.engine.faces.llvm_sums import summed
from dlopt.engine.faces.llvm_target import lock, target
from dlopt.engine.lowering import Lowered, Node, lower_norms, lower_program
from dlopt.engine.norms import CHUNK, LANES, norms
from dlopt.engine.program import Program

if TYPE_CHECKING:
    from dlopt.engine.batch import Batch

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
    return target().compile(name, build(name, program, dtypes, compute, sums))


def kernel(program: Program, dtypes: tuple[torch.dtype, ...], compute: torch.dtype, sums: bool = False) -> int:
    """The address of the compiled program, or of its pass that `sums`: compiled once per process, 20 to 40 ms."""
    with lock:
        return _kernel(program, dtypes, compute, sums)


def build(name: str, program: Program, dtypes: tuple[torch.dtype, ...], compute: torch.dtype, sums: bool) -> str:
    """LLVM IR of the worker ``name(header)``; see :mod:`dlopt.engine.faces.threads` for the header."""
    from llvmlite import ir

    i64, real = ir.IntType(64), ir.DoubleType() if compute is torch.float64 else ir.FloatType()
    pointer = ir.PointerType()
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
    emit = _Emitter(module, real, dtypes[1])
    for k, slot in enumerate(lowered.slots):
        value = b.load(b.gep(values, [i64(k)], source_etype=ir.DoubleType()), typ=ir.DoubleType())
        emit.values[slot] = value if real == ir.DoubleType() else b.fptrunc(value, real)
    read = _Reader(program, emit, lowered, dtypes)
    if sums:
        same = [dtype is compute and not program.kinds[k] for k, dtype in enumerate(dtypes[: program.streams])]
        summed(b, emit, read, lowered, same)
    else:
        _written(b, emit, read, lowered, dtypes)
    width = 8 * LANES * len(lowered.outputs) if sums else 0
    widths = [256 * _bytes(dtype) for dtype in dtypes[: program.streams]] + [4] * len(program.coded)
    chunk = block_by_block(module, body, widths) if program.coded else body
    threads.worker(module, name, chunk, widths, width)
    return str(module)


class _Reader:
    """Loads an element of every stream: decodes 8 bits, makes random words. Returns the other streams' places."""

    def __init__(self, program: Program, emit: _Emitter, lowered: Lowered, dtypes: tuple[torch.dtype, ...]) -> None:
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
                places[k], kind = _place(b, b.function.args[k], i, dtype)
                emit.values[node] = emit.widen(b, b.load(places[k], typ=kind), dtype)
        return places


def _written(b: Any, emit: _Emitter, read: _Reader, lowered: Lowered, dtypes: tuple[torch.dtype, ...]) -> None:
    """The loop over the elements of a chunk that writes the outputs, and the return."""
    from llvmlite import ir

    body, i64 = b.function, ir.IntType(64)
    count = body.args[len(dtypes)]
    read.prepare(b)
    entry, loop, end = b.block, body.append_basic_block("loop"), body.append_basic_block("end")
    b.cbranch(b.icmp_signed(">", count, i64(0)), loop, end)
    b.position_at_end(loop)
    i = b.phi(i64)
    i.add_incoming(i64(0), entry)
    places = read(b, i)
    results = [emit(b, node) for node in lowered.outputs]
    for k, value in enumerate(results, start=lowered.first):
        if k in read.coded:
            read.coded[k].store(b, i, emit.narrow(b, value, torch.float32))
        else:
            b.store(emit.narrow(b, value, dtypes[k]), places[k])
    following = b.add(i, i64(1))
    i.add_incoming(following, loop)
    b.cbranch(b.icmp_signed("<", following, count), loop, end)
    b.position_at_end(end)
    for state in read.coded.values():
        state.finish(b, count)
    b.ret_void()


class _Emitter:
    """Nodes to instructions. One instruction a node: nodes are shared, so nothing is computed twice."""

    def __init__(self, module: Any, real: Any, storage: torch.dtype) -> None:
        self.module, self.real, self.storage = module, real, storage
        self.values: dict[Node, Any] = {}

    def __call__(self, b: Any, node: Node) -> Any:
        if node not in self.values:
            arguments = [self(b, a) for a in node.args]
            if node.op == "where" and not node.args[0].elementwise:
                arguments[0] = b.fcmp_unordered("!=", arguments[0], self.real(0.0))
            self.values[node] = self.operation(b, node, arguments)
        return self.values[node]

    def operation(self, b: Any, node: Node, x: list[Any]) -> Any:
        zero, one = self.real(0.0), self.real(1.0)
        match node.op:
            case "number":
                return self.real(node.value)
            case "negative":
                return b.fneg(x[0])
            case "+" | "-" | "*" | "/":
                return {"+": b.fadd, "-": b.fsub, "*": b.fmul, "/": b.fdiv}[node.op](*x)
            case "!=":
                return b.fcmp_unordered("!=", *x)
            case "<" | "<=" | ">" | ">=" | "==":
                return b.fcmp_ordered(node.op, *x)
            case "where":
                return b.select(*x)
            case "maximum" | "minimum":
                first = b.fcmp_ordered(">" if node.op == "maximum" else "<", *x)
                return b.select(b.or_(first, b.fcmp_unordered("uno", x[0], x[0])), *x)
            case "sign":
                below = b.select(b.fcmp_ordered("<", x[0], zero), self.real(-1.0), b.fadd(x[0], zero))
                return b.select(b.fcmp_ordered(">", x[0], zero), one, below)
            case "stored":
                return self.widen(b, self.narrow(b, x[0], self.storage), self.storage)
            case "rounded":
                return rounded(b, x[0], x[1], self.storage)
        name = {"abs": "fabs"}.get(node.op, node.op)
        return b.call(self.module.declare_intrinsic(f"llvm.{name}", [self.real]), x)

    def widen(self, b: Any, value: Any, dtype: torch.dtype) -> Any:
        """From memory to the computing type. bfloat16 is the upper half of a float32."""
        from llvmlite import ir

        if dtype is torch.bfloat16:
            bits = b.shl(b.zext(value, ir.IntType(32)), ir.IntType(32)(16))
            value = b.bitcast(bits, ir.FloatType())
        return value if value.type == self.real else b.fpext(value, self.real)

    def narrow(self, b: Any, value: Any, dtype: torch.dtype) -> Any:
        """From the computing type to memory, rounding to nearest even."""
        from llvmlite import ir

        if dtype is not torch.bfloat16:
            target = {torch.float64: ir.DoubleType(), torch.float32: ir.FloatType()}.get(dtype, ir.HalfType())
            return value if value.type == target else b.fptrunc(value, target)
        word, half = ir.IntType(32), ir.IntType(16)
        bits = b.bitcast(value, word)
        odd = b.and_(b.lshr(bits, word(16)), word(1))
        rounded = b.lshr(b.add(b.add(bits, word(0x7FFF)), odd), word(16))
        quiet = b.or_(b.lshr(bits, word(16)), word(0x40))
        return b.trunc(b.select(b.fcmp_unordered("uno", value, value), quiet, rounded), half)


def _bytes(dtype: torch.dtype) -> int:
    return 0 if dtype is torch.int64 else dtype.itemsize


def _place(b: Any, base: Any, i: Any, dtype: torch.dtype) -> tuple[Any, Any]:
    from llvmlite import ir

    kind = {
        torch.float64: ir.DoubleType(), torch.float32: ir.FloatType(),
        torch.bfloat16: ir.IntType(16), torch.float16: ir.HalfType(),
    }[dtype]  # fmt: skip
    return b.gep(base, [i], source_etype=kind), kind
