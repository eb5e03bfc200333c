"""The fused GPU face: a program becomes one Triton kernel, one launch for all tensors of a batch.

The kernel is written from the same graph as the CPU's, with ``+ - * / sqrt`` rounded as IEEE 754 says and none
contracted, so that it gives NumPy's bits wherever the CPU does, but for the sign of a maximum or minimum of 0 and -0.
``exp``, ``log``, ``sin`` and ``cos`` are the device's own: float32's last places differ.

Under ``TRITON_INTERPRET=1`` it runs on CPU tensors.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import itertools
import linecache
import os
from array import array
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dlopt.engine import eight_bits
from dlopt.engine.faces.fused import mixed, unfit
from dlopt.engine.faces.triton_eight_bits import maps
from dlopt.engine.faces.triton_text import BLOCK, TYPES, source
from dlopt.engine.lowering import Lowered, lower_norms, lower_program
from dlopt.engine.program import Program

if TYPE_CHECKING:
    from dlopt.engine.batch import Batch, Known

__all__ = ["BLOCK", "CHUNK", "baked", "kernel", "missing", "refuses", "run", "source"]

CHUNK = 16384
"""Elements of a row of the table, which one program of the grid takes."""

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
    return unfit(batch, device, (*TYPES, torch.int64)) or mixed(batch) or missing()


def run(batch: Batch) -> None:
    """Apply one step to every tensor of `batch`, in one launch, or two where norms are taken first."""
    chunks, pointers, aligned = _tables(batch)
    if len(chunks):
        device = contextlib.nullcontext() if INTERPRETED else torch.cuda.device(batch.device)
        with device, np.errstate(all="ignore"):  # the interpreter's arithmetic is NumPy's
            norms = _norms(batch, chunks, pointers, aligned) if batch.program.norms else {}
            _launch(batch, lower_program(batch.program), chunks, pointers, aligned, norms)
    batch.mark_written()


def _launch(
    batch: Batch,
    lowered: Lowered,
    chunks: torch.Tensor,
    pointers: torch.Tensor,
    aligned: bool,
    norms: dict[str, torch.Tensor],
    sums: torch.Tensor | None = None,
) -> None:
    """Run the kernel of a graph, the program's or that of its norms. Scalars are numbers, or come in a table."""
    table = batch.stays or bool(norms)
    call = kernel(batch.program, batch.dtypes, batch.compute, aligned, table, sums is not None)
    numbers = () if table else batch.slots or () if sums is None else lowered.host(**batch.scalars)
    slots: tuple[Any, ...] = (batch.table(lowered, norms),) if table else tuple(map(float, numbers))
    tables = [eight_bits.on(eight_bits.dynamic_map, kind, batch.device) for kind in maps(batch.program)]
    arguments = (chunks, pointers, len(batch.streams[0]), *slots, *(() if sums is None else (sums,)), *tables)
    call[(len(chunks),)](*arguments, num_warps=4, enable_fp_fusion=False)


def _norms(batch: Batch, chunks: torch.Tensor, pointers: torch.Tensor, aligned: bool) -> dict[str, torch.Tensor]:
    """The norms that the rule takes, float64, a value a tensor; they stay on the device."""
    lowered, names = lower_norms(batch.program), batch.program.norm_names
    sums = torch.empty(len(chunks), len(names), dtype=torch.float64, device=batch.device)
    _launch(batch, lowered, chunks, pointers, aligned, {}, sums)
    lengths = batch.memory().on_device.lengths
    roots = torch.segment_reduce(sums, "sum", lengths=lengths, axis=0, unsafe=True).sqrt()
    return dict(zip(names, roots.unbind(1), strict=True))


@functools.cache
def kernel(
    program: Program,
    dtypes: tuple[torch.dtype, ...],
    compute: torch.dtype,
    aligned: bool,
    table: bool = False,
    sums: bool = False,
) -> Any:
    """The program, or its pass that `sums`, as a function for Triton to compile when it is first launched.

    `aligned`: the tensors are, to 16 bytes. `table`: the slots come from :meth:`Batch.table`, not as numbers.
    """
    import triton
    import triton.language as tl

    name = f"dlopt_{program.rule.name}" + "_norms" * sums
    text = source(name, program, dtypes, compute, aligned, table, sums)
    place = f"<{name} {next(_numbers)}>"
    linecache.cache[place] = (len(text), None, text.splitlines(keepends=True), place)
    scope: dict[str, Any] = {"tl": tl, "__name__": __name__}
    exec(compile(text, place, "exec"), scope)
    return triton.jit(scope[name])


_numbers = itertools.count()


def _tables(batch: Batch) -> tuple[torch.Tensor, torch.Tensor, bool]:
    """The chunks and the addresses on the device. What did not change since the last step is not sent again."""
    memory, addresses = batch.memory(), batch.addresses()
    if not INTERPRETED and torch.cuda.is_current_stream_capturing():
        if memory.on_device is None:
            raise RuntimeError("take some steps on a side stream before the step is captured: see torch.cuda.graph")
        return memory.on_device.chunks, baked(addresses.tolist(), batch.device), _aligned(addresses)
    kept = memory.on_device = memory.on_device or _Kept(memory, batch.device)
    if kept.addresses != addresses:
        table = torch.tensor(addresses, dtype=torch.int64)
        kept.pointers = (table.pin_memory() if batch.device.type == "cuda" else table).to(
            batch.device, non_blocking=True
        )
        kept.addresses, kept.aligned = addresses, _aligned(addresses)
    return kept.chunks, kept.pointers, kept.aligned


def _aligned(addresses: array[int]) -> bool:
    return not any(address % 16 for address in addresses)


def baked(addresses: list[int], device: torch.device) -> torch.Tensor:
    """The addresses on the device as a CUDA graph can hold them: as arguments of kernels, not as memory of the host."""
    table = torch.zeros(len(addresses), dtype=torch.int64, device=device)
    torch._foreach_add_(list(table.unbind()), addresses)
    return table


class _Kept:
    """What is on the device already."""

    def __init__(self, memory: Known, device: torch.device) -> None:
        rows = [
            (k, start, min(CHUNK, size - start))
            for k, size in enumerate(memory.sizes)
            for start in range(0, size, CHUNK)
        ]
        self.chunks = torch.tensor(rows, dtype=torch.int64).reshape(-1, 3).to(device)
        self.lengths = torch.tensor([-(-size // CHUNK) for size in memory.sizes], dtype=torch.int64).to(device)
        self.addresses = array("q")
        self.pointers = torch.empty(0, dtype=torch.int64)
        self.aligned = False
