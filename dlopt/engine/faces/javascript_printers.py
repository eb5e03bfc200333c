"""Prints Python functions as JavaScript: those of the grammar, and the short methods of an optimizer's class."""

from __future__ import annotations

import ast
import inspect
import json
import math
import textwrap
from collections.abc import Mapping
from types import FunctionType
from typing import TYPE_CHECKING, Any

from dlopt.engine.rule import GrammarError, Rule

if TYPE_CHECKING:
    from dlopt.engine.faces.javascript import Translator

_MATH = {"maximum": "max", "minimum": "min"}  # all other functions of xp have their name in Math
_OPERATORS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.USub: "-", ast.UAdd: "+", ast.Not: "!"}
_OPERATORS |= {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "===", ast.NotEq: "!=="}
_OPERATORS |= {ast.And: "&&", ast.Or: "||", ast.Is: "===", ast.IsNot: "!=="}
_WORDS = frozenset(
    "abstract arguments await boolean break byte case catch char class const continue debugger default delete do "
    "double else enum eval export extends false final finally float for function goto if implements import in "
    "instanceof int interface let long native new null package private protected public return short static super "
    "switch synchronized this throw throws transient true try typeof undefined var void volatile while with yield "
    "dlopt Math NaN Infinity Number Boolean Array Object".split()
)


def js_name(name: str) -> str:
    """A Python name as a JavaScript one."""
    return f"{name}$" if name in _WORDS else name


def _member(name: str) -> str:
    """The keyword `name` as it is taken out of an object."""
    return name if js_name(name) == name else f"{name}: {js_name(name)}"


def js_object(members: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{key}: {value}" for key, value in members.items()) + "}"


def _number(value: float) -> str:
    if isinstance(value, int) or math.isfinite(value):
        return repr(value)
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


class _Expressions:
    """What rules and methods have in common."""

    def expression(self, node: ast.expr) -> str:
        match node:
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                return _number(value)
            case ast.Name(id=name):
                return js_name(name)
            case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
                return f"({_OPERATORS[type(op)]}{self.expression(operand)})"
            case ast.BinOp(left=left, op=ast.Pow(), right=right):
                return f"dlopt.power({self.expression(left)}, {self.expression(right)})"
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                return f"({self.expression(left)} {_OPERATORS[type(op)]} {self.expression(right)})"
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _OPERATORS:
                return f"({self.expression(left)} {_OPERATORS[type(op)]} {self.expression(right)})"
            case _:
                raise self.outside(node)

    def outside(self, node: ast.AST) -> GrammarError:
        """The refusal of `node`, naming its place."""
        return GrammarError(f"'{ast.unparse(node)}' has no JavaScript")


class FunctionPrinter(_Expressions):
    """Prints one function of the grammar."""

    def __init__(self, rule: Rule, called: dict[str, str]) -> None:
        self.written, self.called = rule, called

    def outside(self, node: ast.AST) -> GrammarError:
        return self.written.fail(node, f"'{ast.unparse(node)}' has no JavaScript")

    def declaration(self, name: str, named: bool) -> str:
        rule = self.written
        arguments = [js_name(a) for a in rule.elements]
        arguments += ["{" + ", ".join(map(_member, rule.scalars)) + "}"] if rule.scalars else []
        known, lines = {*rule.elements, *rule.scalars}, []
        for statement in rule.body[:-1]:
            assert isinstance(statement, ast.Assign)
            target = statement.targets[0]
            names = [t.id for t in (target.elts if isinstance(target, ast.Tuple) else [target])]  # type: ignore[attr-defined]
            fresh = [js_name(n) for n in dict.fromkeys(names) if n not in known]
            if fresh:
                lines.append(f"let {', '.join(fresh)};")
            left = ", ".join(map(js_name, names))
            lines.append(f"{'[' + left + ']' if len(names) > 1 else left} = {self.expression(statement.value)};")
            known.update(names)
        values = [self.expression(value) for value in rule.returns]
        if named:
            keys = [ast.unparse(value) for value in rule.returns]
            lines.append("return " + js_object(dict(zip(keys, values, strict=True))) + ";")
        else:
            lines.append(f"return {values[0] if len(values) == 1 else '[' + ', '.join(values) + ']'};")
        return f"function {name}({', '.join(arguments)}) {{\n" + textwrap.indent("\n".join(lines), "  ") + "\n}"

    def expression(self, node: ast.expr) -> str:
        match node:
            case ast.Attribute(value=ast.Name(id="xp"), attr="pi"):
                return "Math.PI"
            case ast.Call(func=ast.Attribute(value=ast.Name(id="xp"), attr=name), args=arguments):
                values = [self.expression(a) for a in arguments]
                if name == "where":
                    return f"({values[0]} ? {values[1]} : {values[2]})"
                if name == "stored":
                    return values[0]
                if name == "sign":
                    return f"(Math.sign({values[0]}) + 0)"  # NumPy's sign of -0 is 0
                return f"Math.{_MATH.get(name, name)}({', '.join(values)})"
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=keywords):
                values = [self.expression(a) for a in arguments]
                scalars = {_key(k.arg): self.expression(k.value) for k in keywords}
                return f"{self.called[name]}({', '.join([*values, js_object(scalars)] if scalars else values)})"
            case _:
                return super().expression(node)


def _key(name: str | None) -> str:
    assert name is not None
    return name


class MethodPrinter(_Expressions):
    """Prints a short method of an optimizer's class: assignments, ``if``, dicts, subscripts, and calls of its like.

    What only refuses bad input is left out: Python has done that.
    """

    def __init__(self, translator: Translator, function: Any, owner: type | None, cls: type | None) -> None:
        if not isinstance(function, FunctionType):
            raise GrammarError(f"{function!r} is no plain function: it has no JavaScript")
        self.translator, self.of, self.owner, self.cls = translator, function, owner, cls
        self.definition = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
        assert isinstance(self.definition, ast.FunctionDef)

    def outside(self, node: ast.AST) -> GrammarError:
        place = (self.of.__code__.co_filename, self.of.__code__.co_firstlineno + getattr(node, "lineno", 1) - 1)
        text = ast.unparse(node)
        return GrammarError(f"{self.of.__qualname__}: '{text}' has no JavaScript", (*place, 1, text))

    def arrow(self) -> str:
        assert isinstance(self.definition, ast.FunctionDef)
        arguments = [js_name(a.arg) for a in self.definition.args.args]
        names = dict.fromkeys(
            n.id for n in ast.walk(self.definition) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
        )
        declared = [f"let {', '.join(js_name(n) for n in names)};"] if names else []
        lines = [*declared, *self.block(self.definition.body)]
        return f"({', '.join(arguments)}) => {{\n" + textwrap.indent("\n".join(lines), "  ") + "\n}"

    def block(self, statements: list[ast.stmt]) -> list[str]:
        lines: list[str] = []
        for statement in statements:
            match statement:
                case ast.Expr():
                    continue
                case ast.If(body=body) if isinstance(body[-1], ast.Raise):
                    continue
                case ast.If(test=test, body=body, orelse=orelse):
                    lines += [f"if ({self.expression(test)}) {{", *self.block(body), "}"]
                    lines += ["else {", *self.block(orelse), "}"] if orelse else []
                case ast.Assign(targets=[target], value=value):
                    left = target.elts if isinstance(target, ast.Tuple) else [target]
                    text = ", ".join(self.expression(t) for t in left)
                    lines.append(f"{'[' + text + ']' if len(left) > 1 else text} = {self.expression(value)};")
                case ast.Return(value=ast.expr() as value):
                    lines.append(f"return {self.expression(value)};")
                case _:
                    raise self.outside(statement)
        return lines

    def expression(self, node: ast.expr) -> str:
        match node:
            case ast.Constant(value=str() | bool() | None as value):
                return json.dumps(value)
            case ast.Dict(keys=keys, values=values):
                members = [
                    f"...{self.expression(v)}" if k is None else f"{self.expression(k)}: {self.expression(v)}"
                    for k, v in zip(keys, values, strict=True)
                ]
                return "({" + ", ".join(members) + "})"
            case ast.Subscript(value=value, slice=index):
                key = self.expression(index)
                of = self.expression(value)
                return f"{of}[{key if isinstance(index, ast.Constant) else f'Number({key})'}]"
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return f"({self.expression(test)} ? {self.expression(body)} : {self.expression(orelse)})"
            case ast.BoolOp(op=op, values=values):
                return "(" + f" {_OPERATORS[type(op)]} ".join(map(self.expression, values)) + ")"
            case ast.Attribute(value=ast.Name(id="self"), attr="rules"):
                return "self.rules"
            case ast.Call():
                return self.call(node)
            case _:
                return super().expression(node)

    def call(self, node: ast.Call) -> str:
        arguments = [self.expression(a) for a in node.args if not self.grammatical(a)]
        match node.func:
            case ast.Name(id="bool"):
                return f"Boolean({arguments[0]})"
            case ast.Name(id="float" | "int"):
                return f"Number({arguments[0]})"
            case ast.Name(id="plain_value"):
                return arguments[1]  # numbers are plain there
            case ast.Name(id="stays"):
                return "false"  # and on no device
            case ast.Name(id="dict") if not arguments:
                return "({" + ", ".join(f"{k.arg}: {self.expression(k.value)}" for k in node.keywords) + "})"
            case ast.Name(id="evaluate") if self.grammatical(node.args[0]):
                function = self.translator.function(self.found(node.args[0]), named=True)
                scalars = "{" + ", ".join(f"{k.arg}: {self.expression(k.value)}" for k in node.keywords) + "}"
                return f"{function}({', '.join([*arguments, scalars])})"
            case ast.Attribute(value=ast.Name(id=name), attr="get") if len(arguments) == 2:
                return f"({js_name(name)}[{arguments[0]}] ?? {arguments[1]})"
            case ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr=name) if self.owner and self.cls:
                mro = self.cls.__mro__
                later = mro[mro.index(self.owner) + 1 :]
                base = next((b for b in later if name in vars(b)), None)
                if base is None:
                    raise self.outside(node)
                inherited = self.translator.method(vars(base)[name], base, self.cls)
                return f"{inherited}({', '.join(['self', *arguments])})"
            case ast.Name() if isinstance(self.found(node.func), FunctionType) and not node.keywords:
                return f"{self.translator.method(self.found(node.func))}({', '.join(arguments)})"
        raise self.outside(node)

    def found(self, node: ast.expr) -> Any:
        return self.of.__globals__.get(node.id) if isinstance(node, ast.Name) else None

    def grammatical(self, node: ast.expr) -> bool:
        """Whether `node` names a function of the grammar, to be called by `evaluate`."""
        return isinstance(self.found(node), FunctionType) and isinstance(node, ast.Name)
