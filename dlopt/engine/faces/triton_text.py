"""The text of a Triton kernel, written from a graph."""

from __future__ import annotations

import torch

from dlopt.engine import eight_bits
from dlopt.engine.faces.triton_eight_bits import decoded, maps, scales, stored
from dlopt.engine.lowering import Lowered, Node, lower_norms, lower_program
from dlopt.engine.program import Program
from dlopt.engine.rounding import MULTIPLIERS, WIDE_MULTIPLIERS

BLOCK = 1024
"""Elements that a program of the grid takes at a time."""
TYPES = {
    torch.float32: "float32", torch.float64: "float64", torch.bfloat16: "bfloat16", torch.float16: "float16",
    torch.uint8: "uint8",
}  # fmt: skip


def source(
    name: str,
    program: Program,
    dtypes: tuple[torch.dtype, ...],
    compute: torch.dtype,
    aligned: bool,
    table: bool,
    sums: bool,
) -> str:
    """The kernel's text: a row of `chunks` is (tensor, first element, elements); `pointers` has a row a stream."""
    lowered = lower_norms(program) if sums else lower_program(program)
    real, count = TYPES[compute], len(lowered.slots)
    slots = ["slots"] if table else [f"slot{k}: tl.{real}" for k in range(count)]
    slots += ["sums"] * sums + [f"map_{kind}" for kind in maps(program)]
    lines = [
        f"def {name}({', '.join(['chunks', 'pointers', 'tensors', *slots])}):",
        "    row = chunks + 3 * tl.program_id(0).to(tl.int64)",
        "    tensor, start, size = tl.load(row), tl.load(row + 1), tl.load(row + 2)",
    ]
    if table:
        lines += [f"    slot{k} = tl.load(slots + {k} * tensors + tensor)" for k in range(count)]
        lines.append(f"    size = tl.where(tl.load(slots + {count} * tensors + tensor) != 0, 0, size)")
    for k, (dtype, kind) in enumerate(zip(dtypes, program.kinds, strict=False)):
        if kind == "random":
            lines += [" " * 4 + line for line in _key(k)]
            continue
        address = f"tl.load(pointers + {k} * tensors + tensor).to(tl.pointer_type(tl.{TYPES[dtype]})) + start"
        lines.append(f"    at{k} = {f'tl.multiple_of({address}, 16)' if aligned else address}")
    lines += [f"    {line}" for line in scales(program)]
    outputs = range(len(lowered.outputs) if sums else 0)
    lines += [f"    sum{k} = tl.zeros({_tile(program)}, tl.float64)" for k in outputs]
    lines.append(f"    for first in range(0, size, {BLOCK}):")
    lines += [f"        {line}" for line in _places(program)]
    lines.append(f"        if first + {BLOCK} <= size:")
    body = _summing if sums else _writing
    lines += body(program, lowered, dtypes, real, "")
    lines.append("        else:")
    lines.append("            inside = offsets < size")
    lines += body(program, lowered, dtypes, real, ", mask=inside")
    place = f"sums + {len(outputs)} * tl.program_id(0).to(tl.int64)"
    lines += [f"    tl.store({place} + {k}, tl.sum(sum{k}))" for k in outputs]
    return "\n".join(lines) + "\n"


def _tile(program: Program) -> str:
    """The shape of what is taken at a time: with 8-bit state, a row a block."""
    return f"[{BLOCK // eight_bits.BLOCK}, {eight_bits.BLOCK}]" if program.coded else f"[{BLOCK}]"


def _places(program: Program) -> list[str]:
    """The places of a tile's elements in a row of the table, and of its blocks if it has any."""
    if not program.coded:
        return [f"offsets = first + tl.arange(0, {BLOCK})"]
    width = eight_bits.BLOCK
    rows = f"rows = first // {width} + tl.arange(0, {BLOCK // width})"
    return [rows, f"offsets = rows[:, None] * {width} + tl.arange(0, {width})[None, :]"]


def _reading(program: Program, lowered: Lowered, dtypes: tuple[torch.dtype, ...], real: str, mask: str) -> Emitter:
    emit = Emitter(lowered, real, TYPES[dtypes[1]], _tile(program))
    for k, node in enumerate(lowered.inputs):
        match program.kinds[k]:
            case None:
                emit.assign(node, emit.widen(f"tl.load(at{k} + offsets{mask})", TYPES[dtypes[k]]))
            case "random":
                emit.assign(node, emit.random(k))
            case kind:
                emit.assign(node, f"{decoded(emit, k, kind, bool(mask))}.to(tl.{real})")
    return emit


def _summing(program: Program, lowered: Lowered, dtypes: tuple[torch.dtype, ...], real: str, mask: str) -> list[str]:
    """Squares are taken and summed in float64, as by every face."""
    emit = _reading(program, lowered, dtypes, real, mask)
    wide = [f"({emit(node)}).to(tl.float64)" for node in lowered.outputs]
    wide = [emit.let(f"tl.where(inside, {value}, 0.0)" if mask else value) for value in wide]
    return [" " * 12 + line for line in [*emit.lines, *(f"sum{k} += {v} * {v}" for k, v in enumerate(wide))]]


def _writing(program: Program, lowered: Lowered, dtypes: tuple[torch.dtype, ...], real: str, mask: str) -> list[str]:
    emit = _reading(program, lowered, dtypes, real, mask)
    results = [emit(node) for node in lowered.outputs]
    stores = []
    for k, value in enumerate(results, start=lowered.first):
        kind = program.kinds[k]
        if kind:
            stores += stored(emit, k, kind, emit.let(emit.narrow(value, "float32")), bool(mask))
        else:
            stores.append(f"tl.store(at{k} + offsets, {emit.narrow(value, TYPES[dtypes[k]])}{mask})")
    return [" " * 12 + line for line in [*emit.lines, *stores]]


def _key(k: int) -> list[str]:
    """The two words made of the counter that stream `k` holds for the tensor."""
    lines = [
        f"key{k} = tl.load(tl.load(pointers + {k} * tensors + tensor).to(tl.pointer_type(tl.int64))).to(tl.uint64)"
    ]
    lines += _mix(f"key{k}", (30, 27, 31), WIDE_MULTIPLIERS)
    return [*lines, f"low{k}, high{k} = key{k}.to(tl.uint32), (key{k} >> 32).to(tl.uint32)"]


def _mix(x: str, shifts: tuple[int, ...], multipliers: tuple[int, int]) -> list[str]:
    lines = [f"{x} = ({x} ^ ({x} >> {s})) * {m}" for s, m in zip(shifts, multipliers, strict=False)]
    return [*lines, f"{x} = {x} ^ ({x} >> {shifts[-1]})"]


class Emitter:
    """Nodes to assignments, one a node: nodes are shared, so nothing is computed twice."""

    def __init__(self, lowered: Lowered, real: str, storage: str, tile: str) -> None:
        self.real, self.storage, self.tile = real, storage, tile
        self.names: dict[Node, str] = {slot: f"slot{k}" for k, slot in enumerate(lowered.slots)}
        self.lines: list[str] = []
        self.count = 0

    def assign(self, node: Node, text: str) -> str:
        self.names[node] = name = self.let(text)
        return name

    def let(self, text: str) -> str:
        self.count += 1
        name = f"v{self.count}"
        self.lines.append(f"{name} = {text}")
        return name

    def widen(self, x: str, dtype: str) -> str:
        """The stored `x` to compute with. bfloat16 by its bits: Triton's interpreter has other subnormal ones."""
        if dtype == "bfloat16":
            x = f"({x}.to(tl.uint16, bitcast=True).to(tl.uint32) << 16).to(tl.float32, bitcast=True)"
        return f"{x}.to(tl.{self.real})"

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

    def random(self, k: int) -> str:
        """The word of each element, of :func:`dlopt.engine.rounding.words`."""
        x = self.let(f"(start + offsets).to(tl.uint32) + low{k}")
        self.lines += _mix(x, (16, 15, 16), MULTIPLIERS)
        self.lines.append(f"{x} = {x} ^ high{k}")
        self.lines += _mix(x, (16, 15, 16), MULTIPLIERS)
        return x

    def rounded(self, x: str, r: str) -> str:
        """`x` rounded at random, as :func:`dlopt.engine.rounding.rounded` does it."""
        drop = {"bfloat16": 16, "float16": 13}.get(self.storage)
        if drop is None:
            return x
        sign = self.let(f"{x}.to(tl.uint32, bitcast=True) & 0x80000000")
        lifted = x
        if self.storage == "float16":
            least = torch.finfo(torch.float16).smallest_normal
            signed = f"({sign} | tl.full({self.tile}, {least}, tl.float32).to(tl.uint32, bitcast=True))"
            lift = self.let(f"tl.where(tl.abs({x}) < {least}, {signed}.to(tl.float32, bitcast=True), 0.0)")
            lifted = self.let(f"{x} + {lift}")
        bits = self.let(f"({lifted}.to(tl.uint32, bitcast=True) + ({r} >> {32 - drop})) & {2**32 - (1 << drop)}")
        if self.storage == "float16":
            bits = self.let(f"({bits}.to(tl.float32, bitcast=True) - {lift}).to(tl.uint32, bitcast=True)")
        near = self.let(f"(({bits} & 0x7FFFFFFF) | {sign}).to(tl.float32, bitcast=True)")
        return f"tl.where({x} != {x}, {x}, {near})"

    def __call__(self, node: Node) -> str:
        if node.op == "number":  # a bare one would be a float32 where two meet
            return self.names.get(node) or self.assign(node, self.full(repr(node.value)))
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
            case "rounded":
                return self.rounded(*x)
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
        return x if x.startswith("v") else f"tl.full({self.tile}, {x}, tl.{self.real})"
