"""The GPU's bench without a GPU: on a CPU, where a stub tells the time."""

import json
import math
from functools import partial

import pytest
import torch

import dlopt
from dlopt.lab import bench, bench_gpu
from dlopt.lab.bench_gpu import CASES, GpuCase, GpuRow, agreement, copy_bandwidth, measure, parameters, table

SGD = partial(dlopt.SGD, lr=1.0)


def stub(device_ms=2.0, host_ms=0.5):
    """A timer that takes the steps, and says that each took as long."""
    taken = []

    def timer(step, times):
        taken.append(times)
        for _ in range(times):
            step()
        return device_ms, host_ms

    return timer, taken


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_one_line_says_so(capsys, tmp_path):
    assert bench.main(["--device", "cuda", "--output", str(tmp_path / "gpu.json")]) == 2
    said = capsys.readouterr()
    assert said.err == "--device cuda: torch sees no GPU on this machine, so there is nothing to measure\n"
    assert not list(tmp_path.iterdir())


def test_cases_are_those_of_the_plan():
    sizes = {case.what: parameters(case.shapes) for case in CASES}
    assert sizes["AdamW, one tensor of 268 M"] * 4 == 2**30
    assert sizes["SGD, transformer of 1 B"] == pytest.approx(1e9, rel=0.02)
    assert sizes["SGD, 1,000 tensors of 64×64"] == 4_096_000
    assert {case.what.split(",")[0]: case.bytes for case in CASES} == {"AdamW": 28, "SGD": 20}
    for case in CASES:
        p = torch.ones(1, requires_grad=True)
        made = {side: factory([p]).defaults for side, factory in case.sides.items()}
        assert made["ours"]["fused"] and made["fused"]["fused"] and made["foreach"]["foreach"]


def test_shares_and_turns():
    """1,000 parameters of 20 bytes in 2 ms are 10 MB/s, a tenth of a copy's 100."""
    timer, taken = stub()
    case = GpuCase("x", {"ours": SGD, "fused": SGD}, [(600,), (20, 20)], 20)
    row = measure(case, "cpu", timer, 1e8, rounds=4, times=5)
    assert row.share == pytest.approx(0.1) and row.device_ms == {"ours": 2.0, "fused": 2.0}
    assert row.host_ms["ours"] == 0.5 and math.isnan(row.extra["ours"]) and not row.failed
    assert taken == [3, 3, *[5] * 8]
    assert copy_bandwidth("cpu", stub(8.0)[0], size=1000, rounds=1) == pytest.approx(1e6)


def test_a_side_that_has_not_enough_memory_is_named():
    class Greedy(dlopt.SGD):
        def step(self, closure=None):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 99 GiB.\nmore")

    case = GpuCase("x", {"ours": Greedy, "fused": SGD}, [(5,)], 20)
    row = measure(case, "cpu", stub()[0], 1e8, rounds=2)
    assert row.share is None and set(row.device_ms) == {"fused"}
    assert row.failed == {"ours": "out of memory: CUDA out of memory. Tried to allocate 99 GiB."}
    assert "-" in table([row])


def test_agreement_is_measured_against_float64():
    errors = agreement("cpu", sizes=(1000, 1), steps=3)
    assert set(errors) == {"AdamW", "SGD"} and all(0 < error < 8 for error in errors.values())


def test_the_record_names_the_machine(tmp_path, monkeypatch, capsys):
    sides = {side: SGD for side in ("ours", "fused", "foreach")}
    monkeypatch.setattr(bench_gpu, "CASES", [GpuCase("toy", sides, [(10,)], 20)])
    monkeypatch.setattr(bench_gpu, "copy_bandwidth", lambda *_, **__: 1e9)
    monkeypatch.setattr(bench_gpu, "agreement", lambda device: {"SGD": 1.5})
    file = tmp_path / "deep" / "gpu.json"
    assert bench_gpu.main({"torch": "x"}, file, 2, stub()[0], "cpu") == 0
    record = json.loads(file.read_text())
    assert record["machine"] == {"torch": "x", "gpu": "cpu", "cuda": torch.version.cuda}
    assert GpuRow(**record["rows"][0]).device_ms == dict.fromkeys(sides, 2.0)
    assert record["agreement_eps"] == {"SGD": 1.5}
    assert "a copy moves 1 GB/s" in capsys.readouterr().out
