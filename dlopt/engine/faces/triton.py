"""The fused GPU face: a program becomes one Triton kernel, one launch for all tensors of a batch.

The kernel is written from the same graph as the CPU's, with every operation rounded as IEEE 754 says and none
contracted, so that it gives NumPy's bits wherever the CPU does. Under ``TRITON_INTERPRET=1`` it runs on CPU tensors.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import itertools
import linecache
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dlopt.engine.faces.fused import mixed, unfit
from dlopt.engine.lowering import Lowered, Node, lower_program
from dlopt.engine.program import Program

if TYPE_CHECKING:
    from dlopt.engine.batch import Batch, Known

CHUNK, BLOCK = 16384, 1024
"""Elements of a row of the table, which one program of the grid takes, and elements that it takes at a time."""
TYPES = {torch.float32: "float32", torch.float64: "float64", torch.bfloat16: "bfloat16", torch.float16: "float16"}

os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "0")  # or Triton warns at each compilation
INTERPRETED = os.environ.get("TRITON_INTERPRET", "0") == "1"
"""Whether Triton's interpreter stands in for a GPU."""


@functools.cache
def missing() -> str | None:
    """Why the face cannot run on this machine; None if it can."""
    if importlib.util.find_spec("triton") is None:  # not imported: that takes memory where there is no GPU
        return "Triton is not installed: pip install 'dlopt[gpu]'"
    return None if INTERPRETED or torch.cuda.is_available() else "there is no GPU"


def refuses(batch: Batch) -> str | None:
    """Why this face cannot take `batch`; None if it can."""
    device = "cpu" if INTERPRETED else "cuda"
    return unfit(batch, device, tuple(TYPES)) or mixed(batch) or missing()


def run(batch: Batch) -> None:
    """Apply one step to every tensor of `batch`, in one launch."""
    chunks, pointers, aligned = _tables(batch)
    if len(chunks):
        call = kernel(batch.program, batch.dtypes, batch.compute, aligned)
        tensors = len(batch.streams[0])
        device = contextlib.nullcontext() if INTERPRETED else torch.cuda.device(batch.device)
        with device, np.errstate(all="ignore"):  # the interpreter's arithmetic is NumPy's
            call[(len(chunks),)](
                chunks, pointers, tensors, *map(float, batch.slots), num_warps=4, enable_fp_fusion=False
            )
    torch.autograd.graph.increment_version(batch.memory().tensors)


@functools.cache
def kernel(program: Program, dtypes: tuple[torch.dtype, ...], compute: torch.dtype, aligned: bool) -> Any:
    """The program as a function for Triton to compile when it is first launched; `aligned`: to 16 bytes."""
    import triton
    import triton.language as tl

    name = f"dlopt_{program.rule.name}"
    text = source(name, lower_program(program), dtypes, compute, aligned)
    place = f"<{name} {next(_numbers)}>"
    linecache.cache[place] = (len(text), None, text.splitlines(keepends=True), place)
    scope: dict[str, Any] = {"tl": tl, "__name__": __name__}
    exec(compile(text, place, "exec"), scope)
    return triton.jit(scope[name])


_numbers = itertools.count()


def source(name: str, lowered: Lowered, dtypes: tuple[torch.dtype, ...], compute: torch.dtype, aligned: bool) -> str:
    """The kernel's text: a row of `chunks` is (tensor, first element, elements); `pointers` has a row a stream."""
    real = TYPES[compute]
    slots = [f"slot{k}: tl.{real}" for k in range(len(lowered.slots))]
    lines = [
        f"def {name}({', '.join(['chunks', 'pointers', 'tensors', *slots])}):",
        "    row = chunks + 3 * tl.program_id(0).to(tl.int64)",
        "    tensor, start, size = tl.load(row), tl.load(row + 1), tl.load(row + 2)",
    ]
    for k, dtype in enumerate(dtypes):
        address = f"tl.load(pointers + {k} * tensors + tensor).to(tl.pointer_type(tl.{TYPES[dtype]})) + start"
        lines.append(f"    at{k} = {f'tl.multiple_of({address}, 16)' if aligned else address}")
    lines.append(f"    for first in range(0, size, {BLOCK}):")
    lines.append(f"        offsets = first + tl.arange(0, {BLOCK})")
    lines.append(f"        if first + {BLOCK} <= size:")
    lines += _body(lowered, dtypes, real, "")
    lines.append("        else:")
    lines.append("            inside = offsets < size")
    lines += _body(lowered, dtypes, real, ", mask=inside")
    return "\n".join(lines) + "\n"


def _body(lowered: Lowered, dtypes: tuple[torch.dtype, ...], real: str, mask: str) -> list[str]:
    emit = _Emitter(lowered, real, TYPES[dtypes[1]])
    for k, node in enumerate(lowered.inputs):
        emit.assign(node, f"tl.load(at{k} + offsets{mask}).to(tl.{real})")
    results = [emit(node) for node in lowered.outputs]
    stored = [emit.narrow(value, TYPES[dtype]) for value, dtype in zip(results, dtypes[1:], strict=True)]
    stores = [f"tl.store(at{k} + offsets, {value}{mask})" for k, value in enumerate(stored, start=1)]
    return [" " * 12 + line for line in [*emit.lines, *stores]]


class _Emitter:
    """Nodes to assignments, one a node: nodes are shared, so nothing is computed twice."""

    def __init__(self, lowered: Lowered, real: str, storage: str) -> None:
        self.real, self.storage = real, storage
        self.names: dict[Node, str] = {slot: f"slot{k}" for k, slot in enumerate(lowered.slots)}
        self.lines: list[str] = []

    def assign(self, node: Node, text: str) -> str:
        self.names[node] = name = self.let(text)
        return name

    def let(self, text: str) -> str:
        name = f"v{len(self.lines)}"
        self.lines.append(f"{name} = {text}")
        return name

    def narrow(self, x: str, dtype: str) -> str:
        """`x` as it is stored. bfloat16 by its bits, to nearest even: Triton's interpreter would cut them off."""
        if dtype != "bfloat16":
            return x if dtype == self.real else f"{x}.to(tl.{dtype})"
        return f"({self.upper(x)} >> 16).to(tl.uint16).to(tl.bfloat16, bitcast=True)"

    def upper(self, x: str) -> str:
        """The bits of `x` rounded so that the upper half is the bfloat16; a NaN stays one."""
        bits = self.let(f"{x}.to(tl.uint32, bitcast=True)")
        rounded = self.let(f"{bits} + 0x7FFF + (({bits} >> 16) & 1)")
        return self.let(f"tl.where({x} != {x}, {bits} | 0x400000, {rounded})")

    def __call__(self, node: Node) -> str:
        if node.op == "number":
            return f"({node.value!r})"
        return self.names.get(node) or self.assign(node, self.operation(node, [self(a) for a in node.args]))

    def operation(self, node: Node, x: list[str]) -> str:
        match node.op:
            case "negative":
                return f"-{x[0]}"
            case "/":
                return (
                    f"tl.div_rn({self.full(x[0])}, {self.full(x[1])})" if self.real == "float32" else f"{x[0]} / {x[1]}"
                )
            case "sqrt":
                return f"tl.sqrt_rn({x[0]})" if self.real == "float32" else f"tl.sqrt({x[0]})"
            case "where":
                test = x[0] if node.args[0].elementwise else f"{x[0]} != 0"
                return f"tl.where({test}, {x[1]}, {x[2]})"
            case "maximum" | "minimum":
                return f"tl.{node.op}({x[0]}, {x[1]}, propagate_nan=tl.PropagateNan.ALL)"
            case "sign":
                return f"tl.where({x[0]} > 0, 1.0, tl.where({x[0]} < 0, -1.0, {x[0]} + 0.0))"
            case "stored":
                if self.storage == "bfloat16":
                    return f"({self.upper(x[0])} & 0xFFFF0000).to(tl.float32, bitcast=True)"
                return f"{x[0]}.to(tl.{self.storage}).to(tl.{self.real})"
            case "abs" | "exp" | "log" | "sin" | "cos":
                return f"tl.{node.op}({x[0]})"
            case op:
                return f"{x[0]} {op} {x[1]}"

    def full(self, x: str) -> str:
        """A scalar as a tensor, where Triton wants one."""
        return x if x.startswith("v") else f"tl.full([{BLOCK}], {x}, tl.{self.real})"


def _tables(batch: Batch) -> tuple[torch.Tensor, torch.Tensor, bool]:
    """The chunks and the addresses on the device. What did not change since the last step is not sent again."""
    memory = batch.memory()
    grads = list(map(torch.Tensor.data_ptr, batch.streams[0]))
    kept = memory.on_device = memory.on_device or _Kept(memory, batch.device)
    if kept.grads != grads:
        table = torch.tensor([*grads, *memory.table], dtype=torch.int64)
        kept.pointers = (table.pin_memory() if batch.device.type == "cuda" else table).to(
            batch.device, non_blocking=True
        )
        kept.grads = grads
        kept.aligned = not any(address % 16 for address in [*grads, *memory.table])
    return kept.chunks, kept.pointers, kept.aligned


class _Kept:
    """What is on the device already."""

    def __init__(self, memory: Known, device: torch.device) -> None:
        rows = [
            (k, start, min(CHUNK, size - start))
            for k, size in enumerate(memory.sizes)
            for start in range(0, size, CHUNK)
        ]
        self.chunks = torch.tensor(rows, dtype=torch.int64).reshape(-1, 3).to(device)
        self.grads: list[int] = []
        self.pointers = torch.empty(0, dtype=torch.int64)
        self.aligned = False
