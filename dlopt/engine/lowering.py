"""A rule as a small typed graph: what is per element, and what is scalar and computed once on the host."""

from __future__ import annotations

import ast
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dlopt.engine.program import Program
from dlopt.engine.rule import Rule, xp

_OPERATORS = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**", ast.Lt: "<", ast.LtE: "<=",
    ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Node:
    """A value: an operator applied to `args`, or a leaf (``number``, ``scalar`` or ``element``).

    Nodes are compared by identity: a name used twice is one node, so a face computes it once.
    """

    op: str
    args: tuple[Node, ...] = ()
    value: float = 0.0
    name: str = ""
    elementwise: bool = False
    boolean: bool = False

    def python(self) -> str:
        """This scalar as a Python expression of the hyperparameters."""
        inner = [a.python() for a in self.args]
        match self.op:
            case "number":
                return repr(self.value)
            case "scalar":
                return self.name
            case "negative":
                return f"(-{inner[0]})"
            case op if op in _OPERATORS.values():
                return f"({inner[0]} {op} {inner[1]})"
            case op:
                return f"xp.{op}({', '.join(inner)})"


def number(value: float) -> Node:
    return Node("number", value=float(value))


def scalar(name: str) -> Node:
    return Node("scalar", name=name)


def element(name: str) -> Node:
    return Node("element", name=name, elementwise=True)


def lower(rule: Rule, elements: Sequence[Node], scalars: dict[str, Node]) -> tuple[Node, ...]:
    """The returned values of `rule` as nodes, its arguments being the given ones.

    Raises:
        GrammarError: where types do not fit: a comparison in arithmetic, a number as a condition.
    """
    names = dict(zip(rule.elements, elements, strict=True)) | {s: scalars[s] for s in rule.scalars}
    visit = _Visitor(rule, names)
    for statement in rule.body[:-1]:
        assert isinstance(statement, ast.Assign)
        target = statement.targets[0]
        if isinstance(target, ast.Tuple):
            for name, value in zip(target.elts, visit.call_rule(statement.value), strict=True):
                names[ast.unparse(name)] = value
        else:
            names[ast.unparse(target)] = visit(statement.value)
    return tuple(visit.real(value) for value in rule.returns)


class _Visitor:
    def __init__(self, rule: Rule, names: dict[str, Node]) -> None:
        self.rule, self.names = rule, names

    def __call__(self, node: ast.expr) -> Node:
        match node:
            case ast.Constant(value=value):
                return number(value)  # type: ignore[arg-type]
            case ast.Attribute():
                return number(math.pi)
            case ast.Name(id=name):
                return self.names[name]
            case ast.UnaryOp(op=op, operand=operand):
                inner = self.real(operand)
                return _node("negative", inner) if isinstance(op, ast.USub) else inner
            case ast.BinOp(left=left, op=op, right=right):
                return _node(_OPERATORS[type(op)], self.real(left), self.real(right))
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return _node(_OPERATORS[type(op)], self.real(left), self.real(right), boolean=True)
            case ast.Call(func=ast.Attribute(attr="where"), args=[condition, a, b]):
                test = self(condition)
                if not test.boolean:
                    raise self.rule.fail(condition, "the condition of xp.where is a comparison")
                return _node("where", test, self.real(a), self.real(b))
            case ast.Call(func=ast.Attribute(attr=name), args=args):
                return _node(name, *map(self.real, args))
        return self.call_rule(node)[0]

    def real(self, node: ast.expr) -> Node:
        value = self(node)
        if value.boolean:
            raise self.rule.fail(node, "a comparison is only good as the condition of xp.where")
        return value

    def call_rule(self, node: ast.expr) -> tuple[Node, ...]:
        assert isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        scalars = {keyword.arg: self.real(keyword.value) for keyword in node.keywords if keyword.arg}
        return lower(self.rule.calls[node.func.id], [self.real(a) for a in node.args], scalars)


def _node(op: str, *args: Node, boolean: bool = False) -> Node:
    return Node(op, args, elementwise=any(a.elementwise for a in args), boolean=boolean)


@dataclass(frozen=True)
class Lowered:
    """A program as a graph: its input streams, its outputs (of the streams from the ``first``), and its scalar slots.

    A slot is a maximal scalar expression that meets an element: the host computes it in float64 and
    casts it once. ``host(**scalars)`` gives the slots' values in order, and ``on(xp)`` is ``host`` for another ``xp``.
    """

    inputs: tuple[Node, ...]
    outputs: tuple[Node, ...]
    slots: tuple[Node, ...]
    text: str
    first: int

    @functools.cached_property
    def host(self) -> Callable[..., tuple[float, ...]]:
        return self.on(xp)

    def on(self, namespace: Any) -> Callable[..., tuple[Any, ...]]:
        return eval(self.text, {"xp": namespace})


@functools.cache
def lower_program(program: Program) -> Lowered:
    """Lower the composition of a program's parts into one graph.

    Raises:
        GrammarError: where types do not fit, or the rule returns too few or too many values.
    """
    _, rule, writer = program.parts()
    assert isinstance(rule, Rule), "a matrix rule has no graph"
    if rule.elements[:2] != ("g", "p"):
        raise rule.fail(rule.body[-1], "a rule of an optimizer begins with g, the gradient, and p, the parameter")
    inputs, scalars, (g, p, *unscaled) = _begin(program)
    _, _, *state = inputs
    split = len(rule.elements) - 2
    d, *new = lower(rule, (g, p, *state[:split]), scalars)
    if len(new) != split:
        raise rule.fail(rule.body[-1], f"returns {1 + len(new)} values: the change and {split} new states are due")
    if not all(value.elementwise for value in (d, *new)):
        raise rule.fail(rule.body[-1], "what a rule returns has a value per element")
    p, *kept = lower(writer, (p, d, *state[split:]), scalars)
    names = (*program.scalars, *program.norm_names)
    return _lowered(inputs, (*unscaled, p, *new, *kept), names, 1 - len(unscaled))


@functools.cache
def lower_norms(program: Program) -> Lowered:
    """The quantities whose norms the program's rule takes, as a graph with all the program's inputs.

    Raises:
        GrammarError: for an argument that the rule has not, or a quantity that has no name or no value per element.
    """
    norms = program.norms
    assert norms is not None
    inputs, scalars, (g, p, *_) = _begin(program)
    names = dict(zip(program.rule.elements, (g, p, *inputs[2:]), strict=False))
    surplus = [*({*norms.elements} - {*names}), *({*norms.scalars} - {*program.scalars})]
    if surplus:
        raise norms.fail(norms.body[0], f"{program.rule.name} has no argument {surplus}")
    if not all(isinstance(node, ast.Name) for node in norms.returns):
        raise norms.fail(norms.body[-1], "name the quantities: the norm of u reaches the rule as u_norm")
    outputs = lower(norms, [names[name] for name in norms.elements], scalars)
    if not all(value.elementwise for value in outputs):
        raise norms.fail(norms.body[-1], "a norm is that of a value per element")
    return _lowered(inputs, outputs, program.scalars)


def _begin(program: Program) -> tuple[tuple[Node, ...], dict[str, Node], tuple[Node, ...]]:
    """Inputs, scalars, gradient and parameter as the rule sees them, and the unscaled gradient if it is written."""
    inputs = tuple(map(element, ["g", "p", *(f"state_{i}" for i in range(program.streams - 2))]))
    scalars = {name: scalar(name) for name in (*program.scalars, *program.norm_names)}
    g, p, *state = inputs
    reader = program.reader()
    if reader:
        (p,) = lower(reader, (p, *state[len(program.rule.elements) - 2 :]), scalars)
    unscaled: tuple[Node, ...] = ()
    for name, transform in program.parts()[0].items():
        (g,) = lower(transform, (g, p)[: len(transform.elements)], scalars)
        unscaled = (g,) if name == "unscale" else unscaled
    return inputs, scalars, (g, p, *unscaled)


def _lowered(inputs: tuple[Node, ...], outputs: tuple[Node, ...], scalars: tuple[str, ...], first: int = 0) -> Lowered:
    slots = _slots(outputs)
    source = f"lambda {', '.join(['*', *scalars]) if scalars else ''}: "
    source += "(" + "".join(slot.python() + ", " for slot in slots) + ")"
    return Lowered(inputs, outputs, slots, source, first)


def _slots(outputs: Sequence[Node]) -> tuple[Node, ...]:
    found: dict[Node, None] = {}
    seen: set[Node] = set()

    def walk(node: Node) -> None:
        if node in seen:
            return
        seen.add(node)
        if not node.elementwise:
            if node.op != "number":
                found[node] = None
            return
        for arg in node.args:
            walk(arg)

    for output in outputs:
        walk(output)
    return tuple(found)
