"""How fast on a GPU: ``python -m dlopt.lab.bench --device cuda`` times a step beside torch's and beside a copy.

A step of an optimizer does nothing but move memory, so the measure is the share of the bandwidth that a copy from
the device to itself reaches. CUDA events, after a warm-up, medians, all sides taking turns on the same tensors.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

import dlopt
from dlopt.engine import faces
from dlopt.lab.bench_cases import Factory, bytes_moved

__all__ = ["CASES", "GpuCase", "GpuRow", "agreement", "copy_bandwidth", "main", "measure", "parameters", "table"]

_BLOCK = [(6144, 2048), (6144,), (2048, 2048), (2048,), (8192, 2048), (8192,), (2048, 8192), (2048,), *[(2048,)] * 4]
SHAPES: dict[str, list[tuple[int, ...]]] = {
    "one tensor of 268 M": [(2**28,)],
    "transformer of 1 B": [(50257, 2048), (2048, 2048), *_BLOCK * 18, (2048,), (2048,)],
    "1,000 tensors of 64×64": [(64, 64)] * 1000,
}
"""One large tensor (1 GiB), the parameters of 18 blocks of width 2048 with their embeddings, many small ones."""
RULES: dict[str, tuple[Any, Any, dict[str, float]]] = {
    "AdamW": (dlopt.AdamW, torch.optim.AdamW, {"lr": 1e-4}),
    "SGD": (dlopt.SGD, torch.optim.SGD, {"lr": 1e-4, "momentum": 0.9}),
}
Timer = Callable[[Callable[[], Any], int], tuple[float, float]]
"""(step, how many) → milliseconds a step on the device, and on the host until the call came back."""


@dataclass(frozen=True)
class GpuCase:
    """One line: the same method by us, and by torch fused and foreach, on float32 tensors of `shapes`.

    Attributes:
        what: the line's name.
        sides: name → parameters → optimizer; ``"ours"`` among them.
        shapes: of the parameters.
        bytes: that a step reads and writes a parameter.
    """

    what: str
    sides: dict[str, Factory]
    shapes: Sequence[tuple[int, ...]]
    bytes: int


@dataclass(frozen=True)
class GpuRow:
    """One measured line, by side: milliseconds on the device and the host, and bytes allocated at most for a step.

    Attributes:
        what: the line's name.
        share: of a copy's bandwidth that our step reaches.
        device_ms, host_ms: medians a step.
        extra: the largest memory that a step allocates, as a share of the parameters' bytes.
        failed: side → why there are no figures of it, as where memory was short.
    """

    what: str
    share: float | None
    device_ms: dict[str, float]
    host_ms: dict[str, float]
    extra: dict[str, float]
    failed: dict[str, str]


def _cases() -> list[GpuCase]:
    cases = []
    for where, shapes in SHAPES.items():
        for name, (ours, theirs, keywords) in RULES.items():
            sides: dict[str, Factory] = {
                "ours": partial(ours, **keywords, fused=True),
                "fused": partial(theirs, **keywords, fused=True),
                "foreach": partial(theirs, **keywords, foreach=True),
            }
            cases.append(GpuCase(f"{name}, {where}", sides, shapes, bytes_moved(partial(ours, **keywords))))
    return cases


CASES = _cases()


def cuda_timer(step: Callable[[], Any], times: int) -> tuple[float, float]:
    """Milliseconds a step between two CUDA events, and on the host with nothing waiting before it."""
    torch.cuda.synchronize()
    started = time.perf_counter()
    step()
    host = 1000 * (time.perf_counter() - started)
    first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    first.record()
    for _ in range(times):
        step()
    last.record()
    torch.cuda.synchronize()
    return first.elapsed_time(last) / times, host


def copy_bandwidth(device: str, timer: Timer, size: int = 2**28, rounds: int = 9) -> float:
    """Bytes a second, read and written, of a copy of `size` float32 numbers on the device."""
    source = torch.ones(size, device=device)
    target = torch.empty_like(source)
    timer(lambda: target.copy_(source), 3)
    times = [timer(lambda: target.copy_(source), 5)[0] for _ in range(rounds)]
    return 2 * source.nbytes / (statistics.median(times) / 1000)


def measure(case: GpuCase, device: str, timer: Timer, bandwidth: float, rounds: int = 9, times: int = 5) -> GpuRow:
    """Time all sides of `case` on the same parameters and gradients, taking turns after a warm-up.

    Args:
        case: what to compare.
        device: where.
        timer: measures some steps.
        bandwidth: of a copy, bytes a second.
        rounds: turns of each side, of which the medians count.
        times: steps a turn.
    """
    generator = torch.Generator(device).manual_seed(0)
    params = [torch.randn(s, generator=generator, device=device).requires_grad_() for s in case.shapes]
    for p in params:
        p.grad = torch.randn(p.shape, generator=generator, device=device)
    steps: dict[str, Callable[[], Any]] = {}
    failed, extra = {}, {}
    size = sum(p.nbytes for p in params)
    for side, factory in case.sides.items():
        optimizer = factory(params)
        try:
            timer(optimizer.step, 3)
            extra[side] = _peak(optimizer.step, device) / size
        except torch.OutOfMemoryError as error:
            failed[side] = f"out of memory: {str(error).splitlines()[0]}"
            continue
        steps[side] = optimizer.step
    taken: dict[str, list[tuple[float, float]]] = {side: [] for side in steps}
    for turn in range(rounds):
        for side in sorted(steps, reverse=bool(turn % 2)):
            taken[side].append(timer(steps[side], times))
    device_ms, host_ms = (
        {side: statistics.median(pair[k] for pair in pairs) for side, pairs in taken.items()} for k in (0, 1)
    )
    share = None
    if "ours" in device_ms:
        share = size / 4 * case.bytes / (device_ms["ours"] / 1000) / bandwidth
    return GpuRow(case.what, share, device_ms, host_ms, extra, failed)


def _peak(step: Callable[[], Any], device: str) -> float:
    """Bytes that are allocated at most during a step; NaN where torch does not count them."""
    if device == "cpu":
        return float("nan")
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    return torch.cuda.max_memory_allocated() - before


def agreement(device: str, sizes: Sequence[int] = (1_000_003, 4096, 1), steps: int = 10) -> dict[str, float]:
    """The largest error of float32 steps on `device`, in units of float32's epsilon times the largest parameter.

    The reference is the NumPy face in float64, for every method of :data:`RULES`.
    """
    errors = {}
    for name, (ours, _, keywords) in RULES.items():
        found = []
        for place, dtype, face in ((device, torch.float32, None), ("cpu", torch.float64, "numpy")):
            generator = torch.Generator().manual_seed(0)
            params = [torch.randn(n, generator=generator).to(place, dtype).requires_grad_() for n in sizes]
            optimizer = ours(params, **keywords)
            for _ in range(steps):
                for p in params:
                    p.grad = torch.randn(p.shape, generator=generator).to(place, dtype)
                _step_on(optimizer, face)
            found.append(torch.cat([p.detach().cpu().double() for p in params]))
        unit = torch.finfo(torch.float32).eps * found[1].abs().max()
        errors[name] = ((found[0] - found[1]).abs().max() / unit).item()
    return errors


def _step_on(optimizer: torch.optim.Optimizer, face: str | None) -> None:
    if face is None:
        optimizer.step()
    else:
        with faces.use(face):
            optimizer.step()


def table(rows: Sequence[GpuRow]) -> str:
    """The rows as aligned text.

    Example:
        >>> ms = {"ours": 1.0, "fused": 2.0}
        >>> print(table([GpuRow("a step", 0.9, ms, ms, {"ours": 0.0}, {"foreach": "out of memory"})]))
        what          of a copy  ours ms  /fused  /foreach  host ms  extra memory
        a step             0.90    1.000    0.50         -    1.000         0.000
    """
    width = max(12, *(len(row.what) for row in rows))
    heads = ("of a copy", "ours ms", "/fused", "/foreach", "host ms", "extra memory")
    lines = ["  ".join([f"{'what':<{width}}", *heads])]
    for row in rows:
        ours = row.device_ms.get("ours")
        fused, foreach = (
            ours / row.device_ms[s] if ours and s in row.device_ms else None for s in ("fused", "foreach")
        )
        values = (row.share, 2), (ours, 3), (fused, 2), (foreach, 2), (row.host_ms.get("ours"), 3)
        cells = _cells(*values, (row.extra.get("ours"), 3))
        padded = [f"{cell:>{len(head)}}" for cell, head in zip(cells, heads, strict=True)]
        lines.append("  ".join([f"{row.what:<{width}}", *padded]))
    return "\n".join(lines)


def _cells(*values: tuple[float | None, int]) -> list[str]:
    return ["-" if value is None else f"{value:.{digits}f}" for value, digits in values]


def main(about: dict[str, Any], output: Path, rounds: int, timer: Timer = cuda_timer, device: str = "cuda") -> int:
    """Measure everything, print the table, write the record; 2 if there is no GPU."""
    if device == "cuda" and not torch.cuda.is_available():
        print("--device cuda: torch sees no GPU on this machine, so there is nothing to measure", file=sys.stderr)
        return 2
    bandwidth = copy_bandwidth(device, timer, rounds=rounds)
    rows = []
    for case in CASES:
        rows.append(measure(case, device, timer, bandwidth, rounds))
        torch.cuda.empty_cache()
    print(f"a copy moves {bandwidth / 1e9:.0f} GB/s\n{table(rows)}")
    errors = agreement(device)
    print("\n".join(f"{name}: {error:.1f} units in the last place from float64" for name, error in errors.items()))
    name = torch.cuda.get_device_name() if device == "cuda" else device
    record = {"machine": {**about, "gpu": name, "cuda": torch.version.cuda}, "copy_bytes_per_second": bandwidth}
    record |= {"rows": [asdict(row) for row in rows], "agreement_eps": errors}
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(record, indent=1) + "\n")
    return 0


def parameters(shapes: Sequence[tuple[int, ...]]) -> int:
    """How many numbers tensors of `shapes` hold.

    Example:
        >>> round(parameters(SHAPES["transformer of 1 B"]) / 1e9, 2)
        1.01
    """
    return sum(torch.Size(shape).numel() for shape in shapes)
