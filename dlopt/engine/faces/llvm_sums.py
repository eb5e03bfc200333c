"""The pass of a layer-wise rule that sums squares, in LLVM: the order is that of :mod:`dlopt.engine.norms`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from dlopt.engine.norms import LANES

if TYPE_CHECKING:
    from dlopt.engine.lowering import Lowered

BLOCK, ALIGNED = 1024, 64
"""Elements of a quantity that are computed, in a loop that can be vectorized, before their squares are added up;
and the alignment of their buffer in bytes.

A stream that is itself a quantity, as the parameter is, is read where it stands; only what is left over at the end of a
chunk, less than a vector, goes through the buffer.
"""


def summed(b: Any, emit: Any, read: Callable[..., Any], lowered: Lowered, stored: Sequence[bool]) -> None:
    """Write the sums of squares of the outputs, lane by lane, to the function's last argument, and return.

    A compiler may not reorder a sum by itself, so the lanes are the elements of a vector. `stored` says which streams
    are in memory what they are in arithmetic.
    """
    from llvmlite import ir

    i64, double = ir.IntType(64), ir.DoubleType()
    lanes, wide = ir.VectorType(emit.real, LANES), ir.VectorType(double, LANES)
    size, out = b.function.args[-4], b.function.args[-1]
    places = {node: k for k, (node, same) in enumerate(zip(lowered.inputs, stored, strict=False)) if same}
    direct = {k: b.function.args[places[node]] for k, node in enumerate(lowered.outputs) if node in places}
    computed = [k for k in range(len(lowered.outputs)) if k not in direct]
    buffers = [b.alloca(emit.real, BLOCK) for _ in lowered.outputs]
    sums = [b.alloca(wide) for _ in lowered.outputs]
    counters = [b.alloca(i64) for _ in range(6)]
    for buffer in buffers:
        buffer.align = ALIGNED
    for place in sums:
        b.store(wide(None), place)

    def block(first: Any) -> None:
        left = b.sub(size, first)
        count = b.select(b.icmp_signed("<", left, i64(BLOCK)), left, i64(BLOCK))
        full, whole = b.and_(count, i64(-LANES)), b.and_(b.add(count, i64(LANES - 1)), i64(-LANES))
        kept = emit.values

        def quantity(i: Any, which: Iterable[int]) -> None:
            emit.values = dict(kept)
            read(b, b.add(first, i))
            for k in which:
                b.store(emit(b, lowered.outputs[k]), b.gep(buffers[k], [i]))
            emit.values = kept

        def nothing(i: Any) -> None:
            for buffer in buffers:
                b.store(emit.real(0.0), b.gep(buffer, [i]))

        def square(i: Any, whence: dict[int, Any]) -> None:
            for k, place in enumerate(sums):
                if k in whence:
                    at = b.gep(whence[k], [b.add(first, i)], source_etype=emit.real)
                    value = b.load(at, align=8 if emit.real == double else 4, typ=lanes)
                else:
                    value = b.load(b.gep(buffers[k], [i]), align=ALIGNED, typ=lanes)
                value = value if emit.real == double else b.fpext(value, wide)
                b.store(b.fadd(b.load(place, typ=wide), b.fmul(value, value)), place)

        if computed:
            _loop(b, counters[1], i64(0), count, 1, lambda i: quantity(i, computed))
        _loop(b, counters[2], full, count, 1, lambda i: quantity(i, direct))
        _loop(b, counters[3], count, whole, 1, nothing)
        _loop(b, counters[4], i64(0), full, LANES, lambda i: square(i, direct))
        _loop(b, counters[5], full, whole, LANES, lambda i: square(i, {}))

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
