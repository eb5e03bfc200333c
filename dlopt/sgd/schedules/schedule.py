"""What a schedule is: a function of the step, one written in the grammar of rules or composed of such."""

from __future__ import annotations

import bisect
import functools
import inspect
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from dlopt.engine.checks import HyperparameterTypeError, number
from dlopt.engine.rule import rule_of
from dlopt.engine.scalars import evaluate

__all__ = ["Formula", "Product", "Schedule", "Sequential", "sequential"]


class Schedule:
    """A function of the step, counted from 0: the factor on the learning rate, or a momentum.

    Immutable, comparable and hashable by content, picklable; a `torch.optim.lr_scheduler.LambdaLR` takes it as
    it is. Two schedules multiply, ``a * b``.

    The instance's ``__dict__`` is there and stays empty. `LambdaLR.state_dict` stores it, so a checkpoint
    holds the step and not the schedule: ``torch.load(weights_only=True)`` reads it, and the schedule that
    counts after a resume is the one in the code.

    Attributes:
        function: the grammar function, or None if this is a composition.
        hyper: its keywords by name.
        parts: the schedules this one is composed of.

    Raises:
        ValueError: when called with a step that is negative or no finite number.

    Example:
        >>> import torch
        >>> from dlopt.sgd import schedules
        >>> opt = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=0.4)
        >>> scheduler = torch.optim.lr_scheduler.LambdaLR(opt, schedules.cosine(2))
        >>> opt.step(); scheduler.step()
        >>> scheduler.get_last_lr()
        [0.2]
    """

    function: Callable[..., Any] | None
    parts: tuple[Schedule, ...]
    call: str  # what made it, where that cannot be read off its content

    @property
    def hyper(self) -> dict[str, Any]:
        return {}

    @property
    def rules(self) -> tuple[Callable[..., Any], ...]:
        """The distinct grammar functions in it, in order."""
        return tuple(dict.fromkeys(rule for part in self.parts for rule in part.rules))

    def __call__(self, t: float) -> float:
        if not isinstance(t, Real):
            raise HyperparameterTypeError(f"Invalid step: {t!r} is a {type(t).__name__}, not a number")
        if not 0 <= t < math.inf:
            raise ValueError(f"Invalid step: {t}; steps are counted from 0")
        return self._at(t)

    def _at(self, t: Any) -> float:
        raise TypeError("make a schedule by one of the functions of dlopt.sgd.schedules, or by Formula")

    def __reduce__(self) -> tuple[Any, ...]:
        return _remade, (type(self), [(name, getattr(self, name)) for name in self.__slots__])  # type: ignore[attr-defined]

    def __mul__(self, other: Schedule) -> Schedule:
        parts = (*(self.parts if isinstance(self, Product) else (self,)), other)
        return Product(parts)


@dataclass(frozen=True, repr=False, init=False)
class Formula(Schedule):
    """A schedule that is one function in the grammar of rules, with its scalars.

    Args:
        function: ``def name(t, *, ...)`` with one value returned; besides what a rule may use, ``**`` and
            ``xp.floor`` are allowed. Its value at each step is computed in float64.
        hyper: a finite number for each keyword of the function.

    Raises:
        GrammarError: if the function is outside the grammar.
        ValueError: if keywords are missing, unknown, or no finite numbers.

    Example:
        >>> from dlopt.engine import xp
        >>> def sawtooth(t, *, period):
        ...     scale = 1 - t / period + xp.floor(t / period)
        ...     return scale
        >>> teeth = Formula(sawtooth, period=4)
        >>> teeth, [teeth(t) for t in range(6)]
        (sawtooth(period=4), [1.0, 0.75, 0.5, 0.25, 1.0, 0.75])
    """

    __slots__ = ("call", "function", "items")
    function: Callable[..., Any]
    items: tuple[tuple[str, float], ...]
    parts = ()

    def __init__(self, function: Callable[..., Any], **hyper: float) -> None:
        rule = rule_of(function, also=frozenset({"**"}))
        if rule.elements != ("t",) or len(rule.returns) != 1:
            raise ValueError(f"a schedule is a function of t and keywords that returns one number, not {rule.name}")
        if set(hyper) != set(rule.scalars):
            raise ValueError(f"{rule.name} takes the keywords {list(rule.scalars)}, got {list(hyper)}")
        for name, value in hyper.items():
            number(name, value)
        object.__setattr__(self, "call", "")
        object.__setattr__(self, "function", function)
        object.__setattr__(self, "items", tuple((name, _plain(hyper[name])) for name in rule.scalars))

    @property
    def hyper(self) -> dict[str, Any]:
        return dict(self.items)

    @property
    def rules(self) -> tuple[Callable[..., Any], ...]:
        return (self.function,)

    def _at(self, t: Any) -> float:
        [value] = evaluate(self.function, t, **dict(self.items)).values()
        return value

    def __repr__(self) -> str:
        return self.call or _call(self.function.__name__.strip("_"), self.items)


@dataclass(frozen=True, repr=False)
class Product(Schedule):
    """The product of its parts at every step; made by ``a * b``, as `torch.optim.lr_scheduler.ChainedScheduler`.

    Example:
        >>> from dlopt.sgd import schedules
        >>> both = schedules.linear(4) * schedules.step(2, gamma=0.5)
        >>> both, both(2)
        (linear(steps=4, start_factor=1, end_factor=0) * step(step_size=2, gamma=0.5), 0.25)
    """

    __slots__ = ("parts",)
    parts: tuple[Schedule, ...]
    function = None

    def __post_init__(self) -> None:
        _check_parts(self.parts)

    def _at(self, t: Any) -> float:
        return math.prod(part._at(t) for part in self.parts)

    def __repr__(self) -> str:
        return " * ".join(map(repr, self.parts))


@dataclass(frozen=True, repr=False)
class Sequential(Schedule):
    """One schedule after another, each counting from 0 at its milestone; made by :func:`sequential`."""

    __slots__ = ("call", "milestones", "parts")
    parts: tuple[Schedule, ...]
    milestones: tuple[int, ...]
    function = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "call", "")
        _check_parts(self.parts)
        ascending("milestones", self.milestones)
        if len(self.parts) != len(self.milestones) + 1:
            raise ValueError(
                "Sequential Schedulers expects number of schedulers provided to be one more than the number of"
                f" milestone points, but got {len(self.parts)} and {len(self.milestones)}"
            )

    @property
    def hyper(self) -> dict[str, Any]:
        return {"milestones": list(self.milestones)}

    def _at(self, t: Any) -> float:
        place = bisect.bisect_right(self.milestones, t)
        return self.parts[place]._at(t - self.milestones[place - 1] if place else t)

    def __repr__(self) -> str:
        return self.call or f"sequential([{', '.join(map(repr, self.parts))}], milestones={list(self.milestones)})"


def sequential(schedules: Sequence[Schedule], milestones: Sequence[int]) -> Sequential:
    """One schedule after another: ``schedules[i]`` from ``milestones[i - 1]`` on, as torch's `SequentialLR`.

    Each counts its steps from 0 at its milestone.

    Args:
        schedules: at least two.
        milestones: the steps at which the second and later ones begin; one fewer, increasing, at least 1.

    Raises:
        ValueError: for milestones that are not such, or parts that are no schedules.

    Example:
        >>> from dlopt.sgd import schedules
        >>> hold_then_fall = sequential([schedules.constant(), schedules.linear(2)], milestones=[3])
        >>> [hold_then_fall(t) for t in range(6)]
        [1.0, 1.0, 1.0, 1.0, 0.5, 0.0]
    """
    return Sequential(_tuple("schedules", schedules), _tuple("milestones", milestones))


def whole(what: str, value: Any, *, low: int = 1) -> None:
    """Refuse `value` unless it is an integer of at least `low`.

    >>> whole("steps", 0.5)
    Traceback (most recent call last):
    ValueError: Expected positive integer steps, but got 0.5
    """
    if not isinstance(value, Integral) or isinstance(value, bool) or value < low:
        kind = "positive integer" if low == 1 else f"integer of at least {low} for"
        raise ValueError(f"Expected {kind} {what}, but got {value}")


def ascending(what: str, values: Sequence[Any]) -> None:
    """Refuse `values` unless they are integers of at least 1, each larger than the one before."""
    for value in values:
        whole(what, value)
    if not values or any(a >= b for a, b in zip(values, values[1:], strict=False)):
        raise ValueError(f"Expected increasing {what}, at least one, but got {list(values)}")


def called(make: Callable[..., Schedule]) -> Callable[..., Schedule]:
    """Decorates a function that makes schedules of private formulas: they print as the call of it."""
    signature = inspect.signature(make)

    @functools.wraps(make)
    def made(*arguments: Any, **keywords: Any) -> Schedule:
        schedule = make(*arguments, **keywords)
        given = signature.bind(*arguments, **keywords).arguments
        told = [(key, value) for key, value in given.items() if value != signature.parameters[key].default]
        object.__setattr__(schedule, "call", _call(make.__name__, told))
        return schedule

    return made


def _call(name: str, items: Iterable[tuple[str, Any]]) -> str:
    return f"{name}({', '.join(f'{key}={_short(value)}' for key, value in items)})"


def _short(value: Any) -> str:
    """`value` as one would type it: 1.0 as 1."""
    if isinstance(value, Real) and not isinstance(value, bool) and float(text := f"{value:.12g}") == value:
        return text
    return repr(value)


def _remade(kind: type, items: list[tuple[str, Any]]) -> Any:
    """A schedule from its pickle."""
    made: Any = object.__new__(kind)
    for name, value in items:
        object.__setattr__(made, name, value)
    return made


def _check_parts(parts: Sequence[Any]) -> None:
    for part in parts:
        if not isinstance(part, Schedule):
            raise HyperparameterTypeError(
                f"{part!r} is no schedule; dlopt.sgd.schedules.Formula makes one of a function of t"
            )


def _tuple(what: str, values: Any) -> tuple[Any, ...]:
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise HyperparameterTypeError(f"Expected a list of {what}, but got {values!r}")
    return tuple(int(v) if isinstance(v, Integral) and not isinstance(v, bool) else v for v in values)


def _plain(value: Any) -> float:
    return int(value) if isinstance(value, Integral) else float(value)
