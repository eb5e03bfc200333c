import functools
import importlib
import subprocess
import sys
import threading
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from dlopt.lab.fingerprint import fingerprint
from dlopt.lab.tasks import digits_mlp

RATE = 0.1


def helper(x):
    return x + 1


def uses_helper(x):
    return helper(x) * RATE


def optimizer_class(value, base=torch.optim.Optimizer):
    class Method(base):
        def __init__(self, params, lr=0.1):
            super().__init__(params, {"lr": lr})

        def step(self, closure=None):
            return value

    return Method


@dataclass
class Plain:
    size: int


class Empty:
    pass


@dataclass(frozen=True)
class Slotted(Empty):
    __slots__ = ("size",)
    size: int


class Own:
    def __init__(self, size):
        self.size = size


DIFFERENT = {
    "numbers": (1, 1.0),
    "bool and int": (True, 1),
    "text and bytes": ("a", b"a"),
    "tuple and list": ((1,), [1]),
    "nesting": ([[1], 2], [[1, 2]]),
    "signed zero": (0.0, -0.0),
    "tensors": (torch.tensor([1.0]), torch.tensor([2.0])),
    "dtypes": (torch.zeros(2), torch.zeros(2, dtype=torch.float64)),
    "shapes": (np.zeros((2, 3)), np.zeros((3, 2))),
    "constants": (lambda x: x + 1, lambda x: x + 2),
    "operators": (lambda x: x + 1, lambda x: x - 1),
    "defaults": (lambda x=1: x, lambda x=2: x),
    "inner functions": (lambda x: (lambda: 1), lambda x: (lambda: 2)),
    "partials": (functools.partial(torch.optim.SGD, momentum=0.9), functools.partial(torch.optim.SGD, momentum=0.8)),
    "library classes": (torch.optim.SGD, torch.optim.Adam),
    "library functions": (torch.sin, torch.cos),
    "own classes": (optimizer_class(1).step, optimizer_class(2).step),
    "bases": (optimizer_class(1), optimizer_class(1, torch.optim.SGD)),
    "objects": (Own(1), Own(2)),
    "dataclasses": (Plain(1), Plain(2)),
    "dataclasses with slots": (Slotted(1), Slotted(2)),
    "tasks": (digits_mlp(widths=(64,)), digits_mlp(widths=(32,))),
    "wrapped": (functools.lru_cache(lambda: 1), functools.lru_cache(lambda: 2)),
    "methods": (Own(1).__init__, Own(2).__init__),
}  # fmt: skip


@pytest.mark.parametrize("name", DIFFERENT)
def test_different_things_differ(name):
    a, b = DIFFERENT[name]
    assert fingerprint(a) == fingerprint(a)
    assert fingerprint(a) != fingerprint(b)


def test_equal_things_are_equal():
    def make(rate):
        return lambda params: torch.optim.SGD(params, lr=rate)

    assert fingerprint(make(0.1)) == fingerprint(make(0.1))
    assert fingerprint(make(0.1)) != fingerprint(make(0.2))
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a", "b", "c"}) == fingerprint({"c", "b", "a"})
    shared = (0.9, 0.999)
    assert fingerprint([shared, shared]) == fingerprint([(0.9, 0.999), tuple(map(float, ("0.9", "0.999")))])
    assert fingerprint(optimizer_class(1)) == fingerprint(optimizer_class(1))


def test_globals_that_a_function_reads_are_part_of_it(monkeypatch):
    before = fingerprint(uses_helper)
    monkeypatch.setitem(globals(), "RATE", 0.2)
    changed = fingerprint(uses_helper)
    assert changed != before
    monkeypatch.setitem(globals(), "RATE", 0.1)
    assert fingerprint(uses_helper) == before
    monkeypatch.setitem(globals(), "helper", lambda x: x + 2)
    assert fingerprint(uses_helper) != before


@pytest.mark.parametrize("base", [torch.optim.Optimizer, torch.optim.SGD])
def test_making_an_optimizer_does_not_change_its_class(base):
    class Inherits(base):
        def __init__(self, params):
            super().__init__(params, *([{}] if base is torch.optim.Optimizer else []))

    class Decorated(Inherits):
        @torch.no_grad()
        def step(self, closure=None):
            return super().step(closure)

    for cls in (optimizer_class(1), Inherits, Decorated):
        before = fingerprint(cls)
        cls([torch.zeros(1, requires_grad=True)])
        assert fingerprint(cls) == before


def test_a_module_of_ones_own_counts_by_content(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "my_own_methods.py"
    file.write_text("def make(params):\n    return 1\n")
    module = importlib.import_module("my_own_methods")
    before, function = fingerprint(module), fingerprint(module.make)
    file.write_text("def make(params):\n    return 22\n")
    importlib.invalidate_caches()
    importlib.reload(module)
    assert fingerprint(module) != before
    assert fingerprint(module.make) != function


def test_cycles_end():
    ring = [1]
    ring.append(ring)

    def recursive(n):
        return recursive(n - 1) if n else 0

    assert fingerprint(ring) == fingerprint(ring)
    assert fingerprint(recursive) == fingerprint(recursive)


def test_what_cannot_be_hashed_is_refused():
    with pytest.raises(TypeError, match="cannot take a fingerprint of .*cache=False"):
        fingerprint({"lock": threading.Lock()})


def test_other_processes_agree():
    program = (
        "import functools, torch; from dlopt.lab.fingerprint import fingerprint; from dlopt.lab.tasks import digits_mlp;"
        "print(fingerprint([digits_mlp(), {'b', 'a'}, lambda p, lr: torch.optim.SGD(p, lr=lr), "
        "functools.partial(torch.optim.Adam, betas=(0.9, 0.99)), {'x': 1.5, 'y': None}]))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            env={**__import__("os").environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1
