"""The JavaScript face: a rule, a function of scalars, a landscape or an optimizer as source for a browser.

Numbers are float64 there, as in NumPy. ``+ - * /`` and square roots give the same bits; ``**`` does for whole
exponents, up to a rare last bit of the C library's; exp, log, sin and cos may differ in the last bit.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dlopt.engine import writing
from dlopt.engine.faces.javascript_printers import FunctionPrinter, MethodPrinter, js_object
from dlopt.engine.lowering import element, lower, scalar
from dlopt.engine.program import BEFORE
from dlopt.engine.rule import rule_of

__all__ = ["RUNTIME", "Translator", "as_json", "javascript"]

RUNTIME = Path(__file__).with_name("runtime.js").read_text(encoding="utf-8")
"""What translated functions call, and the step of an optimizer: a script that defines ``dlopt``."""

_ALSO = frozenset({"**", "stored", "reserved"})


def javascript(function: Callable[..., Any]) -> str:
    """JavaScript for a function in the grammar of rules or of scalars, after the functions that it calls.

    Positional arguments stay positional; keyword-only ones come in one object at the end. It returns what the
    function returns, several values as an array.

    Raises:
        GrammarError: `function` is outside the grammar, or uses a comparison as a number.

    Example:
        >>> from dlopt.sgd.sgd import sgd
        >>> print(javascript(sgd))
        function $sgd(g, p, {lr}) {
          return ((-lr) * g);
        }
    """
    translator = Translator()
    translator.function(function)
    return translator.source()


class Translator:
    """Gathers translated functions under names of their own, each once.

    Example:
        >>> from dlopt.sgd.sgd import sgd, heavy_ball
        >>> translator = Translator()
        >>> translator.function(sgd), translator.function(heavy_ball), translator.function(sgd)
        ('$sgd', '$heavy_ball', '$sgd')
    """

    def __init__(self) -> None:
        self._names: dict[Any, str] = {}
        self._written: list[str] = []

    def source(self) -> str:
        """The declarations so far, a function after those it calls."""
        return "\n".join(self._written)

    def function(self, function: Callable[..., Any], named: bool = False) -> str:
        """Translate a function of the grammar, if it is not yet; `named`: it returns an object by the names returned.

        Returns:
            The name it has in :meth:`source`.

        Raises:
            GrammarError: it is outside the grammar, or uses a comparison as a number.
        """
        if (function, named) not in self._names:
            rule = rule_of(function, also=_ALSO)
            lower(rule, [*map(element, rule.elements)], {name: scalar(name) for name in rule.scalars})  # types fit
            called = {name: self.function(other.function) for name, other in rule.calls.items()}
            self._names[function, named] = name = self._free(rule.name)
            self._written.append(FunctionPrinter(rule, called).declaration(name, named))
        return self._names[function, named]

    def rule(self, function: Callable[..., Any]) -> str:
        """An object that holds a rule, the names of its arguments and the function itself."""
        rule = rule_of(function)
        members = {"name": rule.name, "elements": rule.elements, "scalars": rule.scalars}
        return js_object({**{k: json.dumps(v) for k, v in members.items()}, "call": self.function(function)})

    def optimizer(self, cls: Any, **hyper: Any) -> str:
        """An object for an optimizer of element-wise rules: hyperparameters, rules, and its own methods translated.

        Args:
            cls: a subclass of `dlopt.engine.RuleOptimizer`.
            hyper: hyperparameters other than the defaults.

        Raises:
            TypeError: its rules are matrix rules, or it takes sparse gradients only.
            ValueError: for a hyperparameter that the class refuses.
            GrammarError: a method of the class is more than this face translates.
        """
        name = cls.__name__
        if getattr(cls, "matrix", True) or cls.sparse_only:
            raise TypeError(f"{name} has no element-wise rule for dense gradients: it does not run in a browser")
        made = cls([torch.zeros(1, requires_grad=True)], **hyper)
        group = {key: as_json(value) for key, value in made.param_groups[0].items() if key != "params"}
        moves = getattr(cls, "moves", {})
        methods = {key: self._method(cls, key) for key in ("hyper", "rule", "initial")}
        return js_object(
            {
                "name": json.dumps(name),
                "group": json.dumps(group),
                "rules": "[" + ", ".join(self.rule(rule) for rule in cls.rules) + "]",
                "moves": js_object({rule.__name__: self.rule(there) for rule, (there, _) in moves.items()}),
                "stateKeys": json.dumps(list(cls.state_keys)),
                "scalarState": json.dumps({k: v for k, (_, v) in cls.scalar_state.items()}),
                "scalars": self.function(cls.scalars, named=True) if cls.scalars else "null",
                "counted": json.dumps(cls.counted),
                "decoupled": json.dumps(cls.decoupled),
                "ascent": self.function(BEFORE["maximize"]),
                "coupledDecay": self.function(BEFORE["l2"]),
                "write": self.function(writing.plain),
                **methods,
            }
        )

    def _method(self, cls: type, name: str) -> str:
        """A method of the class as an arrow function; `self` is its first argument."""
        owner = next(base for base in cls.__mro__ if name in vars(base))
        return self.method(vars(owner)[name], owner, cls)

    def method(self, function: Callable[..., Any], owner: type | None = None, cls: type | None = None) -> str:
        """A short Python function as an arrow function: see :class:`MethodPrinter`."""
        key = (function, cls)
        if key not in self._names:
            self._names[key] = name = self._free(function.__name__)
            self._written.append(f"const {name} = {MethodPrinter(self, function, owner, cls).arrow()};")
        return self._names[key]

    def _free(self, name: str) -> str:
        """A name that no Python name can take, so that no argument hides a function."""
        taken, wanted, k = set(self._names.values()), f"${name}", 2
        while wanted in taken:
            wanted, k = f"${name}_{k}", k + 1
        return wanted


def as_json(value: Any) -> Any:
    """A hyperparameter as JSON has it: tensors and NumPy's numbers as numbers, tuples as lists.

    >>> as_json((torch.tensor(0.5), 1))
    [0.5, 1]
    """
    if isinstance(value, (torch.Tensor, np.generic)):
        return value.item()
    return [as_json(v) for v in value] if isinstance(value, (tuple, list)) else value
