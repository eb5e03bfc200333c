"""The pass of a layer-wise rule that sums squares, in LLVM: the order is that of :mod:`dlopt.engine.norms`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dlopt.engine.norms import LANES

if TYPE_CHECKING:
    from dlopt.engine.lowering import Lowered

BLOCK = 1024
"""Elements of a quantity that are computed, in a loop that can be vectorized, before their squares are added up."""


def summed(b: Any, emit: Any, read: Callable[..., Any], lowered: Lowered) -> None:
    """Write the sums of squares of the outputs, lane by lane, to the function's last argument, and return.

    A compiler may not reorder a sum by itself, so the lanes are the elements of a vector.
    """
    from llvmlite import ir

    i64, double = ir.IntType(64), ir.DoubleType()
    lanes, wide = ir.VectorType(emit.real, LANES), ir.VectorType(double, LANES)
    size, out = b.function.args[-4], b.function.args[-1]
    buffers = [b.alloca(emit.real, BLOCK) for _ in lowered.outputs]
    sums = [b.alloca(wide) for _ in lowered.outputs]
    counters = [b.alloca(i64) for _ in range(4)]
    for place in sums:
        b.store(wide(None), place)

    def block(first: Any) -> None:
        left = b.sub(size, first)
        count = b.select(b.icmp_signed("<", left, i64(BLOCK)), left, i64(BLOCK))
        whole = b.and_(b.add(count, i64(LANES - 1)), i64(-LANES))
        kept = dict(emit.values)

        def quantity(i: Any) -> None:
            read(b, b.add(first, i))
            for buffer, node in zip(buffers, lowered.outputs, strict=True):
                b.store(emit(b, node), b.gep(buffer, [i]))

        def nothing(i: Any) -> None:
            for buffer in buffers:
                b.store(emit.real(0.0), b.gep(buffer, [i]))

        def square(i: Any) -> None:
            for buffer, place in zip(buffers, sums, strict=True):
                value = b.load(b.gep(buffer, [i]), align=4, typ=lanes)
                value = value if emit.real == double else b.fpext(value, wide)
                b.store(b.fadd(b.load(place, typ=wide), b.fmul(value, value)), place)

        _loop(b, counters[1], i64(0), count, 1, quantity)
        _loop(b, counters[2], count, whole, 1, nothing)
        _loop(b, counters[3], i64(0), whole, LANES, square)
        emit.values = kept

    _loop(b, counters[0], i64(0), size, BLOCK, block)
    for k, place in enumerate(sums):
        b.store(b.load(place, typ=wide), b.gep(out, [i64(k * LANES)], source_etype=double), align=8)
    b.ret_void()


def _loop(b: Any, counter: Any, start: Any, stop: Any, step: int, body: Callable[[Any], None]) -> None:
    """``for i in range(start, stop, step): body(i)``; `counter` is memory that the compiler makes a register."""
    i64 = start.type
    test, inside, after = (b.function.append_basic_block(name) for name in ("test", "inside", "after"))
    b.store(start, counter)
    b.branch(test)
    b.position_at_end(test)
    b.cbranch(b.icmp_signed("<", b.load(counter, typ=i64), stop), inside, after)
    b.position_at_end(inside)
    body(b.load(counter, typ=i64))
    b.store(b.add(b.load(counter, typ=i64), i64(step)), counter)
    b.branch(test)
    b.position_at_end(after)
