"""The fused CPU face: a program becomes one machine-code loop, run on torch's own thread pool.

The arithmetic is IEEE 754 with no fast-math flag, so the result is bit-identical to NumPy's wherever
NumPy itself rounds correctly (``+ - * / sqrt``).
"""

from __future__ import annotations

import functools
import threading
from array import array
from typing import TYPE_CHECKING, Any

import torch

from dlopt.engine.faces import threads
from dlopt.engine.faces.fused import mixed, unfit
from dlopt.engine.faces.llvm_eight_bits import Coded, block_by_block
from dlopt.engine.faces.llvm_random import random_key, random_word, rounded
from dlopt.engine.lowering import Node, lower_program
from dlopt.engine.program import Program

if TYPE_CHECKING:
    from dlopt.engine.batch import Batch

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
_lock = threading.Lock()


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
    if torch.float16 in batch.dtypes and not _target().half:
        return "this processor converts no float16"
    return None


def run(batch: Batch) -> None:
    """Apply one step to every tensor of `batch`, in one launch."""
    function = kernel(batch.program, batch.dtypes, batch.compute)
    slots = [float(value) for value in batch.slots]
    memory = batch.memory()
    pointers = array("q", list(map(torch.Tensor.data_ptr, batch.streams[0])))
    pointers.extend(memory.table)
    threads.launch(function, pointers, memory.sizes, slots)
    torch.autograd.graph.increment_version(memory.tensors)


@functools.cache
def _kernel(program: Program, dtypes: tuple[torch.dtype, ...], compute: torch.dtype) -> int:
    name = f"dlopt_{program.rule.name}"
    return _target().compile(name, build(name, program, dtypes, compute))


def kernel(program: Program, dtypes: tuple[torch.dtype, ...], compute: torch.dtype) -> int:
    """The address of the compiled program: compiled once per process, 20 to 40 ms."""
    with _lock:
        return _kernel(program, dtypes, compute)


def build(name: str, program: Program, dtypes: tuple[torch.dtype, ...], compute: torch.dtype) -> str:
    """LLVM IR of the worker ``name(header)``; see :mod:`dlopt.engine.faces.threads` for the header."""
    from llvmlite import ir

    i64, real = ir.IntType(64), ir.DoubleType() if compute is torch.float64 else ir.FloatType()
    pointer = ir.PointerType()
    module, lowered = ir.Module(name), lower_program(program)

    signature = ir.FunctionType(ir.VoidType(), [*[pointer] * len(dtypes), i64, pointer, i64])
    body = ir.Function(module, signature, name + "_chunk")
    *addresses, count, values, start = body.args
    body.linkage = "internal"
    body.attributes.add("noinline")
    for argument in (*addresses, values):
        argument.add_attribute("noalias")
    entry, loop, end = (body.append_basic_block(label) for label in ("entry", "loop", "end"))
    b = ir.IRBuilder(entry)
    emit = _Emitter(module, real, dtypes[1])
    for k, slot in enumerate(lowered.slots):
        value = b.load(b.gep(values, [i64(k)], source_etype=ir.DoubleType()), typ=ir.DoubleType())
        emit.values[slot] = value if real == ir.DoubleType() else b.fptrunc(value, real)
    scales = dict(zip(program.coded, addresses[program.streams :], strict=True))
    coded = {k: Coded(b, kind, addresses[k], scales[k]) for k, kind in program.coded.items()}
    keys = {k: random_key(b, addresses[k]) for k, kind in enumerate(program.kinds) if kind == "random"}
    for state in coded.values():
        state.begin(b, count)
    entry = b.block
    b.cbranch(b.icmp_signed(">", count, i64(0)), loop, end)
    b.position_at_end(loop)
    i = b.phi(i64)
    i.add_incoming(i64(0), entry)
    places = {}
    for k, (node, dtype) in enumerate(zip(lowered.inputs, dtypes, strict=False)):
        if k in keys:
            emit.values[node] = random_word(b, keys[k], b.add(start, i))
        elif k in coded:
            emit.values[node] = emit.widen(b, coded[k].load(b, i), torch.float32)
        else:
            places[k], kind = _place(b, addresses[k], i, dtype)
            emit.values[node] = emit.widen(b, b.load(places[k], typ=kind), dtype)
    results = [emit(b, node) for node in lowered.outputs]
    for k, value in enumerate(results, start=1):
        if k in coded:
            coded[k].store(b, i, emit.narrow(b, value, torch.float32))
        else:
            b.store(emit.narrow(b, value, dtypes[k]), places[k])
    following = b.add(i, i64(1))
    i.add_incoming(following, loop)
    b.cbranch(b.icmp_signed("<", following, count), loop, end)
    b.position_at_end(end)
    for state in coded.values():
        state.finish(b, count)
    b.ret_void()
    widths = [256 * _bytes(dtype) for dtype in dtypes[: program.streams]] + [4] * len(coded)
    threads.worker(module, name, block_by_block(module, body, widths) if coded else body, widths)
    return str(module)


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
                first = b.fcmp_ordered(">=" if node.op == "maximum" else "<=", *x)
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


class _Target:
    """This processor's code generator, and the modules it keeps alive."""

    def __init__(self) -> None:
        import llvmlite.binding as llvm

        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        features = llvm.get_host_cpu_features()
        self.half = bool(features.get("f16c") or features.get("fullfp16"))
        self.machine = llvm.Target.from_default_triple().create_target_machine(
            cpu=llvm.get_host_cpu_name(), features=features.flatten(), opt=3
        )
        self.engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), self.machine)

    def compile(self, name: str, source: str) -> int:
        """The address of the function `name` of the module `source`."""
        import llvmlite.binding as llvm

        module = llvm.parse_assembly(source)
        module.verify()
        options = llvm.create_pipeline_tuning_options(speed_level=3)
        options.loop_vectorization = True
        passes = llvm.create_pass_builder(self.machine, options)
        passes.getModulePassManager().run(module, passes)
        self.engine.add_module(module)
        self.engine.finalize_object()
        return self.engine.get_function_address(name)


_target = functools.cache(_Target)
