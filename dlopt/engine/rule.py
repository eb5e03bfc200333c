"""What an update rule is, and the small grammar it may be written in.

A rule takes the gradient ``g``, the parameter ``p`` and its state, and returns the proposed change
of ``p`` followed by the new state. It writes nothing: the engine applies the change. Positional
arguments hold one value per element, keyword-only arguments are scalars.

Because the grammar is small, one source serves as NumPy, torch, machine code and LaTeX.
"""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from dlopt.engine.faces.numpy import xp

__all__ = ["FUNCTIONS", "GrammarError", "Rule", "rule_of", "with_namespace", "xp"]

FUNCTIONS = {
    "sqrt": 1,
    "abs": 1,
    "sign": 1,
    "exp": 1,
    "log": 1,
    "sin": 1,
    "cos": 1,
    "maximum": 2,
    "minimum": 2,
    "where": 3,
}
"""The functions of ``xp`` a rule may call, with their number of arguments."""
_MORE = {"**": ("floor", 1), "stored": ("stored", 1), "rounded": ("rounded", 2)}  # what a wider grammar adds

RESERVED = {"xp", "l2", "grad_scale"}
_BINARY = (ast.Add, ast.Sub, ast.Mult, ast.Div)
_COMPARISONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)


class GrammarError(SyntaxError):
    """A rule steps outside the grammar. The message says why; ``filename``, ``lineno`` and ``text`` say where."""


@dataclass(frozen=True, eq=False)  # there is one of each: see rule_of
class Rule:
    """A function that passed the grammar.

    ``elements`` are the names of its per-element arguments, ``scalars`` of its keyword-only ones,
    ``body`` its statements without the docstring, ``calls`` the rules it calls by name.
    """

    function: FunctionType
    elements: tuple[str, ...]
    scalars: tuple[str, ...]
    body: tuple[ast.stmt, ...]
    calls: dict[str, Rule]
    source: str
    fail: Callable[[ast.AST, str], GrammarError]

    @property
    def name(self) -> str:
        return self.function.__name__

    @property
    def returns(self) -> tuple[ast.expr, ...]:
        """The returned expressions: the change first, then the new state."""
        value = self.body[-1].value  # type: ignore[attr-defined]
        return tuple(value.elts) if isinstance(value, ast.Tuple) else (value,)

    def __hash__(self) -> int:
        return hash(self.function)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rule) and self.function is other.function


@functools.cache
def rule_of(function: Callable[..., Any], *, also: frozenset[str] = frozenset()) -> Rule:
    """Check `function` against the grammar and return it as a :class:`Rule`.

    ``also`` widens the grammar: ``"**"`` for functions of scalars only, which run on the host in float64
    and get ``xp.floor`` as well; ``"stored"`` and ``"rounded"`` for writers, which need to know what a write rounds to;
    ``"reserved"`` for the engine's own functions, which may use the names in ``RESERVED``.

    Raises:
        GrammarError: with file, line and reason, at the first thing outside the grammar.

    Example:
        >>> from dlopt.sgd.sgd import heavy_ball
        >>> rule_of(heavy_ball).elements
        ('g', 'p', 'b')
    """
    if not isinstance(function, FunctionType) or function.__name__ == "<lambda>":
        raise GrammarError(f"a rule is a plain function written with def, not {function!r}")
    try:
        lines, first = inspect.getsourcelines(function)
    except (OSError, TypeError) as error:
        raise GrammarError(f"the source of {function.__name__} cannot be read ({error})") from None
    source = textwrap.dedent("".join(lines))
    definition = ast.parse(source).body[0]
    filename = function.__code__.co_filename

    def fail(node: ast.AST, reason: str) -> GrammarError:
        line = getattr(node, "lineno", 1)
        text = source.splitlines()[line - 1]
        place = (filename, first + line - 1, getattr(node, "col_offset", 0) + 1, text)
        return GrammarError(f"{function.__name__}: {reason}", place)

    if not isinstance(definition, ast.FunctionDef):
        raise fail(definition, "a rule is a plain function written with def")
    arguments = definition.args
    if arguments.vararg or arguments.kwarg or arguments.defaults or any(arguments.kw_defaults):
        raise fail(definition, "a rule has neither *args, **kwargs nor defaults: its class supplies every value")
    if definition.decorator_list:
        raise fail(definition.decorator_list[0], "a rule has no decorator")
    if function.__closure__:
        raise fail(definition, f"a rule sees its arguments only, not {function.__code__.co_freevars}")
    elements = tuple(a.arg for a in arguments.posonlyargs + arguments.args)
    scalars = tuple(a.arg for a in arguments.kwonlyargs)
    if RESERVED & {*elements, *scalars} and "reserved" not in also:
        raise fail(definition, f"the engine keeps the names {sorted(RESERVED)} for itself")
    body = list(definition.body)
    if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    if not body or not isinstance(body[-1], ast.Return) or body[-1].value is None:
        raise fail(body[-1] if body else definition, "a rule ends with return")

    if function in _open:
        raise fail(definition, "rules may not call each other in a circle")
    _open.append(function)
    try:
        return _checked(function, elements, scalars, body, also, source, fail)
    finally:
        _open.pop()


_open: list[FunctionType] = []


def _checked(
    function: FunctionType,
    elements: tuple[str, ...],
    scalars: tuple[str, ...],
    body: list[ast.stmt],
    also: frozenset[str],
    source: str,
    fail: Callable[[ast.AST, str], GrammarError],
) -> Rule:
    check = _Checker(function, {*elements, *scalars}, also, fail)
    for statement in body[:-1]:
        check.assignment(statement)
    last = body[-1].value  # type: ignore[attr-defined]
    for value in last.elts if isinstance(last, ast.Tuple) else [last]:
        check.expression(value)
    return Rule(function, elements, scalars, tuple(body), check.calls, source, fail)


class _Checker:
    """Walks statements and expressions; raises at the first that no face could translate."""

    def __init__(
        self,
        function: FunctionType,
        names: set[str],
        also: frozenset[str],
        fail: Callable[[ast.AST, str], GrammarError],
    ) -> None:
        self.function, self.names, self.also, self.fail = function, names, also, fail
        self.functions = FUNCTIONS | dict(_MORE[word] for word in also & _MORE.keys())
        self.calls: dict[str, Rule] = {}

    def assignment(self, node: ast.stmt) -> None:
        if not isinstance(node, ast.Assign) or len(node.targets) != 1:
            kind = type(node).__name__.lower()
            raise self.fail(node, f"only assignments and a final return are allowed, not '{kind}'")
        target = node.targets[0]
        targets = target.elts if isinstance(target, ast.Tuple) else [target]
        for name in targets:
            if not isinstance(name, ast.Name):
                raise self.fail(name, "only a plain name can be assigned to: a rule writes nothing in place")
            if name.id == "xp" or isinstance(self.function.__globals__.get(name.id), FunctionType):
                raise self.fail(name, f"'{name.id}' is the name of a namespace or a function: choose another")
        if isinstance(node.value, ast.Tuple):
            raise self.fail(node, "one value an assignment")
        if isinstance(target, ast.Tuple):
            called = self.rule_call(node.value)
            if called is None or len(called.returns) != len(targets):
                raise self.fail(node, "several names take the results of a call of another rule, as many as it returns")
        else:
            self.expression(node.value)
        self.names.update(name.id for name in targets)  # type: ignore[attr-defined]

    def expression(self, node: ast.expr) -> None:
        match node:
            case ast.Constant(value=value):
                if isinstance(value, bool) or not isinstance(value, (int, float)):
                    raise self.fail(node, f"numbers only, not {value!r}")
                if not abs(value) <= (2**53 if isinstance(value, int) else 1.7e308):
                    raise self.fail(node, "a number that float64 does not hold exactly, or at all")
            case ast.Name(id=name):
                if name not in self.names:
                    raise self.fail(node, f"'{name}' is neither an argument nor assigned above")
            case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
                self.expression(operand)
            case ast.BinOp(left=left, op=op, right=right):
                if isinstance(op, ast.Pow) and "**" not in self.also:
                    raise self.fail(node, "'**' is not in the grammar: multiply, or use xp.sqrt")
                if not isinstance(op, (*_BINARY, ast.Pow)):
                    raise self.fail(node, f"the operator '{type(op).__name__}' is not in the grammar")
                self.expression(left)
                self.expression(right)
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                if len(ops) != 1 or not isinstance(ops[0], _COMPARISONS):
                    raise self.fail(node, "one comparison at a time, with < <= > >= == !=")
                self.expression(left)
                self.expression(comparators[0])
            case ast.Attribute(value=ast.Name(id="xp"), attr="pi"):
                pass
            case ast.Call():
                self.call(node)
            case _:
                raise self.fail(node, f"'{ast.unparse(node)}' ({type(node).__name__}) is not in the grammar")

    def call(self, node: ast.Call) -> None:
        match node.func:
            case ast.Attribute(value=ast.Name(id="xp"), attr=name):
                if name not in self.functions:
                    raise self.fail(node, f"xp.{name} is not in the grammar: {', '.join(self.functions)}")
                if node.keywords or len(node.args) != self.functions[name]:
                    raise self.fail(node, f"xp.{name} takes {self.functions[name]} argument(s), by position")
                for argument in node.args:
                    self.expression(argument)
            case _:
                called = self.rule_call(node)
                if called is None:
                    raise self.fail(node, f"'{ast.unparse(node.func)}' is neither a function of xp nor a rule")
                if len(called.returns) != 1:
                    raise self.fail(node, f"{called.name} returns {len(called.returns)} values: name them first")

    def rule_call(self, node: ast.expr) -> Rule | None:
        """The rule that `node` calls, its arguments checked; None if it calls no rule."""
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            return None
        target = self.function.__globals__.get(node.func.id)
        if node.func.id in self.names or not isinstance(target, FunctionType) or target is self.function:
            return None
        called = rule_of(target, also=self.also)
        given = [keyword.arg for keyword in node.keywords]
        if len(node.args) != len(called.elements) or sorted(map(str, given)) != sorted(called.scalars):
            raise self.fail(node, f"{called.name} takes {called.elements} by position and {called.scalars} by keyword")
        for argument in [*node.args, *(keyword.value for keyword in node.keywords)]:
            self.expression(argument)
        self.calls[node.func.id] = called
        return called


@functools.cache
def with_namespace(function: Callable[..., Any], namespace: Any) -> Callable[..., Any]:
    """A copy of the rule `function` that computes with `namespace` in the place of ``xp``.

    Example:
        >>> import torch
        >>> from dlopt.engine.faces import torch as torch_face
        >>> def shrink(p, *, k):
        ...     return xp.sign(p) * xp.maximum(xp.abs(p) - k, 0)
        >>> xp32 = torch_face.namespace(torch.float32, torch.float32)
        >>> with_namespace(shrink, xp32)(torch.tensor([3.0, -0.5]), k=1.0)
        tensor([2., -0.])
    """
    assert isinstance(function, FunctionType)
    scope = dict(function.__globals__)
    scope["xp"] = namespace
    for name in function.__code__.co_names:
        called = scope.get(name)
        if isinstance(called, FunctionType):
            scope[name] = with_namespace(called, namespace)
    copy = FunctionType(function.__code__, scope, function.__name__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy
