"""Runs a compiled worker over many tensors on the threads torch uses itself.

Every thread calls ``worker(header)``. The header is nine 64-bit words: the next chunk to take, the
number of chunks, the address of the chunk table (row, first element, count), the address of the
pointer table, the number of tensors, the address of the scalar slots, how many chunks a thread takes at
a time, by an atomic counter, until none is left, how many bytes of slots a tensor has to itself (0: all share them),
and where a worker that sums writes its sums. Pointers stand stream by stream: ``pointers[stream * n + row]``.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import threading
from array import array
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import torch

from dlopt.engine.norms import CHUNK

SMALLEST, LARGEST = 32_768, 262_144  # elements a thread takes at a time; fewer than SMALLEST are not shared out
STRIDE = 4096  # chunks begin at multiples of it
_WORKER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_log = logging.getLogger("dlopt")
_forked = False


def _after_fork() -> None:
    global _forked
    _forked = True


os.register_at_fork(after_in_child=_after_fork)


@functools.lru_cache(maxsize=64)
def _chunks(sizes: tuple[int, ...], threads: int, fixed: int) -> tuple[array, int]:
    """The chunk table, and how many threads are worth waking for it."""
    total = sum(sizes)
    chunk = fixed or min(max(total // (8 * threads) // STRIDE * STRIDE, SMALLEST), LARGEST)
    table = array("q")
    for row, size in enumerate(sizes):
        for start in range(0, size, chunk):
            table.extend((row, start, min(chunk, size - start)))
    return table, 1 if total < SMALLEST else min(threads, len(table) // 3)


def launch(
    address: int, pointers: array[int], sizes: tuple[int, ...], slots: array[float], own: int = 0, sums: Any = None
) -> None:
    """Run the worker at `address` over every tensor; returns when all is written.

    `own` is how many slots each tensor has to itself. A worker that sums fills `sums`, an array whose rows belong to
    chunks of :data:`dlopt.engine.norms.CHUNK` elements.
    """
    table, workers = _chunks(sizes, 1 if _forked else torch.get_num_threads(), 0 if sums is None else CHUNK)
    if not table:
        return
    values = slots or array("d", [0.0])
    addresses = table.buffer_info()[0], pointers.buffer_info()[0], len(sizes), values.buffer_info()[0]
    share = max(1, len(table) // (48 * workers))
    header = array("q", (0, len(table) // 3, *addresses, share, 8 * own, 0 if sums is None else sums.ctypes.data))
    start = header.buffer_info()[0]
    if workers == 1:
        _callable(address)(start)
    else:
        _parallel()(address, start, workers)


@functools.cache
def _callable(address: int) -> Any:
    return _WORKER(address)


@functools.cache
def _parallel() -> Callable[[int, int, int], None]:
    """``parallel(worker, header, threads)``: torch's OpenMP pool, or plain threads where there is none."""
    openmp = _openmp()
    if openmp is None:
        _log.warning("dlopt: torch's OpenMP library was not found; the fused CPU face runs on Python threads")
        return _python_threads
    run = openmp.GOMP_parallel
    run.argtypes, run.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint], None
    return lambda worker, header, threads: run(worker, header, threads, 0)


def _openmp() -> Any:
    """The OpenMP library that torch has loaded: a symbol of the process, or a library beside torch's."""
    folder = os.path.join(os.path.dirname(torch.__file__), "lib")
    names = sorted(name for name in os.listdir(folder) if "omp" in name) if os.path.isdir(folder) else []
    for path in [None, *(os.path.join(folder, name) for name in names)]:
        try:
            library = ctypes.CDLL(path)
        except OSError:
            continue
        if hasattr(library, "GOMP_parallel"):
            return library
    return None


_pool_lock = threading.Lock()
_pools: dict[int, ThreadPoolExecutor] = {}


def _python_threads(worker: int, header: int, threads: int) -> None:
    with _pool_lock:
        pool = _pools.setdefault(threads, ThreadPoolExecutor(threads, thread_name_prefix="dlopt"))
        jobs = [pool.submit(_callable(worker), header) for _ in range(threads)]
    wait(jobs)
    for job in jobs:
        job.result()


def worker(module: Any, name: str, chunk: Any, widths: list[int], sums: int) -> None:
    """Add to `module` the function ``name(header)`` that takes chunks and calls `chunk` on each.

    `widths` are the bytes that 256 elements take in each stream, 0 in one that every chunk sees from its beginning;
    `sums` is how many bytes of sums a chunk makes. ``chunk(*addresses, elements, slots, first element)`` does the
    work, and is given the place of its sums, if any, too.
    """
    from llvmlite import ir

    i64, pointer = ir.IntType(64), ir.PointerType()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [pointer]), name)
    entry, take, some, work, end = map(function.append_basic_block, ("entry", "take", "some", "work", "end"))
    b = ir.IRBuilder(entry)

    def word(base: Any, index: Any) -> Any:
        return b.load(b.gep(base, [index], source_etype=i64), typ=i64)

    header = function.args[0]
    count, chunks, pointers, rows, values, share, own, out = (word(header, i64(k)) for k in range(1, 9))
    chunks, pointers = (b.inttoptr(x, pointer) for x in (chunks, pointers))
    b.branch(take)
    b.position_at_end(take)
    first = b.atomic_rmw("add", header, share, "monotonic")
    b.cbranch(b.icmp_signed("<", first, count), some, end)
    b.position_at_end(some)
    beyond = b.add(first, share)
    last = b.select(b.icmp_signed("<", beyond, count), beyond, count)
    b.branch(work)
    b.position_at_end(work)
    index = b.phi(i64)
    index.add_incoming(first, some)
    row, start, size = (word(chunks, b.add(b.mul(index, i64(3)), i64(k))) for k in range(3))
    arguments = []
    for stream, width in enumerate(widths):
        base = word(pointers, b.add(b.mul(rows, i64(stream)), row))
        offset = b.lshr(b.mul(start, i64(width)), i64(8))
        arguments.append(b.inttoptr(b.add(base, offset), pointer))
    arguments += [size, b.inttoptr(b.add(values, b.mul(row, own)), pointer), start]
    if sums:
        arguments.append(b.inttoptr(b.add(out, b.mul(index, i64(sums))), pointer))
    b.call(chunk, arguments)
    following = b.add(index, i64(1))
    index.add_incoming(following, work)
    b.cbranch(b.icmp_signed("<", following, last), work, take)
    b.position_at_end(end)
    b.ret_void()
