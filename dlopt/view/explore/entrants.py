"""Who takes part: what a caller calls an optimizer, as a class with a name and checked hyperparameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

import torch

import dlopt
from dlopt.engine import RuleOptimizer
from dlopt.engine.faces.javascript import as_json
from dlopt.engine.rule import GrammarError

from . import controls


@dataclass(frozen=True)
class Entrant:
    """An optimizer by the name it has in an explorer.

    Attributes:
        name: its class's or rule's.
        cls: the class; None for a rule outside the grammar.
        given: hyperparameters that the class cannot do without.
        error: why it cannot run anywhere.
        of: the class or rule that it is.
    """

    name: str
    cls: Any
    given: Mapping[str, Any] = field(default_factory=dict)
    error: GrammarError | None = None
    of: Any = None

    @property
    def public(self) -> bool:
        """Whether its name alone finds it again."""
        return self.cls is not None and _public(self.name) is self.cls

    @property
    def in_browser(self) -> bool:
        return self.cls is not None and not (self.cls.matrix or self.cls.sparse_only)

    def made(self, params: Any, hyper: Mapping[str, Any]) -> RuleOptimizer:
        """The optimizer of `params`; pairs in `hyper` may be lists."""
        values = {**self.given, **hyper}
        return self.cls(params, **{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def public_optimizers() -> dict[str, Entrant]:
    """Every optimizer among dlopt's public names that runs in a browser.

    >>> "Adam" in public_optimizers(), "Muon" in public_optimizers()
    (True, False)
    """
    found = {name: Entrant(name, cls, of=cls) for name in dlopt.__all__ if (cls := _public(name))}
    return {name: entrant for name, entrant in found.items() if entrant.in_browser}


def _public(name: str) -> Any:
    cls = getattr(dlopt, name, None) if name in dlopt.__all__ else None
    return cls if isinstance(cls, type) and issubclass(cls, RuleOptimizer) else None


def split(each: Any) -> tuple[Any, dict[str, Any]]:
    """Which optimizer, and its hyperparameters: from a pair, an entry of the trait, or the optimizer alone.

    >>> split(("SGD", {"lr": 0.1})), split("Adam"), split({"name": "Lion", "hyper": {"betas": (0.9, 0.99)}})
    (('SGD', {'lr': 0.1}), ('Adam', {}), ('Lion', {'betas': [0.9, 0.99]}))

    Raises:
        TypeError: it is none of these.
    """
    match each:
        case {"name": which, "hyper": Mapping() as hyper} | (which, Mapping() as hyper):
            return which, {str(key): as_json(value) for key, value in hyper.items()}
        case str() | type() | FunctionType():
            return each, {}
        case _:
            raise TypeError(f"an optimizer is a name, a class, a rule, or a pair of one and its settings, not {each!r}")


def admit(
    which: Any, hyper: dict[str, Any], rates: Mapping[str, float], known: Mapping[str, Entrant], as_it_is: bool = False
) -> tuple[Entrant, dict[str, Any]]:
    """The entrant that `which` means, and its hyperparameters with a learning rate.

    Args:
        rates: see :func:`controls.learning_rates`.
        known: entrants that a name may mean, besides the public ones.
        as_it_is: the hyperparameters are complete, and none of them is refused.

    Raises:
        ValueError: no optimizer has that name, or one of dlopt's has it already; or a hyperparameter is wrong.
        TypeError: `which` is no optimizer, or has no such hyperparameter.
    """
    name = which if isinstance(which, str) else getattr(which, "__name__", repr(which))
    lr = rates[controls.rate_kind(name)]
    entrant = _entrant(which, name, hyper, lr, known)
    if as_it_is or not entrant.in_browser:
        return entrant, hyper
    param = [torch.zeros(1, requires_grad=True)]
    made = entrant.made(param, hyper)
    return entrant, {"lr": lr, **hyper} if "lr" in made.defaults else hyper


def _entrant(which: Any, name: str, hyper: dict[str, Any], lr: float, known: Mapping[str, Entrant]) -> Entrant:
    if isinstance(which, str):
        if which in known:
            return known[which]
        if _public(which) is None:
            raise ValueError(f"no optimizer is called {which!r}; there are {', '.join(public_optimizers())}")
        return Entrant(which, _public(which), of=_public(which))
    if _public(name) not in (None, which):
        raise ValueError(f"{name} is the name of an optimizer of dlopt: give yours another")
    if isinstance(which, FunctionType):
        try:
            return Entrant(name, controls.optimizer_of(which, hyper, lr), of=which)
        except GrammarError as error:
            return Entrant(name, None, error=error, of=which)
    if isinstance(which, type) and issubclass(which, RuleOptimizer):
        return Entrant(name, which, {} if _public(name) is which else hyper, of=which)
    raise TypeError(f"{name} is no optimizer of dlopt: pass a name, a subclass of RuleOptimizer, or a rule")
