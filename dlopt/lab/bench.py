"""How fast: ``python -m dlopt.lab.bench`` times our optimizers beside torch's and writes the ratios down.

Always a ratio, both sides in one run and taking turns, medians, threads fixed. Nothing else should be
running.
"""

import argparse
import datetime
import functools
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

import dlopt
from dlopt.lab import bench_gpu
from dlopt.lab.bench_cases import CASES, Case, Factory

__all__ = [
    "CASES",
    "Case",
    "Row",
    "compare",
    "fresh_processes",
    "in_fresh_interpreter",
    "machine",
    "main",
    "table",
]


@dataclass(frozen=True)
class Row:
    """One measured line. Where `ratio` is None, `bar` is in milliseconds.

    Attributes:
        what: the line's name.
        ours_ms, theirs_ms: median milliseconds.
        ratio: ours over theirs, or the share that was measured; per byte moved where the case says so.
        bar: the largest ratio (or time in ms) that is good enough.
        ok: whether it is; None if there is no bar, or it could not be measured on this machine.
        bound: the ratio of a step that does only what ours cannot do without; None where none was timed.
    """

    what: str
    ours_ms: float | None
    theirs_ms: float | None
    ratio: float | None
    bar: float | None
    ok: bool | None
    bound: float | None = None


def compare(case: Case, rounds: int = 15, warmup: int = 3) -> Row:
    """Time whole `step()` calls of both optimizers, and of the bound, taking turns, each on tensors of its own.

    Where in memory a copy lies is worth some per cent, so for half the turns ours is made first, for half theirs.

    Args:
        case: what to compare.
        rounds: turns each, rounded up to even; the medians are compared.
        warmup: untimed steps each.

    Returns:
        A :class:`Row`.

    Raises:
        ValueError: `rounds` below 1.
        RuntimeError: from an optimizer whose fused kernel is not to be had here.

    Example:
        >>> from functools import partial
        >>> sgd = partial(torch.optim.SGD, lr=0.1)
        >>> row = compare(Case("SGD with itself", sgd, sgd, [(1000,)], bar=100.0), rounds=3)
        >>> row.ok, row.ratio > 0
        (True, True)
    """
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, got {rounds}")
    sides = [case.ours, case.theirs, *([case.bound] if case.bound else [])]
    places = range(len(sides))
    times: list[list[float]] = [[] for _ in sides]
    for order in (places, [*places[1:], 0]):
        made = {side: _prepared(sides[side], case) for side in order}
        for optimizer in made.values():
            for _ in range(warmup):
                optimizer.step()
        # enough steps a turn to be well above the clock's noise, the same number for all
        inner = max(1, round(0.005 / max(_seconds(made[1], 1), 1e-6)))
        for turn in range((rounds + 1) // 2):
            first = (turn + 1) % len(sides)
            for side in (*places[first:], *places[:first]):
                times[side].append(_seconds(made[side], inner))
    ours, theirs, *least = (1000 * statistics.median(side) for side in times)
    scale = 1.0 if case.bytes is None else case.bytes[1] / case.bytes[0]
    ratio, bound = scale * ours / theirs, scale * least[0] / theirs if least else None
    return Row(case.what, ours, theirs, ratio, case.bar, None if case.bar is None else ratio <= case.bar, bound)


def _prepared(factory: Factory, case: Case) -> torch.optim.Optimizer:
    normal = torch.randn(2**20, generator=torch.Generator().manual_seed(0)).to(case.dtype)
    backwards = normal.flip(0)
    parameters = [_filled(shape, normal).requires_grad_() for shape in case.shapes]
    for parameter in parameters:
        parameter.grad = _filled(parameter.shape, backwards)
    return factory(parameters)


def _filled(shape: Sequence[int], numbers: torch.Tensor) -> torch.Tensor:
    """A new tensor with the numbers over and over: to draw as many would take longer than to time them."""
    size = torch.Size(shape).numel()
    whole, rest = divmod(size, len(numbers))
    return torch.cat([*[numbers] * whole, numbers[:rest]]).reshape(shape)


def _seconds(optimizer: torch.optim.Optimizer, steps: int) -> float:
    started = time.perf_counter()
    for _ in range(steps):
        optimizer.step()
    return (time.perf_counter() - started) / steps


# The first step of any optimizer makes torch import its compiler, 1.3 s: torch's own, so done first.
_FIRST_STEP = """
import time, torch
torch.set_num_threads({threads})
parameter = torch.ones(1000, requires_grad=True)
parameter.grad = torch.ones(1000)
torch.optim.Adam([parameter]).step()
started = time.perf_counter()
import {module}
{module}.SGD([parameter], lr=1e-3, momentum=0.9, fused=True).step()
print(1000 * (time.perf_counter() - started))
"""

_IMPORT = """
import time, torch
started = time.perf_counter()
import dlopt
print(1000 * (time.perf_counter() - started))
"""

# VmHWM, the process's largest memory so far, is set back by writing 5 to clear_refs (Linux only).
_MEMORY = """
import torch, dlopt
torch.set_num_threads({threads})
parameter = torch.ones(25_000_000, requires_grad=True)
parameter.grad = torch.ones(25_000_000)
optimizer = dlopt.SGD([parameter], lr=1e-3, momentum=0.9, fused=True)
optimizer.step()
def status(key):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))
open("/proc/self/clear_refs", "w").write("5")
before = status("VmRSS")
optimizer.step()
print((status("VmHWM") - before) / (25_000_000 * 4 / 1024))
"""


def in_fresh_interpreter(program: str, times: int = 1) -> float:
    """The median of the numbers that a Python program prints, each run in an interpreter of its own.

    They keep byte code, as Python does unless it is told not to: only the first has to compile the modules.

    Raises:
        subprocess.CalledProcessError: the program failed.

    Example:
        >>> in_fresh_interpreter("print(1 + 1)")
        2.0
    """
    command = [sys.executable, "-c", program]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    run = functools.partial(subprocess.run, capture_output=True, text=True, check=True, env=environment)
    return statistics.median(float(run(command).stdout) for _ in range(times))


def fresh_processes(times: int = 5) -> list[Row]:
    """What has to be measured in interpreters of its own: first step, import, peak memory of a step.

    Args:
        times: how many interpreters for each; medians are reported.

    Raises:
        subprocess.CalledProcessError: an interpreter failed.
    """
    threads = torch.get_num_threads()
    ours, theirs = (
        in_fresh_interpreter(_FIRST_STEP.format(module=module, threads=threads), times)
        for module in ("dlopt", "torch.optim")
    )
    rows = [Row("first fused SGD step, imports included", ours, theirs, None, 300.0, ours <= 300)]
    imported = in_fresh_interpreter(_IMPORT, times)
    rows.append(Row("import dlopt after torch", imported, None, None, 150.0, imported <= 150))
    share = None
    if os.access("/proc/self/clear_refs", os.W_OK):
        share = in_fresh_interpreter(_MEMORY.format(threads=threads), times)
    ok = None if share is None else share < 0.01
    return [*rows, Row("extra memory of a fused step, share of parameters", None, None, share, 0.01, ok)]


def machine() -> dict[str, Any]:
    """What the figures depend on: processor, cores, threads, versions, date (UTC).

    Example:
        >>> sorted(machine())
        ['cores', 'cpu', 'date', 'dlopt', 'python', 'system', 'threads', 'torch']
    """
    cpu = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), cpu)
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "dlopt": dlopt.__version__,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def table(rows: Sequence[Row]) -> str:
    """The rows as aligned text.

    Example:
        >>> print(table([Row("a step", 1.0, 2.0, 0.5, 1.1, True)]))
        what          ours ms  theirs ms   ratio     bar   bound  ok
        a step          1.000      2.000   0.500     1.1          yes
    """
    width = max(10, *(len(row.what) for row in rows))
    lines = [f"{'what':<{width}}  {'ours ms':>9}  {'theirs ms':>9}  {'ratio':>6}  {'bar':>6}  {'bound':>6}  ok"]
    for row in rows:
        cells = ["" if v is None else f"{v:.3f}" for v in (row.ours_ms, row.theirs_ms, row.ratio, row.bound)]
        ok = "no bar" if row.bar is None else {True: "yes", False: "NO", None: "not measured"}[row.ok]
        if row.ok is False and row.bar and row.ratio and row.bound and row.bar < row.bound <= row.ratio:
            ok = "NO: out of reach"
        bar = "" if row.bar is None else f"{row.bar:g}"
        ours, theirs, ratio, bound = cells
        lines.append(f"{row.what:<{width}}  {ours:>9}  {theirs:>9}  {ratio:>6}  {bar:>6}  {bound:>6}  {ok}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Time everything, print the table, write the record; returns 1 if ``--strict`` and a bar was missed, else 0.

    With ``--device cuda`` what :mod:`dlopt.lab.bench_gpu` measures; 2 if there is no GPU.
    """
    parser = argparse.ArgumentParser(prog="python -m dlopt.lab.bench", description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="torch's threads")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each side")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a bar was missed")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where the tensors are")
    parser.add_argument("--output", type=Path, help="the record: _build/bench.json, of a GPU book/adaptive/gpu.json")
    parser.add_argument("--fused", type=Path, help="where to write what the book plots of torch's fused kernels")
    parser.add_argument("--peers", type=Path, help="where to write what the book plots of other libraries")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    about = machine()
    if options.device == "cuda":
        return bench_gpu.main(about, options.output or Path("book/adaptive/gpu.json"), options.rounds)
    options.output = options.output or Path("_build/bench.json")
    print("\n".join(f"{name:<8} {value}" for name, value in about.items()), end="\n\n")
    rows = [compare(case, options.rounds) for case in CASES] + fresh_processes()
    print(table(rows), end="\n\n")
    if options.fused:
        lines = ",\n  ".join(json.dumps(asdict(row)) for row in rows)
        options.fused.parent.mkdir(parents=True, exist_ok=True)
        options.fused.write_text(f'{{"machine": {json.dumps(about)},\n "rows": [\n  {lines}]}}\n')
    from dlopt.lab import bench_peers  # which imports this module

    peers = bench_peers.study()
    print(bench_peers.table(peers))
    if options.peers:
        bench_peers.write(peers, options.peers)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    record = {"machine": about, "rows": [asdict(row) for row in rows], "peers": peers}
    options.output.write_text(json.dumps(record, indent=1) + "\n")
    return int(options.strict and any(row.ok is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
