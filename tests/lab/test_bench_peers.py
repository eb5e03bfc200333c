import json
import subprocess
import types
from functools import partial
from pathlib import Path

import pytest
import torch

import dlopt
from dlopt.lab import bench_peers, peer_pairs
from dlopt.lab.bench_peers import FAILURES, SHAPES, difference, extra_memory, installed, measure, study, table, write
from dlopt.lab.peer_pairs import PACKAGES, PAIRS, Consuming, Pair

SGD = partial(torch.optim.SGD, lr=0.1)


class Greedy(torch.optim.SGD):
    """Torch's, which takes the gradients away."""

    def step(self, closure=None):
        super().step(closure)
        for p in self.param_groups[0]["params"]:
            p.grad = None


def toy(**options):
    return Pair("toy", "SGD", SGD, partial(torch.optim.SGD, lr=0.2), **options)


def test_pairs_name_known_peers_and_give_a_reason_for_what_differs():
    names = [pair.name for pair in PAIRS]
    assert len(set(names)) == len(names)
    assert {pair.peer for pair in PAIRS} == set(PACKAGES)
    for pair in PAIRS:
        assert pair.reason.endswith((".", ".)"))
        rounding = "ounding" in pair.reason or "in float32" in pair.reason
        assert rounding == (pair.alike is None), pair.name
        parameters = [torch.ones(3, 2, requires_grad=True)]
        assert isinstance(pair.ours(parameters), dlopt.engine.RuleOptimizer)
        if pair.alike is not None:
            assert isinstance(pair.alike(parameters), dlopt.engine.RuleOptimizer)


def test_what_is_not_installed_has_no_version_and_is_told(monkeypatch, capsys):
    packages = {"torch": ("torch",), "surely-not-installed": ("nothing",)}
    assert installed(packages) == {"torch": torch.__version__, "surely-not-installed": None}
    monkeypatch.setattr(bench_peers, "installed", lambda: installed(packages))
    record = study([Pair("surely-not-installed", "SGD", SGD, SGD)])
    assert record["rows"] == []
    assert record["versions"]["surely-not-installed"] is None
    assert capsys.readouterr().out == "surely-not-installed: not installed\n"


def test_difference_is_relative_to_the_way_gone_and_sees_eps():
    assert difference(SGD, SGD) == 0
    assert difference(SGD, partial(torch.optim.SGD, lr=0.15)) == pytest.approx(0.5)
    assert difference(SGD, partial(torch.optim.SGD, lr=0.15), matrices=True) == pytest.approx(0.5)
    coarse = difference(torch.optim.Adam, partial(torch.optim.Adam, eps=1e-6))
    assert 1e-3 < coarse < 1
    ours = partial(dlopt.SGD, lr=0.1)
    assert difference(SGD, ours) < 1e-14 < 1e-9 < difference(SGD, ours, torch.float32) < 1e-6


def test_a_peer_that_takes_gradients_away_gets_them_back():
    p = torch.ones(2, requires_grad=True)
    p.grad = torch.ones(2)
    optimizer = Consuming(Greedy([p], lr=0.25), [p])
    optimizer.step()
    optimizer.step()
    assert p.tolist() == [0.5, 0.5]
    assert not bench_peers._keeps_gradients(lambda params: Greedy(params, lr=0.1))
    assert bench_peers._keeps_gradients(SGD)


@pytest.mark.skipif(extra_memory(SGD, (2,)) is None, reason="memory can be measured on Linux alone")
def test_memory_of_a_step_that_makes_a_copy_is_seen():
    lean = partial(torch.optim.SGD, lr=0.1, foreach=False)
    greedy = partial(torch.optim.SGD, lr=0.1, foreach=True, maximize=True)
    assert extra_memory(lean) < 0.1 < 0.9 < extra_memory(greedy)


def test_measure_tells_the_cheap_things_first(monkeypatch):
    monkeypatch.setattr(bench_peers, "PACKAGES", {"toy": ("json",)})
    monkeypatch.setattr(bench_peers, "SHAPES", {"small": [(2,)], "large": [(3,)]})
    monkeypatch.setattr(bench_peers, "extra_memory", lambda make: 0.5)
    found = list(measure(toy(alike=partial(torch.optim.SGD, lr=0.2)), rounds=1))
    keys = [key for line in found for key in line]
    assert keys == [
        "import_ms",
        "methods",
        "first_ms",
        "keeps_gradients",
        "difference",
        "alike",
        "extra",
        "times",
        "times",
    ]
    values = {key: value for line in found for key, value in line.items()}
    assert values["difference"] == pytest.approx(1)
    assert values["alike"] == 0
    assert [list(line["times"]) for line in found[-2:]] == [["small"], ["large"]]


def test_methods_are_counted():
    assert (
        bench_peers._methods(types.SimpleNamespace(a=torch.optim.SGD, b=torch.optim.Optimizer, c=dict, _d=Greedy)) == 1
    )
    assert bench_peers._methods(types.SimpleNamespace(a=partial(int), adam=_ADAM, other=len)) == 1


class _Alias:
    def __call__(self):
        return None


_ADAM = _Alias()
_ADAM.__module__ = "optax._src.alias"


def test_numbers_are_those_of_the_form_without_a_compiler(monkeypatch):
    monkeypatch.setattr(bench_peers, "PACKAGES", {"toy": ("json",)})
    monkeypatch.setattr(bench_peers, "SHAPES", {})
    monkeypatch.setattr(bench_peers, "extra_memory", lambda make: None)
    values = {key: value for line in measure(toy(eager=SGD)) for key, value in line.items()}
    assert values["difference"] == 0


def test_what_fails_or_takes_too_long_is_recorded_with_what_came_before(monkeypatch):
    monkeypatch.setattr(bench_peers, "installed", lambda: {"toy": "1.0"})
    answers = iter(
        [
            types.SimpleNamespace(stdout='{"difference": 0.5}\nnoise\n', stderr="a\nValueError: no", returncode=1),
            subprocess.TimeoutExpired("x", 3, output=b'{"times": {"small": [1, 2]}}\n{"times": {"lar'),
            types.SimpleNamespace(
                stdout='{"times": {"a": [1, 2]}}\n{"times": {"b": [3, 4]}}\n', stderr="", returncode=0
            ),
        ]
    )

    def run(command, **options):
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(subprocess, "run", run)
    failed, late, fine = study([toy(), toy(), toy()], limit=3)["rows"]
    assert (failed["difference"], failed["failed"]) == (0.5, "failed: ValueError: no")
    assert (late["times"], late["failed"]) == ({"small": [1, 2]}, "stopped after 3 s")
    assert (fine["times"], fine["failed"]) == ({"a": [1, 2], "b": [3, 4]}, None)
    (never,) = study([toy()], budget=-1)["rows"]
    assert never["failed"].startswith("not begun")
    for row in (failed, late, never):
        assert row["failed"].startswith(FAILURES)


def test_peers_take_turns_and_rows_stand_in_order(monkeypatch):
    monkeypatch.setattr(bench_peers, "installed", lambda: dict.fromkeys("ab", "1.0"))
    begun = []
    monkeypatch.setattr(bench_peers, "_run", lambda pair, *given: begun.append(pair.name) or ([], None))
    pairs = [Pair(peer, method, SGD, SGD) for peer, method in ("a1", "a2", "a3", "b1")]
    rows = study(pairs)["rows"]
    assert begun == ["a: 1", "b: 1", "a: 2", "a: 3"]
    assert [row["peer"] + row["method"] for row in rows] == ["a1", "a2", "a3", "b1"]


def test_a_pair_runs_in_an_interpreter_of_its_own(monkeypatch):
    """The child looks its pair up by name: an unknown one ends it, and its last line says why."""
    lines, failed = bench_peers._run(toy(), limit=100, threads=1)
    assert lines == []
    assert "StopIteration" in failed


def test_record_is_json_with_a_line_for_a_row(tmp_path):
    row = {"peer": "optax", "method": "Adam", "times": {"10 M in one": [5.1234, 6.0]}, "failed": None, "keep": True}
    record = {"machine": {"cpu": "x"}, "versions": {"optax": None}, "rows": [row, row | {"failed": "stopped"}]}
    write(record, tmp_path / "deep" / "peers.json")
    text = (tmp_path / "deep" / "peers.json").read_text()
    read = json.loads(text)
    assert read["rows"][0]["times"] == {"10 M in one": [5.12, 6.0]}
    assert read["rows"][0]["keep"] is True
    assert read["versions"] == {"optax": None}
    assert sum("optax: " in line or '"peer"' in line for line in text.splitlines()) == 2
    assert table(record).splitlines()[2].endswith("stopped")


def test_optax_in_place_of_torch(monkeypatch):
    """The wrapper itself, with NumPy in the place of JAX and a transformation that is plain descent."""
    import numpy as np

    jax = types.SimpleNamespace(
        config=types.SimpleNamespace(update=lambda *args: None),
        jit=lambda f, donate_argnums: f,
        block_until_ready=lambda x: x,
        numpy=types.SimpleNamespace(array=np.array),
    )
    optax = types.SimpleNamespace(apply_updates=lambda p, d: [a + b for a, b in zip(p, d, strict=True)])
    monkeypatch.setitem(__import__("sys").modules, "jax", jax)
    monkeypatch.setitem(__import__("sys").modules, "optax", optax)

    class Descent:
        init = staticmethod(lambda values: 0)
        update = staticmethod(lambda grads, state, values: ([-0.1 * g for g in grads], state + 1))

    descent = Descent()
    assert difference(SGD, lambda params: peer_pairs.Optax(descent, params)) < 1e-12


def test_the_books_record_is_what_a_study_writes():
    """Every pair has times for all that it is timed on, or says in the study's words why not; few have none."""
    record = json.loads((Path(__file__).parents[2] / "book" / "adaptive" / "peers.json").read_text())
    pairs = {(pair.peer, pair.method): pair for pair in PAIRS}
    due = {key: {"400 of 64×64"} if pair.matrices else set(SHAPES) for key, pair in pairs.items()}
    due = {key: shapes for key, shapes in due.items() if record["versions"][key[0]]}
    assert {(row["peer"], row["method"]) for row in record["rows"]} == set(due)
    for row in record["rows"]:
        missing = due[row["peer"], row["method"]] - set(row["times"])
        assert bool(missing) == (row["failed"] is not None), row
        assert row["failed"] is None or row["failed"].startswith(FAILURES), row
    for shape in SHAPES:
        timed = [row for row in record["rows"] if shape in row["times"]]
        wanted = [key for key, shapes in due.items() if shape in shapes]
        assert len(timed) >= 0.8 * len(wanted), shape
