"""8-bit state in the compiled loop: the functions of :mod:`dlopt.engine.eight_bits`, bit for bit, block by block.

A block's new state stands in 1 KB of the stack until its largest magnitude is known, and nowhere else.
"""

from __future__ import annotations

from typing import Any

from dlopt.engine.eight_bits import BELOW_TWO, BLOCK, NINTH, dynamic_map, levels


class Coded:
    """One state of a block: loaded as numbers, stored into a buffer, encoded from there when the block is done."""

    def __init__(self, b: Any, kind: str, address: Any, scale: Any) -> None:
        from llvmlite import ir

        self.ir, self.address, self.scale = ir, address, scale
        self.real, self.word, self.byte, self.i64 = ir.FloatType(), ir.IntType(32), ir.IntType(8), ir.IntType(64)
        self.signed, self.levels = kind == "signed", levels(kind).astype(float)
        self.map = self._table(b, f"map_{kind}", dynamic_map(kind).tolist())
        self.buffer, self.largest = b.alloca(self.real, size=BLOCK), b.alloca(self.word)

    def _table(self, b: Any, name: str, values: list[float]) -> Any:
        table = b.module.globals.get(name)
        if table is None:
            table = self.ir.GlobalVariable(b.module, self.ir.ArrayType(self.real, len(values)), name)
            table.initializer = self.ir.Constant(table.value_type, [self.real(value) for value in values])
            table.global_constant, table.linkage = True, "internal"
        return table

    def begin(self, b: Any, count: Any) -> None:
        """Before the loop over a block: decode it into the buffer."""
        old = b.load(self.scale, typ=self.real)
        b.store(self.word(0), self.largest)

        def element(i: Any) -> None:
            code = b.load(b.gep(self.address, [i], source_etype=self.byte), typ=self.byte)
            number = b.load(b.gep(self.map, [self.i64(0), b.zext(code, self.i64)]))
            b.store(b.fmul(number, old), b.gep(self.buffer, [i]))

        self._each(b, count, element)

    def _each(self, b: Any, count: Any, element: Any) -> None:
        """A loop over the elements of a block, of which there is one at least."""
        before, loop, end = b.block, b.append_basic_block("each"), b.append_basic_block("done")
        b.branch(loop)
        b.position_at_end(loop)
        i = b.phi(self.i64)
        i.add_incoming(self.i64(0), before)
        element(i)
        following = b.add(i, self.i64(1))
        i.add_incoming(following, loop)
        b.cbranch(b.icmp_signed("<", following, count), loop, end)
        b.position_at_end(end)

    def load(self, b: Any, i: Any) -> Any:
        """The number that element `i` stands for."""
        return b.load(b.gep(self.buffer, [i]))

    def _code(self, b: Any, share: Any) -> Any:
        word, real = self.word, self.real
        size = b.bitcast(b.and_(b.bitcast(share, word), word(2**31 - 1)), real)
        level, factor = word(0), real(0.0)
        for begin, value in self.levels.T[1:]:
            reached = b.fcmp_ordered(">=", size, real(begin))
            level, factor = b.add(level, b.zext(reached, word)), b.select(reached, real(value), factor)
        place = b.fadd(b.fmul(size, factor), real(float(NINTH)))
        place = b.select(b.fcmp_ordered(">", place, real(1.0)), place, real(1.0))
        place = b.select(b.fcmp_ordered("<", place, real(float(BELOW_TWO))), place, real(float(BELOW_TWO)))
        digits = b.or_(b.and_(b.bitcast(place, word), word(2**23 - 1)), word(2**23))
        rank = b.lshr(digits, b.sub(word(23 + self.signed), level))
        if not self.signed:
            return b.sub(rank, word(1))
        small = b.select(b.icmp_signed("<", rank, word(127)), rank, word(127))
        return b.add(word(127), b.select(b.fcmp_ordered("<", share, real(0.0)), b.neg(small), rank))

    def store(self, b: Any, i: Any, value: Any) -> None:
        """Keep the new number of element `i`. The bits of magnitudes order as they do, NaN above infinity."""
        b.store(value, b.gep(self.buffer, [i]))
        size, largest = b.and_(b.bitcast(value, self.word), self.word(2**31 - 1)), b.load(self.largest)
        b.store(b.select(b.icmp_unsigned(">", size, largest), size, largest), self.largest)

    def finish(self, b: Any, count: Any) -> None:
        """After the loop over a block: store its largest magnitude, then the codes."""
        real = self.real
        absmax = b.bitcast(b.load(self.largest), real)
        b.store(absmax, self.scale)
        divisor = b.select(b.fcmp_ordered(">", absmax, real(0.0)), absmax, real(1.0))
        finite = b.fcmp_ordered("<", absmax, real(float("inf")))

        def element(i: Any) -> None:
            share = b.select(finite, b.fdiv(b.load(b.gep(self.buffer, [i])), divisor), real(1.0))
            b.store(b.trunc(self._code(b, share), self.byte), b.gep(self.address, [i], source_etype=self.byte))

        self._each(b, count, element)


def block_by_block(module: Any, body: Any, widths: list[int]) -> Any:
    """A function with the arguments of `body` that calls it on one block after another; see ``threads.worker``."""
    from llvmlite import ir

    i64, pointer = ir.IntType(64), ir.PointerType()
    function = ir.Function(module, body.function_type, body.name + "_blocks")
    function.linkage = "internal"
    *addresses, count, values, start = function.args
    entry, loop, end = map(function.append_basic_block, ("entry", "loop", "end"))
    b = ir.IRBuilder(entry)
    b.branch(loop)
    b.position_at_end(loop)
    first = b.phi(i64)
    first.add_incoming(i64(0), entry)
    left = b.sub(count, first)
    size = b.select(b.icmp_signed("<", left, i64(BLOCK)), left, i64(BLOCK))
    here = []
    for address, width in zip(addresses, widths, strict=True):
        offset = b.lshr(b.mul(first, i64(width)), i64(8))
        here.append(b.inttoptr(b.add(b.ptrtoint(address, i64), offset), pointer))
    b.call(body, [*here, size, values, b.add(start, first)])
    following = b.add(first, i64(BLOCK))
    first.add_incoming(following, loop)
    b.cbranch(b.icmp_signed("<", following, count), loop, end)
    b.position_at_end(end)
    b.ret_void()
    return function
