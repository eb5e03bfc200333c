"""8-bit state in the text of a Triton kernel: the functions of :mod:`dlopt.engine.eight_bits`, bit for bit.

A tile has a row a block of 256 elements. The numbers of a state stand in registers, and nowhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlopt.engine.eight_bits import BELOW_TWO, BLOCK, NINTH, levels

if TYPE_CHECKING:
    from dlopt.engine.faces.triton_text import Emitter
    from dlopt.engine.program import Program


def maps(program: Program) -> tuple[str, ...]:
    """The maps that a kernel of `program` is given, each an argument ``map_`` of its name."""
    return tuple(dict.fromkeys(program.coded.values()))


def scales(program: Program) -> list[str]:
    """Before the loop: where the largest magnitudes of a row of the table begin; its first element begins a block."""
    return [
        f"scale{k} = tl.load(pointers + {stream} * tensors + tensor).to(tl.pointer_type(tl.float32)) + start // {BLOCK}"
        for stream, k in enumerate(program.coded, start=program.streams)
    ]


def decoded(emit: Emitter, k: int, kind: str, inside: bool) -> str:
    """The float32 numbers that a tile of stream `k` stands for; not all of it need be `inside` the tensor."""
    of_codes, of_scales = (", mask=inside, other=0", ", mask=rows * 256 < size") if inside else ("", "")
    codes = emit.let(f"tl.load(at{k} + offsets{of_codes}).to(tl.int32)")
    scale = emit.let(f"tl.load(scale{k} + rows{of_scales})")
    return emit.let(f"tl.load(map_{kind} + {codes}) * {scale}[:, None]")


def stored(emit: Emitter, k: int, kind: str, value: str, inside: bool) -> list[str]:
    """What stores the float32 `value` as stream `k`: the codes, and each block's largest magnitude.

    The bits of magnitudes order as they do, NaN above infinity; a largest one that is neither is `finite`.
    """
    size = f"{value}.to(tl.int32, bitcast=True) & 0x7FFFFFFF"
    largest = emit.let(f"tl.max({f'tl.where(inside, {size}, 0)' if inside else size}, axis=1)")
    absmax = emit.let(f"{largest}.to(tl.float32, bitcast=True)")
    divisor = emit.let(f"tl.where({largest} > 0, {absmax}, 1.0)[:, None]")
    quotient = emit.let(f"tl.div_rn({value}, tl.broadcast_to({divisor}, {value}.shape))")
    share = emit.let(f"tl.where(({largest} < 0x7F800000)[:, None], {quotient}, 1.0)")
    of_codes, of_scales = (", mask=inside", ", mask=rows * 256 < size") if inside else ("", "")
    return [
        f"tl.store(at{k} + offsets, {_codes(emit, kind, share)}.to(tl.uint8){of_codes})",
        f"tl.store(scale{k} + rows, {absmax}{of_scales})",
    ]


def _codes(emit: Emitter, kind: str, share: str) -> str:
    """Sizes are compared by their bits, to be sure of the subnormal ones."""
    bits = emit.let(f"{share}.to(tl.int32, bitcast=True) & 0x7FFFFFFF")
    table = levels(kind)[:, 1:]
    level, factor = "0", "0.0"
    for begin, value in zip(table[0].view("int32").tolist(), table[1].tolist(), strict=True):
        reached = emit.let(f"{bits} >= {begin}")
        level = emit.let(f"{level} + {reached}.to(tl.int32)")
        factor = emit.let(f"tl.where({reached}, {value!r}, {factor})")
    place = emit.let(f"{bits}.to(tl.float32, bitcast=True) * {factor} + {float(NINTH)!r}")
    place = emit.let(f"tl.minimum(tl.maximum({place}, 1.0), {float(BELOW_TWO)!r})")
    digits = emit.let(f"({place}.to(tl.int32, bitcast=True) & 0x7FFFFF) | 0x800000")
    rank = emit.let(f"{digits} >> ({23 + (kind == 'signed')} - {level})")
    if kind == "unsigned":
        return emit.let(f"{rank} - 1")
    return emit.let(f"127 + tl.where({share} < 0, -tl.minimum({rank}, 127), {rank})")
