import functools
import inspect
import json
import subprocess
import time
from pathlib import Path

import pytest
import torch

import dlopt
from dlopt.lab import bench, bench_peers, traffic
from dlopt.lab.bench import Case, Row, compare, fresh_processes, in_fresh_interpreter, main, table
from dlopt.lab.bench_cases import RULES, SameBytes, Triad, bytes_moved

SGD = functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9, fused=True)


class Slow(torch.optim.SGD):
    """Torch's, a tenth of a second later: a step waits as long as ten milliseconds where much else runs."""

    def step(self, closure=None):
        time.sleep(0.1)
        return super().step(closure)


def test_a_slower_side_is_found_whichever_it_is():
    slow = functools.partial(Slow, lr=0.1)
    ours = compare(Case("slow", slow, SGD, [(100,)], bar=1.1), rounds=3)
    assert ours.ratio > 2
    assert ours.ok is False
    assert ours.ours_ms > 100
    theirs = compare(Case("fast", SGD, slow, [(100,)], bar=1.1), rounds=3)
    assert theirs.ratio < 0.5
    assert theirs.ok is True


def test_turns_alternate_and_both_sides_take_as_many_steps():
    log = []

    class Logged(torch.optim.SGD):
        def __init__(self, params, name):
            super().__init__(params, lr=0.1)
            self.name = name

        def step(self, closure=None):
            log.append((self.name, [tuple(p.shape) for p in self.param_groups[0]["params"]]))
            time.sleep(0.01)

    sides = (functools.partial(Logged, name=name) for name in "ab")
    compare(Case("x", *sides, [(2, 3), (4,)], bar=1), rounds=4, warmup=1)
    names = [name for name, _ in log]
    # warm-up in the order of making, one step to size a turn, then the turns: ours made first, theirs made first
    assert "".join(names) == "abb" + "baab" + "bab" + "baab"
    assert all(shapes == [(2, 3), (4,)] for _, shapes in log)
    log.clear()
    sides = [functools.partial(Logged, name=name) for name in "abc"]
    compare(Case("x", *sides[:2], [(4,)], bar=1, bound=sides[2]), rounds=6, warmup=1)
    # nobody steps twice in a row, and each is as often first
    assert "".join(name for name, _ in log) == "abcb" + "bcacababc" + "bcab" + "bcacababc"
    with pytest.raises(ValueError, match="rounds must be at least 1"):
        compare(Case("x", SGD, SGD, [(1,)], bar=1), rounds=0)


def test_both_sides_get_the_same_numbers_in_the_dtype_asked_for():
    seen = []

    def factory(params):
        seen.append([(p.dtype, p.grad.dtype, p.detach().clone(), p.grad.clone()) for p in params])
        return SGD(params)

    compare(Case("x", factory, factory, [(5,)], bar=1, dtype=torch.bfloat16), rounds=1)
    (ours,), *others = seen
    assert len(others) == 3
    for (theirs,) in others:
        assert ours[:2] == theirs[:2] == (torch.bfloat16, torch.bfloat16)
        assert torch.equal(ours[2], theirs[2])
        assert torch.equal(ours[3], theirs[3])


def test_a_bound_is_a_ratio_too_and_tells_a_bar_that_is_out_of_reach(monkeypatch):
    seconds = {0.4: 0.04, 0.1: 0.01, 0.2: 0.02}  # of a step, by learning rate
    monkeypatch.setattr(bench, "_seconds", lambda optimizer, steps: seconds[optimizer.defaults["lr"]])
    ours, theirs, bound = (functools.partial(torch.optim.SGD, lr=lr) for lr in seconds)
    row = compare(Case("x", ours, theirs, [(1,)], 1.1, bound=bound))
    assert (row.ours_ms, row.theirs_ms, row.ratio, row.bound) == pytest.approx((40, 10, 4, 2))
    row = compare(Case("x", ours, theirs, [(1,)], 1.1, bytes=(40, 20), bound=bound))
    assert (row.ratio, row.bound, row.ok) == (pytest.approx(2), pytest.approx(1), False)
    assert compare(Case("x", ours, theirs, [(1,)], 1.1)).bound is None
    rows = [
        Row("x", 2.0, 1.0, 2.0, bar, bar >= 2, bound) for bar, bound in ((1.1, 1.5), (1.1, 2.5), (1.1, 1), (3, 3.5))
    ]
    assert [line.split("  ")[-1] for line in table(rows).splitlines()] == ["ok", "NO: out of reach", "NO", "NO", "yes"]


def least_state(bound):
    bound.step()
    (p,) = bound.inner.param_groups[0]["params"]
    return {"p": p.detach(), **{key: bound.inner.state[p][key] for key in bound.batch.keys}}


def changes_all_that_a_step_changes(bound):
    before = {key: value.clone() for key, value in least_state(bound).items()}
    assert len(before) > 1 or not bound.inner.state_keys
    bound.inner.param_groups[0]["params"][0].grad *= 2  # or a maximum would stay
    bound.step()
    assert all((value != before[key]).all() for key, value in least_state(bound).items())


def adds_three_times_the_gradient(bound):
    before, (p,) = bound.a[0].clone(), bound.param_groups[0]["params"]
    bound.step()
    assert torch.equal(p.detach(), before + 3 * p.grad)


def moves_as_many_bytes(bound, case):
    (p,) = bound.inner.param_groups[0]["params"]
    moved = traffic.moved(case.ours, case.dtype)
    assert p.numel() * bytes_moved(case.ours) == pytest.approx(10_000_000 * moved)
    before = p.detach().clone()
    bound.step()
    assert (p != before).all()


def test_cases_are_those_of_the_plan():
    sizes = {case.what: sum(torch.Size(shape).numel() for shape in case.shapes) for case in bench.CASES}
    assert sizes["SGD, 10 M in one tensor"] == 10_000_000
    assert sizes["SGD, transformer of 27 M"] == pytest.approx(27e6, rel=0.02)
    assert sizes["SGD, 400 tensors of 64×64"] == 400 * 64 * 64
    assert {case.bar for case in bench.CASES} == {1.1, 0.7, 0.5, 0.125, 0.9, None}
    seen = set()
    for case in bench.CASES:
        parameter = [torch.ones(3, dtype=case.dtype, requires_grad=True)]
        parameter[0].grad = torch.ones(3, dtype=case.dtype)
        ours, theirs = case.ours(parameter), case.theirs(parameter)
        assert type(theirs).__module__.startswith("torch.optim")
        if "torch's default" not in case.what:
            assert theirs.defaults["fused"] is True
        if getattr(case.bound, "func", None) is SameBytes:
            moves_as_many_bytes(case.bound([torch.empty(shape) for shape in case.shapes]), case)
        elif case.bound is not None:
            check = adds_three_times_the_gradient if case.bound is Triad else changes_all_that_a_step_changes
            check(case.bound(parameter))
        assert isinstance(ours, dlopt.engine.RuleOptimizer) and ours.defaults["fused"] is True
        seen.add(type(ours).__name__)
    element_wise = {
        name
        for name in dlopt.__all__
        if inspect.isclass(c := getattr(dlopt, name)) and issubclass(c, dlopt.engine.RuleOptimizer)
        if not (c.matrix or c.sparse_only)
    }
    assert seen == element_wise


def test_the_books_record_has_the_cases():
    record = json.loads((Path(__file__).parents[2] / "book" / "adaptive" / "fused.json").read_text())
    assert [row["what"] for row in record["rows"]][: len(bench.CASES)] == [case.what for case in bench.CASES]
    assert [row["bar"] for row in record["rows"]][: len(bench.CASES)] == [case.bar for case in bench.CASES]


def test_bytes_of_a_step_are_those_of_its_tensors():
    """One gradient is read; the parameter and each state are read and written: 4 bytes each way."""
    moved = {name: bytes_moved(factory) for name, factory in RULES.items()}
    assert moved["ProximalSGD"] == 4 + 8
    assert moved["Lion"] == moved["Adagrad"] == moved["RMSprop"] == moved["ScheduleFreeSGD"] == 4 + 8 + 8
    assert moved["Adam"] == moved["NAdam"] == moved["RAdam"] == moved["FTRL"] == moved["ScheduleFreeAdamW"] == 28
    assert moved["AMSGrad"] == moved["Adam, amsgrad"] == moved["RMSprop, centered, momentum"] == 36


def test_a_ratio_per_byte_divides_by_the_bytes():
    twice = compare(Case("x", SGD, SGD, [(100_000,)], bar=None), rounds=9)
    per_byte = compare(Case("x", SGD, SGD, [(100_000,)], bar=None, bytes=(40, 20)), rounds=9)
    assert per_byte.ratio == pytest.approx(per_byte.ours_ms / per_byte.theirs_ms / 2)
    assert twice.ratio == pytest.approx(twice.ours_ms / twice.theirs_ms)


def test_a_program_that_fails_is_not_taken_for_a_time():
    with pytest.raises(subprocess.CalledProcessError):
        in_fresh_interpreter("raise SystemExit(3)")


def test_memory_of_a_greedy_step_is_seen():
    ours = bench._MEMORY.format(threads=1)
    greedy = ours.replace("dlopt.SGD(", "torch.optim.SGD(").replace("fused=True", "weight_decay=0.1, foreach=True")
    assert greedy != ours
    assert in_fresh_interpreter(greedy) > 0.9


def test_rows_of_fresh_interpreters(monkeypatch):
    answers = iter([100.0, 90.0, 160.0, 0.002])
    monkeypatch.setattr(bench, "in_fresh_interpreter", lambda program, times: next(answers))
    first, imported, memory = fresh_processes()
    assert (first.ours_ms, first.theirs_ms, first.ok) == (100, 90, True)
    assert (imported.ours_ms, imported.ok) == (160, False)
    assert (memory.ratio, memory.bar, memory.ok) == (0.002, 0.01, True)


@pytest.mark.parametrize(("bar", "status"), [(1000.0, 0), (1e-9, 1)])
def test_main_prints_a_table_writes_a_record_and_tells_a_missed_bar(monkeypatch, tmp_path, capsys, bar, status):
    monkeypatch.setattr(bench, "CASES", [Case("toy", SGD, SGD, [(10,)], bar=bar)])
    monkeypatch.setattr(bench, "fresh_processes", lambda: [Row("memory", None, None, None, 0.01, None)])
    row = {"peer": "p", "method": "m", "times": {}, "failed": "not begun"}
    peers = {"machine": {}, "versions": {"p": "1"}, "rows": [row]}
    monkeypatch.setattr(bench_peers, "study", lambda: peers)
    file, plotted, fused = tmp_path / "deep" / "bench.json", tmp_path / "peers.json", tmp_path / "fused.json"
    options = ["--rounds", "1", "--threads", "1", "--output", str(file), "--peers", str(plotted), "--fused", str(fused)]
    assert main([*options, "--strict"]) == status
    assert main(options) == 0
    record = json.loads(file.read_text())
    assert record["machine"]["threads"] == 1
    assert record["machine"]["torch"] == torch.__version__
    assert [row["what"] for row in record["rows"]] == ["toy", "memory"]
    assert json.loads(fused.read_text()) == {"machine": record["machine"], "rows": record["rows"]}
    assert record["peers"] == json.loads(plotted.read_text()) == peers
    printed = capsys.readouterr().out
    assert ("NO" in printed) == bool(status)
    assert "not measured" in printed


def test_table_lines_up():
    lines = table(
        [Row("a", 1.0, 2.0, 0.5, 1.1, True), Row("a longer name", 1000.0, None, None, 300, False)]
    ).splitlines()
    assert lines == [
        "what             ours ms  theirs ms   ratio     bar   bound  ok",
        "a                  1.000      2.000   0.500     1.1          yes",
        "a longer name   1000.000                        300          NO",
    ]
