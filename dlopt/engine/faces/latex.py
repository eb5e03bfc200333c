"""The LaTeX face: a rule as the equations a paper would print."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from typing import Any

from dlopt.engine.rule import Rule, rule_of

SYMBOLS = {
    "g": "g",
    "p": r"\theta",
    "b": "b",
    "m": "m",
    "v": "v",
    "t": "t",
    "scale": "s_t",
    "steps": "T",
    "gamma": r"\mathrm{gamma}",  # torch's name in schedules; the letter is the learning rate's
    "lr": r"\gamma",
    "momentum": r"\mu",
    "dampening": r"\tau",
    "weight_decay": r"\lambda",
    "l1": r"\lambda_1",
    "eps": r"\varepsilon",
    "beta1": r"\beta_1",
    "beta2": r"\beta_2",
    "r": "r_t",
    "decay": r"\beta",
    "of_m": "a_t",
    "of_g": "c_t",
    "inside": r"\varepsilon_{\mathrm{in}}",
    "ridge": r"\lambda_2",
}
"""The book's symbols. A name that is not here is set as :func:`symbol` says."""
INLINE = {"bias1": r"1 - \beta_1^t", "bias2": r"1 - \beta_2^t", "root": r"\sqrt{1 - \beta_2^t}"}
"""What stands for a function of the step where that function is not printed."""

_GREEK = "alpha beta gamma delta epsilon eta theta kappa lambda mu nu xi pi rho sigma tau phi chi psi omega".split()
_RELATIONS = {ast.Lt: "<", ast.LtE: r"\le", ast.Gt: ">", ast.GtE: r"\ge", ast.Eq: "=", ast.NotEq: r"\ne"}
_SCALAR = frozenset({"**"})
_OPEN, _SUM, _PRODUCT, _ATOM, _SIMPLE = 0, 1, 2, 3, 4  # how tightly an expression binds


def symbol(name: str) -> str:
    """The symbol of a name: ``m_hat`` is m with a hat, ``beta1`` has an index, long names are upright.

    Example:
        >>> symbol("m_hat"), symbol("rho2"), symbol("gain")
        ('\\\\hat{m}', '\\\\rho_{2}', '\\\\mathrm{gain}')
    """
    if name in SYMBOLS:
        return SYMBOLS[name]
    if name.endswith(("_hat", "_bar")):
        return rf"\{name[-3:]}{{{symbol(name[:-4])}}}"
    if name.endswith("_max"):
        return rf"{symbol(name[:-4])}^{{\max}}"
    stem, index = re.fullmatch(r"(.*?)_?(\d*)", name).groups()  # type: ignore[union-attr]
    words = stem.replace("_", r"\ ")
    body = "\\" + stem if stem in _GREEK else stem if len(stem) == 1 else rf"\mathrm{{{words}}}"
    return f"{body}_{{{index}}}" if index else body


def latex(function: Callable[..., Any], *, scalars: Callable[..., Any] | None = None) -> str:
    r"""The equations of one step of the rule `function`, as an ``aligned`` block.

    With ``scalars``, what depends on the step only is printed first. A function of scalars, whose first
    argument is the step ``t``, is printed as its assignments.

    Raises:
        GrammarError: if `function` is outside the grammar.

    Example:
        >>> from dlopt.sgd.sgd import sgd
        >>> print(latex(sgd))
        \begin{aligned}
        \theta_t &= \theta_{t-1} - \gamma g_t
        \end{aligned}
    """
    lines = []
    if scalars is not None:
        lines += _Printer(rule_of(scalars, also=_SCALAR), set()).assignments()
    if getattr(function, "__code__", None) and function.__code__.co_varnames[:1] == ("t",):
        lines += _Printer(rule_of(function, also=_SCALAR), set()).assignments()
        return _aligned(lines)
    rule = rule_of(function)
    printer = _Printer(rule, set(rule.elements))
    if scalars is None:
        printer.names |= {name: text for name, text in INLINE.items() if name in rule.scalars}
    lines += printer.assignments()
    if rule.elements[:2] == ("g", "p"):
        positive = _without_minus(rule.returns[0])
        sign, text = (
            ("-", printer.inside(positive, _PRODUCT)) if positive else ("+", printer.inside(rule.returns[0], _SUM))
        )
        if sign == "+" and text.startswith("-"):
            sign, text = "-", text[1:]
        lines.append(rf"{symbol('p')}_t &= {printer.names['p']} {sign} {text}")
    else:
        lines.append("&" + r",\; ".join(printer.expression(value)[0] for value in rule.returns))
    return _aligned(lines)


def _aligned(lines: list[str]) -> str:
    return "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}"


def _without_minus(node: ast.expr) -> ast.expr | None:
    """What `node` is the negative of, if it starts with a minus sign."""
    match node:
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return operand
        case ast.BinOp(left=left, op=ast.Mult() | ast.Div() as op, right=right):
            inner = _without_minus(left)
            return ast.BinOp(inner, op, right) if inner else None
    return None


def _at(text: str, time: str) -> str:
    """A symbol with a time index, beside the index it may have."""
    if text.endswith("}") and "_{" in text and not text.startswith("\\hat"):
        return f"{text[:-1]},{time}}}"
    if re.fullmatch(r".*_\w", text):
        return f"{text[:-1]}{{{text[-1]},{time}}}"
    return f"{text}_{time}" if len(time) == 1 else f"{text}_{{{time}}}"


def _wordy(a: str, b: str) -> bool:
    """Whether one of two factors is a word, which would run into the other."""
    return b.startswith(r"\mathrm") or (a.endswith("}") and "mathrm" in a + b)


def _number(value: float) -> str:
    digits, _, power = repr(value).partition("e")
    if not power:
        return digits
    power = rf"10^{{{int(power)}}}"
    return power if digits == "1" else rf"{digits} \cdot {power}"


class _Printer:
    """Prints a rule's statements; knows whether a state name means its value before or after the step."""

    def __init__(self, rule: Rule, timed: set[str]) -> None:
        self.rule, self.timed = rule, timed
        self.names = {name: symbol(name) for name in (*rule.elements, *rule.scalars)}
        for name in timed:
            self.names[name] = _at(self.names[name], "t" if name == "g" else "t-1")

    def assignments(self) -> list[str]:
        lines = []
        for statement in self.rule.body[:-1]:
            assert isinstance(statement, ast.Assign)
            value, _ = self.expression(statement.value)
            target = statement.targets[0]
            targets = target.elts if isinstance(target, ast.Tuple) else [target]
            for name in map(ast.unparse, targets):
                timed = self.timed and name not in self.rule.scalars
                self.names[name] = _at(symbol(name), "t") if timed else symbol(name)
            left = r",\, ".join(self.names[ast.unparse(name)] for name in targets)
            lines.append(f"{left} &= {value}")
        return lines

    def expression(self, node: ast.expr) -> tuple[str, int]:
        """The LaTeX of `node`, and how tightly it binds."""
        match node:
            case ast.Constant(value=int() | float() as value):
                return _number(value), _SIMPLE
            case ast.Attribute():
                return r"\pi", _SIMPLE
            case ast.Name(id=name):
                return self.names[name], _SUM if " - " in self.names[name] else _SIMPLE
            case ast.UnaryOp(op=op, operand=operand):
                inner = self.inside(operand, _PRODUCT)
                return ("-" + inner if isinstance(op, ast.USub) else inner), _PRODUCT
            case ast.BinOp(op=ast.Add(), left=left, right=right):
                return f"{self.inside(left, _SUM)} + {self.term(right, _SUM)}", _SUM
            case ast.BinOp(op=ast.Sub(), left=left, right=right):
                return f"{self.inside(left, _SUM)} - {self.term(right, _PRODUCT)}", _SUM
            case ast.BinOp(op=ast.Div(), left=left, right=right):
                return rf"\frac{{{self.expression(left)[0]}}}{{{self.expression(right)[0]}}}", _ATOM
            case ast.BinOp(op=ast.Pow(), left=left, right=right):
                return f"{self.inside(left, _SIMPLE)}^{{{self.expression(right)[0]}}}", _ATOM
            case ast.BinOp(left=left, right=right):
                return self.product(left, right), _PRODUCT
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return f"{self.expression(left)[0]} {_RELATIONS[type(op)]} {self.expression(right)[0]}", _SUM
            case ast.Call(func=ast.Attribute(attr=name), args=args):
                return self.function(name, args), _OPEN if name == "where" else _ATOM
            case ast.Call(func=func, args=args, keywords=keywords):
                given = [self.expression(a)[0] for a in args]
                named = {symbol(str(k.arg)): self.expression(k.value)[0] for k in keywords}
                given += [f"{name} = {value}" for name, value in named.items() if name != value]
                inner = r",\, ".join(given)
                return rf"\operatorname{{{ast.unparse(func).replace('_', ' ')}}}\left({inner}\right)", _ATOM
        raise AssertionError(ast.dump(node))

    def inside(self, node: ast.expr, level: int) -> str:
        text, binds = self.expression(node)
        return text if binds >= level else rf"\left({text}\right)"

    def term(self, node: ast.expr, level: int) -> str:
        """The right side of a sum: in brackets if it begins with a minus sign."""
        text = self.inside(node, level)
        return rf"\left({text}\right)" if text.startswith("-") else text

    def product(self, left: ast.expr, right: ast.expr) -> str:
        same = ast.dump(right)
        if isinstance(right, ast.Constant):
            return rf"{self.inside(left, _PRODUCT)} \cdot {self.inside(right, _PRODUCT)}"
        if ast.dump(left) == same:
            return self.squared(right)
        match left:
            case ast.BinOp(op=ast.Mult(), left=first, right=second) if ast.dump(second) == same:
                return f"{self.inside(first, _PRODUCT)} {self.squared(right)}"
        a, b = self.inside(left, _PRODUCT), self.inside(right, _PRODUCT)
        b = rf"\left({b}\right)" if b.startswith("-") else b
        dot = r" \cdot " if re.match(r"\d", b) else r" \, " if _wordy(a, b) else " "
        return f"{a}{dot}{b}"

    def squared(self, node: ast.expr) -> str:
        text = self.inside(node, _SIMPLE)
        split = re.fullmatch(r"(\\?\w+|\\hat\{\w+\})(_.*)", text)
        return f"{split[1]}{split[2]}^2" if split else f"{text}^2"

    def function(self, name: str, args: list[ast.expr]) -> str:
        inner = [self.expression(a)[0] for a in args]
        match name:
            case "sqrt":
                return rf"\sqrt{{{inner[0]}}}"
            case "abs":
                return rf"\left|{inner[0]}\right|"
            case "floor":
                return rf"\left\lfloor {inner[0]} \right\rfloor"
            case "where":
                return rf"\begin{{cases}} {inner[1]} & {inner[0]} \\ {inner[2]} & \text{{otherwise}} \end{{cases}}"
            case "maximum" | "minimum":
                return rf"\{name[:3]}\left({inner[0]},\, {inner[1]}\right)"
        command = rf"\operatorname{{{name}}}" if name == "sign" else "\\" + name
        return rf"{command}\left({inner[0]}\right)"
