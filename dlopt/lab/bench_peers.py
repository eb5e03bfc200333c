"""Ours beside other libraries' optimizers: ``python -m dlopt.lab.bench_peers`` measures what is installed of them.

Each pair runs in an interpreter of its own, which prints a line of JSON for whatever it has measured: what takes longer
than its limit, or fails, is recorded as such, and what came before stands. ``pip install 'dlopt[bench]'`` brings them.
"""

import argparse
import importlib
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dlopt.lab.bench import compare, machine
from dlopt.lab.bench_cases import SMALL_TENSORS, TRANSFORMER, Case, Factory
from dlopt.lab.optional import require
from dlopt.lab.peer_pairs import PACKAGES, PAIRS, Pair

__all__ = [
    "FAILURES",
    "SHAPES",
    "difference",
    "extra_memory",
    "first_step",
    "installed",
    "main",
    "measure",
    "study",
    "table",
    "write",
]

SHAPES: dict[str, Sequence[tuple[int, ...]]] = {
    "400 of 64×64": SMALL_TENSORS,
    "10 M in one": [(2500, 4000)],
    "transformer, 27 M": TRANSFORMER,
}
STEPS = 50
FAILURES = ("not begun:", "stopped after", "failed:")
"""What a row's ``failed`` begins with."""
_COMPARED = [(24, 16), (16, 24), (8,)]


def installed(packages: Mapping[str, Sequence[str]] = PACKAGES) -> dict[str, str | None]:
    """The version of each peer, None where it is not installed.

    Example:
        >>> installed({"numpy": ["numpy"], "no-such-optimizers": ["nothing"]})["no-such-optimizers"] is None
        True
    """
    found: dict[str, str | None] = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def difference(ours: Factory, theirs: Any, dtype: torch.dtype = torch.float64, matrices: bool = False) -> float:
    """How far two optimizers are apart after 50 steps from the same start along the same gradients.

    Gradients are normal, each element with a size of its own between 1e-6 and 1, so that ε is seen.

    Args:
        ours, theirs: parameters → optimizer.
        dtype: of parameters and gradients.
        matrices: leave out the vector.

    Returns:
        The largest difference of a parameter, over the largest distance that ours has gone.

    Example:
        >>> from functools import partial
        >>> a, b = (partial(torch.optim.SGD, lr=lr) for lr in (0.1, 0.11))
        >>> round(difference(a, a), 6), round(difference(a, b), 6)
        (0.0, 0.1)
    """
    ends = [_after(make, dtype, matrices) for make in (ours, theirs)]
    start = _parameters(_COMPARED[: 2 if matrices else 3], dtype)[0]
    gone = max((a - s).abs().max().item() for a, s in zip(ends[0], start, strict=True))
    return max((a - b).abs().max().item() for a, b in zip(*ends, strict=True)) / gone


def _parameters(shapes: Sequence[tuple[int, ...]], dtype: torch.dtype) -> tuple[list[Tensor], torch.Generator]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(s, generator=generator).to(dtype).requires_grad_() for s in shapes], generator


def _after(make: Any, dtype: torch.dtype, matrices: bool) -> list[Tensor]:
    params, generator = _parameters(_COMPARED[: 2 if matrices else 3], dtype)
    sizes = [10 ** (-6 * torch.rand(p.shape, generator=generator)) for p in params]
    optimizer: Any = None
    for _ in range(STEPS):
        for p, size in zip(params, sizes, strict=True):
            p.grad = (torch.randn(p.shape, generator=generator) * size).to(dtype)
        optimizer = optimizer or make(params)
        if hasattr(optimizer, "load"):
            optimizer.load()
        optimizer.step()
    if hasattr(optimizer, "store"):
        optimizer.store()
    return [p.detach() for p in params]


def first_step(make: Any) -> float:
    """Milliseconds from making an optimizer for a small tensor to the end of its first step."""
    params, _ = _parameters([(32, 32)], torch.float32)
    params[0].grad = torch.ones_like(params[0])
    started = time.perf_counter()
    make(params).step()
    return 1000 * (time.perf_counter() - started)


def extra_memory(make: Any, shape: tuple[int, ...] = (2500, 4000)) -> float | None:
    """The most memory that a step adds for its duration, in units of the parameters' bytes. None where not Linux."""
    if not os.access("/proc/self/clear_refs", os.W_OK):
        return None
    params, _ = _parameters([shape], torch.float32)
    params[0].grad = torch.ones_like(params[0])
    optimizer = make(params)
    optimizer.step()
    Path("/proc/self/clear_refs").write_text("5")  # sets VmHWM, the largest size so far, back
    before = _status("VmRSS")
    optimizer.step()
    return (_status("VmHWM") - before) * 1024 / params[0].nbytes


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


def _keeps_gradients(make: Any) -> bool:
    params, _ = _parameters([(4, 4)], torch.float32)
    gradient = torch.rand(4, 4) + 0.5
    params[0].grad = gradient.clone()
    make(params).step()
    return params[0].grad is not None and torch.equal(params[0].grad, gradient)


def _methods(module: Any) -> int:
    """How many optimizers a module offers: torch's kind, or functions of optax's list of them."""
    public = {value for name, value in vars(module).items() if not name.startswith("_") and callable(value)}
    kinds = {value for value in public if isinstance(value, type) and issubclass(value, torch.optim.Optimizer)}
    return len(kinds - {torch.optim.Optimizer}) or sum(getattr(v, "__module__", "").endswith(".alias") for v in public)


def measure(pair: Pair, rounds: int = 7) -> Any:
    """Yield, one dict after the other, what is to be known of a pair; the dearest last."""
    torch.optim.Adam(_parameters([(2,)], torch.float32)[0]).step()  # torch imports its compiler with the first
    started = time.perf_counter()
    modules = [importlib.import_module(module) for module in PACKAGES[pair.peer]]
    yield {"import_ms": 1000 * (time.perf_counter() - started), "methods": _methods(modules[-1])}
    yield {"first_ms": [first_step(pair.ours), first_step(pair.theirs)]}
    theirs = pair.eager or pair.theirs
    yield {"keeps_gradients": _keeps_gradients(theirs)}
    yield {"difference": difference(pair.ours, theirs, pair.dtype, pair.matrices)}
    if pair.alike is not None:
        yield {"alike": difference(pair.alike, theirs, pair.dtype, pair.matrices)}
    if not pair.matrices:
        yield {"extra": [extra_memory(pair.ours), extra_memory(pair.theirs)]}
    for what, shapes in SHAPES.items():
        if not pair.matrices or shapes is SMALL_TENSORS:
            turns = rounds if shapes is SMALL_TENSORS else (rounds + 1) // 2  # a loop over tensors takes its time
            row = compare(Case(what, pair.ours, pair.theirs, shapes, bar=None), turns, warmup=1)
            yield {"times": {what: [row.ours_ms, row.theirs_ms]}}


def study(pairs: Sequence[Pair] = PAIRS, limit: float = 60.0, budget: float = 480.0) -> dict[str, Any]:
    """Measure every pair whose peer is installed, the peers taking turns: if time runs out, it does so for all.

    Args:
        pairs: what to compare.
        limit: seconds for one pair; what was not measured by then is left out, and said so.
        budget: seconds for all; pairs that would begin later are left out, and said so.

    Returns:
        ``machine``, ``versions`` (peer → version or None), ``rows`` (a dict a pair: peer, method, dtype, reason, what
        :func:`measure` found, and ``failed``: why the rest is missing, or None).
    """
    versions = installed()
    for peer, version in versions.items():
        if version is None:
            print(f"{peer}: not installed")
    rows, begun = [], time.monotonic()
    threads = torch.get_num_threads()
    present = [pair for pair in pairs if versions[pair.peer]]
    turns = [sum(other.peer == pair.peer for other in present[:k]) for k, pair in enumerate(present)]
    order = sorted(range(len(present)), key=turns.__getitem__)
    for pair in require("tqdm").tqdm([present[k] for k in order], desc="peers", disable=None):
        row: dict[str, Any] = {"peer": pair.peer, "method": pair.method, "reason": pair.reason}
        row |= {"dtype": str(pair.dtype).removeprefix("torch."), "times": {}, "failed": None}
        if time.monotonic() - begun > budget:
            row["failed"] = f"not begun: {budget:g} s for all pairs were over"
        else:
            lines, row["failed"] = _run(pair, limit, threads)
            for line in lines:
                row["times"] |= line.pop("times", {})
                row |= line
        rows.append(row)
    as_given = [rows[order.index(k)] for k in range(len(rows))]
    return {"machine": machine(), "versions": versions, "rows": as_given}


def _run(pair: Pair, limit: float, threads: int) -> tuple[list[dict[str, Any]], str | None]:
    """What an interpreter of its own says of a pair, and why it says no more."""
    command = [sys.executable, "-m", __name__ if __name__ != "__main__" else "dlopt.lab.bench_peers"]
    command += ["--pair", pair.name, "--threads", str(threads)]
    with tempfile.TemporaryDirectory() as fresh:  # compilers start from nothing
        environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": fresh, "TORCHINDUCTOR_COMPILE_THREADS": "1"}
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=limit, env=environment)
            printed, failed = done.stdout, None
            if done.returncode:
                last = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
                failed = f"failed: {last[-1][:300]}"
        except subprocess.TimeoutExpired as late:
            printed = (late.stdout or b"").decode() if isinstance(late.stdout, bytes) else late.stdout or ""
            failed = f"stopped after {limit:g} s"
    found = [line for line in printed.splitlines() if line.startswith("{") and line.endswith("}")]
    return [json.loads(line) for line in found], failed


def table(record: Mapping[str, Any]) -> str:
    """The record's rows as aligned text: milliseconds of ours and theirs, and how far apart the numbers are.

    Example:
        >>> row = {"peer": "optax", "method": "Adam", "times": {"10 M in one": [5.0, 6.0]}, "difference": 1e-9}
        >>> print(table({"rows": [row | {"failed": None}]}))
        pair         400 of 64×64      10 M in one  transformer, 27 M  difference
        optax: Adam                    5.00 / 6.00                        1.0e-09
    """
    names = [f"{row['peer']}: {row['method']}" for row in record["rows"]]
    width = max([4, *map(len, names)])
    lines = [f"{'pair':<{width}}  {'400 of 64×64':>15}  {'10 M in one':>15}  {'transformer, 27 M':>17}  difference"]
    for name, row in zip(names, record["rows"], strict=True):
        cells = [" / ".join(f"{ms:.2f}" for ms in row["times"].get(what, [])) for what in SHAPES]
        far = f"{row['difference']:.1e}" if "difference" in row else ""
        note = f"  {row['failed']}" if row["failed"] else ""
        lines.append(f"{name:<{width}}  {cells[0]:>15}  {cells[1]:>15}  {cells[2]:>17}  {far:>10}{note}".rstrip())
    return "\n".join(lines)


def write(record: Mapping[str, Any], path: Path) -> None:
    """Write the record, a line a row, figures to three places."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = ",\n  ".join(json.dumps(_short(row), ensure_ascii=False) for row in record["rows"])
    head = ",\n ".join(f"{json.dumps(key)}: {json.dumps(record[key])}" for key in ("machine", "versions"))
    path.write_text(f'{{{head},\n "rows": [\n  {rows}\n ]}}\n')


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _short(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_short(inner) for inner in value]
    return float(f"{value:.3g}") if isinstance(value, float) else value


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure all pairs and write the record, or, as a child, one pair and print it."""
    parser = argparse.ArgumentParser(prog="python -m dlopt.lab.bench_peers", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("_build/peers.json"), help="the record")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="torch's threads")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds for one pair")
    parser.add_argument("--budget", type=float, default=480.0, help="seconds for all pairs")
    parser.add_argument("--pair", help="measure this one here, and print what is found")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.pair:
        for found in measure(next(pair for pair in PAIRS if pair.name == options.pair)):
            print(json.dumps(found), flush=True)
        return 0
    record = study(limit=options.limit, budget=options.budget)
    print(table(record))
    write(record, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
