"""What a group's hyperparameters and a scaler say to its next step. Worked out again only when they have changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import is_
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dlopt.engine.clock import Step, on_device
from dlopt.engine.device import UNSCALED, Scaling
from dlopt.engine.program import Program
from dlopt.engine.scalars import evaluate, plain_value
from dlopt.engine.state import keys_of, program_of

if TYPE_CHECKING:
    from dlopt.engine.optimizer import RuleOptimizer

Group = dict[str, Any]
LATER = 2.0  # the t of a class that does not count, after a parameter's first step
_LASTING = {type(None), bool, int, float, str}
_NO_SETTING = {"params", "param_names"}


@dataclass
class Settings:
    """The same for every parameter of a group, whatever its clock shows.

    ``own`` holds the hyperparameters by the names the rules use, numbers or tensors, ``hyper`` the same with what the
    engine adds or sees to itself. ``before`` names what is done to the gradient first. ``group`` is the group as it
    was, None if it holds what may change unseen, as a tensor does. ``programs`` are those made so far, by rule, with
    their state keys.
    """

    own: dict[str, Any]
    hyper: dict[str, Any]
    before: tuple[str, ...]
    group: Group | None = None
    programs: dict[Any, tuple[Program, tuple[str, ...]]] = field(default_factory=dict)

    def hold(self, group: Group, scaling: Scaling) -> bool:
        """Whether they are still those of `group`."""
        if self.group is None or scaling is not UNSCALED or list(self.group) != list(group):
            return False
        return all(map(is_, self.group.values(), group.values()))

    @property
    def lasting(self) -> bool:
        """Whether they may hold at the next step; there are no tensors among them then."""
        return self.group is not None


def settings_of(
    optimizer: RuleOptimizer, group: Group, scaling: Scaling, place: torch.device | None = None
) -> Settings:
    """The settings of `group`. With a `place`, a device, hyperparameters that are tensors stay, there.

    Raises:
        RuntimeError, ValueError: for a hyperparameter that became wrong.
    """
    own = {name: plain_value(name, value, place) for name, value in optimizer.hyper(group).items()}
    hyper, decay = dict(own), own.get("weight_decay", 0.0)
    before: tuple[str, ...] = ("unscale",) if scaling.scale is not None else ()
    before += ("maximize",) if group["maximize"] else ()
    flagged = "decoupled_weight_decay" in optimizer.defaults
    if not (group["decoupled_weight_decay"] if flagged else optimizer.decoupled):
        hyper |= {"l2": decay, "weight_decay": 0.0}
        before += ("l2",) if isinstance(decay, Tensor) or decay != 0 else ()
    if scaling.scale is not None:
        hyper["grad_scale"] = plain_value("grad_scale", scaling.scale, place)
    new = Settings(own, hyper, before)
    if place is None and scaling is UNSCALED and not optimizer.matrix:
        if all(_lasts(value) for name, value in group.items() if name not in _NO_SETTING):
            new.group = dict(group)
    return new


def _lasts(value: Any) -> bool:
    """Whether `value` cannot change without becoming another object."""
    return type(value) in _LASTING or type(value) is tuple and all(map(_lasts, value))


def next_step(
    optimizer: RuleOptimizer,
    group: Group,
    settings: Settings,
    clock: tuple[Any, ...],
    first: bool = False,
    flat: bool = False,
    eight: bool = False,
    place: torch.device | None = None,
) -> Step:
    """The next step of a parameter whose clock (count, scalar state) stands at `clock`.

    `first`: it is the first; `flat`: it is no matrix; `eight`: its state is kept in 8 bits. With a `place` a clock may
    hold a value a parameter.
    """
    t = clock[0] + 1 if optimizer.counted else (1.0 if first else LATER)
    new = {}
    if optimizer.scalars is not None:
        new = evaluate(optimizer.scalars, t, *clock[optimizer.counted :], **settings.own)
        if place is None and any(isinstance(new[symbol], Tensor) for symbol in optimizer.scalar_state):
            name = type(optimizer).__name__
            raise RuntimeError(f"{name} keeps numbers that depend on lr: `differentiable` does not reach a tensor lr")
    function = optimizer.vector_rule if flat and optimizer.vector_rule else optimizer.rule(group, t)
    if (function, eight) not in settings.programs:
        program = program_of(optimizer, group, optimizer.as_rule(function), settings.before, eight)
        settings.programs[function, eight] = program, keys_of(optimizer, program)
    program, keys = settings.programs[function, eight]
    scalars = {name: new[name] if name in new else settings.hyper[name] for name in program.scalars}
    after = {"step": t} if optimizer.counted else {}
    after |= {key: new[symbol] for symbol, (key, _) in optimizer.scalar_state.items()}
    return Step(program, scalars, keys, after)


def next_step_on_device(
    optimizer: RuleOptimizer,
    group: Group,
    entries: list[Any],
    place: torch.device,
    scaling: Scaling,
    first: bool = False,
    flat: bool = False,
    eight: bool = False,
) -> Step:
    """The next step of parameters that each have a clock, kept on the device `place`, where it is not looked at."""
    bases = on_device(optimizer, entries, place)
    skip = None if scaling.skip is None else scaling.skip.to(place, non_blocking=True)
    clock = tuple(base.double() for base in bases.values())
    settings = settings_of(optimizer, group, scaling, place)
    step = next_step(optimizer, group, settings, clock, first, flat, eight, place)
    step.bases, step.skip = bases, skip
    return step
