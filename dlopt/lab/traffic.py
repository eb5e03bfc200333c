"""What a step costs: bytes and operations counted from what runs, and how fast this machine moves and computes."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dlopt.engine.lowering import Node, lower_program
from dlopt.engine.optimizer import RuleOptimizer
from dlopt.engine.program import Program

__all__ = ["bandwidth", "in_turns", "moved", "moved_by_torch", "multiplications", "operations", "with_gradients"]

Shapes = Sequence[tuple[int, ...]]


def with_gradients(shapes: Shapes, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Normal parameters of the given shapes, with normal gradients.

    Example:
        >>> [p.grad.shape for p in with_gradients([(2, 3)])]
        [torch.Size([2, 3])]
    """
    generator = torch.Generator().manual_seed(0)
    params = [torch.randn(shape, generator=generator).to(dtype).requires_grad_() for shape in shapes]
    for p in params:
        p.grad = torch.randn(p.shape, generator=generator).to(dtype)
    return params


def moved(make: Callable[[list[Tensor]], Any], dtype: torch.dtype = torch.float32) -> float:
    """Bytes that one pass over all of an optimizer's tensors moves, per parameter.

    The gradient is read; the parameter and every tensor of state that is as large are read and written. Less is not
    possible if all of them change.

    Args:
        make: parameters → optimizer.
        dtype: of parameters and gradients.

    Example:
        >>> import dlopt
        >>> moved(dlopt.SGD), moved(dlopt.Adam), moved(dlopt.Adam, torch.bfloat16)
        (12.0, 28.0, 22.0)
    """
    (p,) = with_gradients([(64, 64)], dtype)
    optimizer = make([p])
    optimizer.step()
    assert p.grad is not None
    state = sum(s.nbytes for s in optimizer.state[p].values() if torch.is_tensor(s) and s.dim())
    return (p.grad.nbytes + 2 * (p.nbytes + state)) / p.numel()


def operations(make: Callable[[list[Tensor]], RuleOptimizer]) -> int:
    """Arithmetic operations of an element-wise rule per parameter, roots and comparisons counting as one.

    Counted in the graph from which kernels are written, where nothing is computed twice.

    Example:
        >>> import dlopt
        >>> operations(lambda params: dlopt.SGD(params))
        2
    """
    optimizer = make([torch.ones(1, requires_grad=True)])
    rule = optimizer.rule(optimizer.param_groups[0], 1000)  # long after any warm-up
    seen: set[Node] = set()
    waiting = list(lower_program(Program(optimizer.as_rule(rule))).outputs)
    while waiting:
        node = waiting.pop()
        if node.elementwise and node not in seen:
            seen.add(node)
            waiting += node.args
    return sum(node.op != "element" for node in seen)


class _Counter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.is_view:
            return result
        given = dict(zip((a.name for a in func._schema.arguments), args, strict=False)) | (kwargs or {})
        written = [given[a.name] for a in func._schema.arguments if a.is_write and a.name in given]
        overwritten = written if func._schema.name.endswith("copy_") else []
        unread = {id(t) for t in tree_leaves(overwritten)}
        read = {id(t): t for t in tree_leaves(given) if torch.is_tensor(t) and id(t) not in unread}
        results = written or [result]
        outputs = {id(t): t for t in tree_leaves(results) if torch.is_tensor(t)}
        self.bytes += sum(t.nbytes for t in (*read.values(), *outputs.values()))
        return result


def moved_by_torch(make: Callable[[list[Tensor]], Any]) -> float:
    """Bytes per parameter that the torch operations of a second step read and write, each on its own.

    Counted as they are called: what an operation takes and what it gives. A kernel that torch does not know of is not
    seen, nor is what a processor keeps in its caches.

    Example:
        >>> from functools import partial
        >>> moved_by_torch(partial(torch.optim.SGD, foreach=False))
        12.0
    """
    (p,) = with_gradients([(1000, 1000)])
    optimizer = make([p])
    optimizer.step()
    with torch.no_grad(), _Counter() as counter:
        optimizer.step()
    return round(counter.bytes / p.numel(), 1)


def in_turns(steps: Mapping[str, Callable[[], Any]], rounds: int = 7, least: float = 0.005) -> dict[str, float]:
    """Median seconds of calls that take turns, so that whatever else the machine does, it does to all.

    Args:
        steps: name → what to time; each is called once before.
        rounds: turns of each.
        least: seconds that a turn should last at least; shorter calls are repeated within it.

    Example:
        >>> sorted(in_turns({"sum": lambda: sum(range(1000)), "nothing": lambda: None}, rounds=3))
        ['nothing', 'sum']
    """
    times: dict[str, list[float]] = {name: [] for name in steps}
    inner = {}
    for name, step in steps.items():
        step()
        inner[name] = max(1, round(least / max(_seconds(step, 1), 1e-7)))
    for _ in range(rounds):
        for name, step in steps.items():
            times[name].append(_seconds(step, inner[name]))
    return {name: statistics.median(values) for name, values in times.items()}


def _seconds(step: Callable[[], Any], count: int) -> float:
    started = time.perf_counter()
    for _ in range(count):
        step()
    return (time.perf_counter() - started) / count


def bandwidth(size: int = 10_000_000) -> Callable[[], Any]:
    """A triad in place on two arrays of float32, a = a + 3b: 12 bytes an element, two operations.

    McCalpin's STREAM writes to a third array, which caches read before they write; nobody counts these bytes.

    Returns:
        What to time; see :func:`in_turns`.
    """
    a, b = torch.ones(size), torch.ones(size)
    return lambda: a.add_(b, alpha=3.0)


def multiplications(size: int = 768) -> Callable[[], Any]:
    """A product of two square matrices: 2 size³ operations on 12 size² bytes, all the processor can compute."""
    a, b, c = torch.ones(size, size), torch.ones(size, size), torch.zeros(size, size)
    return lambda: torch.mm(a, b, out=c)
