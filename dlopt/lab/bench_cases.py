"""What :mod:`dlopt.lab.bench` times: every element-wise rule beside torch's fused kernels."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter

import torch
from torch import Tensor

import dlopt
from dlopt.engine.device import Scaling
from dlopt.engine.faces import llvm
from dlopt.engine.facts import facts, values
from dlopt.engine.gather import gather

__all__ = ["CASES", "Case", "Factory", "bytes_moved"]

Factory = Callable[[list[Tensor]], torch.optim.Optimizer]
ONE_TENSOR = [(10_000_000,)]
SMALL_TENSORS = [(64, 64)] * 400
_BLOCK = [(1536, 512), (1536,), (512, 512), (512,), (2048, 512), (2048,), (512, 2048), (512,), *[(512,)] * 4]
TRANSFORMER = [(4096, 512), (128, 512), *_BLOCK * 8, (512,), (512,)]
"""27 million parameters: an embedding and eight blocks of width 512."""


@dataclass(frozen=True)
class Case:
    """One line of the table: two optimizers on the same tensors.

    Attributes:
        what: the line's name.
        ours, theirs: parameters → optimizer.
        shapes: of the parameters.
        bar: the largest ratio of our time to theirs that is good enough; None where the two do not do the same.
        dtype: of parameters and gradients.
        bytes: what a step of ours and of theirs reads and writes a parameter. If given, times are divided by it.
        bound: what ours cannot do without, on the same tensors; timed too, to tell a bar that nobody can reach here.
    """

    what: str
    ours: Factory
    theirs: Factory
    shapes: Sequence[tuple[int, ...]]
    bar: float | None
    dtype: torch.dtype = torch.float32
    bytes: tuple[int, int] | None = None
    bound: Factory | None = None


_fused = partial(partial, fused=True)
RULES: dict[str, Factory] = {
    "ProximalSGD": _fused(dlopt.ProximalSGD, l1=1e-4),
    "Lion": _fused(dlopt.Lion),
    "Adagrad": _fused(dlopt.Adagrad),
    "RMSprop": _fused(dlopt.RMSprop),
    "RMSprop, momentum": _fused(dlopt.RMSprop, momentum=0.9),
    "RMSprop, centered": _fused(dlopt.RMSprop, centered=True),
    "RMSprop, centered, momentum": _fused(dlopt.RMSprop, centered=True, momentum=0.9),
    "Adadelta": _fused(dlopt.Adadelta),
    "Adam": _fused(dlopt.Adam),
    "Adam, amsgrad": _fused(dlopt.Adam, amsgrad=True),
    "AdamW": _fused(dlopt.AdamW),
    "Adamax": _fused(dlopt.Adamax),
    "AMSGrad": _fused(dlopt.AMSGrad),
    "NAdam": _fused(dlopt.NAdam),
    "RAdam": _fused(dlopt.RAdam),
    "FTRL": _fused(dlopt.FTRL, l1=1e-4),
    "ScheduleFreeSGD": _fused(dlopt.ScheduleFreeSGD, lr=1e-3),
    "ScheduleFreeAdamW": _fused(dlopt.ScheduleFreeAdamW),
}
"""Every element-wise rule beside SGD, with settings that use all of it."""

NOT_FUSED_BY_TORCH = ("RMSprop", "Adadelta", "NAdam")
_SGD = _fused(dlopt.SGD, lr=1e-3, momentum=0.9)
_TORCH_SGD = _fused(torch.optim.SGD, lr=1e-3, momentum=0.9)
_TORCH_ADAM = _fused(torch.optim.Adam)
_ADAM_BYTES = 28


def bytes_moved(factory: Factory) -> int:
    """Bytes that a step reads and writes for one float32 parameter: gradient, parameter, and float32 state.

    Example:
        >>> bytes_moved(dlopt.AdamW)
        28
    """
    optimizer = factory([torch.ones(1, requires_grad=True)])
    assert isinstance(optimizer, dlopt.engine.RuleOptimizer)
    rule = optimizer.as_rule(optimizer.rule(optimizer.param_groups[0], t=1000))
    return 4 * (2 * len(rule.elements) - 1)  # all are read, all but the gradient are written


class Triad(torch.optim.Optimizer):
    """a = a + 3b over parameters and gradients, as a step: what the memory allows a rule without state."""

    BYTES = 12

    def __init__(self, params: list[Tensor]) -> None:
        super().__init__(params, {})
        self.a, self.b = [p.detach() for p in params], [p.grad for p in params]

    def step(self, closure: object = None) -> None:  # type: ignore[override]
        torch._foreach_add_(self.a, self.b, alpha=3)  # type: ignore[arg-type]


class Least(torch.optim.Optimizer):
    """What no fused step of torch's Python objects can do without.

    Gradients and states are looked up, every tensor's address, size, order and dtype read, and the compiled loop runs.
    No scalar is computed, no count advanced.
    """

    def __init__(self, params: list[Tensor], factory: Factory) -> None:
        super().__init__(params, {})
        self.inner = factory(params)

    def step(self, closure: object = None) -> None:  # type: ignore[override]
        if not self.inner.memory:  # type: ignore[attr-defined]
            self.inner.step()
            (pending,) = gather(self.inner, self.inner.param_groups[0], Scaling())  # type: ignore[arg-type]
            self.batch = pending.batch
            self.batch.prepare()
        params = self.inner.param_groups[0]["params"]
        entries, held = list(self.inner.state.values()), self.batch.streams[2:]
        states = [values(entries, key, before) for key, before in zip(self.batch.keys, held, strict=True)]
        for stream in (list(map(attrgetter("grad"), params)), params, *states):
            facts(stream)
        llvm.run(self.batch)


class SameBytes(torch.optim.Optimizer):
    """The float32 step of `factory` on a `share` of the elements, so many that it moves the bytes of another step."""

    def __init__(self, params: list[Tensor], factory: Factory, share: float) -> None:
        super().__init__(params, {})
        p = torch.ones(round(share * sum(p.numel() for p in params)), requires_grad=True)
        p.grad = torch.ones_like(p)
        self.inner = factory([p])

    def step(self, closure: object = None) -> None:  # type: ignore[override]
        self.inner.step()


def _cases() -> Iterator[Case]:
    for shapes, where in ((ONE_TENSOR, "10 M in one tensor"), (TRANSFORMER, "transformer of 27 M")):
        yield Case(f"SGD, {where}", _SGD, _TORCH_SGD, shapes, bar=1.1)
        for name, ours in RULES.items():
            moved, what = bytes_moved(ours), f"{name}, {where}, per byte of Adam"
            bound = Triad if moved == Triad.BYTES else None  # more tensors side by side are read faster, byte for byte
            yield Case(what, ours, _TORCH_ADAM, shapes, bar=1.1, bytes=(moved, _ADAM_BYTES), bound=bound)
    small = "400 tensors of 64×64"
    yield Case(f"SGD, {small}", _SGD, _TORCH_SGD, SMALL_TENSORS, bar=0.7, bound=partial(Least, factory=_SGD))
    for name, ours in RULES.items():
        bar = 0.5 if bytes_moved(ours) <= _ADAM_BYTES else None
        least = partial(Least, factory=ours)
        yield Case(f"{name}, {small}, of Adam", ours, _TORCH_ADAM, SMALL_TENSORS, bar, bound=least)
    for name in NOT_FUSED_BY_TORCH:
        ours, theirs = RULES[name], getattr(torch.optim, name)
        yield Case(f"{name}, transformer, of torch's default", ours, theirs, TRANSFORMER, bar=0.5)
        least = partial(Least, factory=ours)
        yield Case(f"{name}, 400 small, of torch's default", ours, theirs, SMALL_TENSORS, bar=0.125, bound=least)
    # our state is float32, torch's bfloat16: 16 bytes a parameter against 10, and 22 against 14
    half = torch.bfloat16
    yield Case("SGD, 10 M in one tensor, bfloat16", _SGD, _TORCH_SGD, ONE_TENSOR, None, half)
    wide = partial(SameBytes, factory=RULES["Adam"], share=22 / _ADAM_BYTES)
    what = "Adam, 10 M in one tensor, bfloat16"
    yield Case(what, RULES["Adam"], _TORCH_ADAM, ONE_TENSOR, bar=0.9, dtype=half, bound=wide)


CASES = list(_cases())
"""What ``make bench`` times; another rule adds its name to ``RULES``."""
