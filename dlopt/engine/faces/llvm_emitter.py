"""A program's graph as LLVM's instructions, for one element or for several side by side."""

from __future__ import annotations

from typing import Any

import torch

from dlopt.engine.faces.llvm_random import rounded
from dlopt.engine.lowering import Node


def in_memory(dtype: torch.dtype) -> Any:
    """The type of one number; bfloat16 is an integer, the upper half of a float32."""
    from llvmlite import ir

    floats = {torch.float64: ir.DoubleType(), torch.float32: ir.FloatType(), torch.float16: ir.HalfType()}
    return floats.get(dtype, ir.IntType(16))


class Emitter:
    """Nodes to instructions. One instruction a node: nodes are shared, so nothing is computed twice.

    With more than one of `lanes`, each value is a vector of as many elements.
    """

    def __init__(self, module: Any, compute: torch.dtype, storage: torch.dtype, lanes: int = 1) -> None:
        self.module, self.compute, self.storage, self.lanes = module, compute, storage, lanes
        self.real = self.type(compute)
        self.values: dict[Node, Any] = {}

    def side_by_side(self, b: Any, lanes: int) -> Emitter:
        """The same for `lanes` elements at once. What has a value already has it in every lane."""
        from llvmlite import ir

        other = Emitter(self.module, self.compute, self.storage, lanes)
        nothing, first = ir.Constant(other.real, ir.Undefined), ir.VectorType(ir.IntType(32), lanes)(None)
        for node, value in self.values.items():
            other.values[node] = b.shuffle_vector(b.insert_element(nothing, value, ir.IntType(32)(0)), nothing, first)
        return other

    def type(self, dtype: torch.dtype) -> Any:
        """Of what is loaded and stored."""
        return self._of(in_memory(dtype))

    def _of(self, kind: Any) -> Any:
        from llvmlite import ir

        return kind if self.lanes == 1 else ir.VectorType(kind, self.lanes)

    def _number(self, kind: Any, value: float) -> Any:
        from llvmlite import ir

        return kind(value) if self.lanes == 1 else ir.Constant(kind, [value] * self.lanes)

    def load(self, b: Any, place: Any, dtype: torch.dtype) -> Any:
        """What stands at `place`, in the computing type."""
        return self.widen(b, b.load(place, typ=self.type(dtype), align=dtype.itemsize), dtype)

    def store(self, b: Any, value: Any, place: Any, dtype: torch.dtype) -> None:
        """Write `value` to `place`, rounding to nearest even."""
        b.store(self.narrow(b, value, dtype), place, align=dtype.itemsize)

    def __call__(self, b: Any, node: Node) -> Any:
        if node not in self.values:
            arguments = [self(b, a) for a in node.args]
            if node.op == "where" and not node.args[0].elementwise:
                arguments[0] = b.fcmp_unordered("!=", arguments[0], self._number(self.real, 0.0))
            self.values[node] = self.operation(b, node, arguments)
        return self.values[node]

    def operation(self, b: Any, node: Node, x: list[Any]) -> Any:
        zero, one = self._number(self.real, 0.0), self._number(self.real, 1.0)
        match node.op:
            case "number":
                return self._number(self.real, node.value)
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
                below = b.select(b.fcmp_ordered("<", x[0], zero), self._number(self.real, -1.0), b.fadd(x[0], zero))
                return b.select(b.fcmp_ordered(">", x[0], zero), one, below)
            case "stored":
                return self.widen(b, self.narrow(b, x[0], self.storage), self.storage)
            case "rounded":
                return rounded(b, x[0], x[1], self.storage)
        return b.call(self._intrinsic({"abs": "fabs"}.get(node.op, node.op), len(x)), x)

    def _intrinsic(self, name: str, arguments: int) -> Any:
        from llvmlite import ir

        lanes = f"v{self.lanes}" if self.lanes > 1 else ""
        name = f"llvm.{name}.{lanes}f{8 * self.compute.itemsize}"
        signature = ir.FunctionType(self.real, [self.real] * arguments)
        return self.module.globals.get(name) or ir.Function(self.module, signature, name)

    def widen(self, b: Any, value: Any, dtype: torch.dtype) -> Any:
        """From memory to the computing type."""
        from llvmlite import ir

        if dtype is torch.bfloat16:
            word = self._of(ir.IntType(32))
            value = b.bitcast(b.shl(b.zext(value, word), self._number(word, 16)), self.type(torch.float32))
        return value if value.type == self.real else b.fpext(value, self.real)

    def narrow(self, b: Any, value: Any, dtype: torch.dtype) -> Any:
        """From the computing type to memory, rounding to nearest even."""
        from llvmlite import ir

        if dtype is not torch.bfloat16:
            target = self.type(dtype)
            return value if value.type == target else b.fptrunc(value, target)
        word = self._of(ir.IntType(32))
        sixteen, one, almost, quiet = (self._number(word, n) for n in (16, 1, 0x7FFF, 0x40))
        value = value if self.compute is torch.float32 else b.fptrunc(value, self.type(torch.float32))
        bits = b.bitcast(value, word)
        odd = b.and_(b.lshr(bits, sixteen), one)
        rounded = b.lshr(b.add(b.add(bits, almost), odd), sixteen)
        not_a_number = b.or_(b.lshr(bits, sixteen), quiet)
        return b.trunc(b.select(b.fcmp_unordered("uno", value, value), not_a_number, rounded), self.type(dtype))
