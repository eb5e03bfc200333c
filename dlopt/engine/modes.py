"""Optimizers whose parameters stand somewhere else while training than when the model is used."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from dlopt.engine.batch import Batch, aligned
from dlopt.engine.checks import options
from dlopt.engine.clock import Step
from dlopt.engine.faces.torch import namespace
from dlopt.engine.gather import Group, Pending, gathered_row, take
from dlopt.engine.optimizer import RuleOptimizer
from dlopt.engine.rule import with_namespace
from dlopt.engine.scalars import plain_value
from dlopt.engine.settings import LATER
from dlopt.engine.state import in_eight_bits, keys_of, made, program_of, state_dtype
from dlopt.engine.writing import WHOLE, WRITER_STATE

Move = Callable[..., Any]


class ModeOptimizer(RuleOptimizer):
    """A RuleOptimizer with ``train()`` and ``eval()``, which move the parameters between two points.

    The mode is state: it is saved, as `train_mode` in every group. It begins as training.

    Class attributes:
        moves: rule → the two rules that bring its parameters to the point to use, and back. They have the
            signature of a rule, but there is no gradient: the parameter stands in its place, with what
            ``writing`` has kept of it, so a move computes with `g` and proposes a change from `g`.

    Going to the one point and back brings the parameters back up to rounding in their dtype, not bit for bit.
    """

    moves: ClassVar[dict[Move, tuple[Move, Move]]] = {}

    def __init__(self, params: Any, defaults: dict[str, Any], **engine: Any) -> None:
        super().__init__(params, {**defaults, "train_mode": True}, **engine)

    def check_group(self, group: dict[str, Any]) -> None:
        """As :meth:`RuleOptimizer.check_group`, and the mode must be one."""
        super().check_group(group)
        if not isinstance(group["train_mode"], bool):
            raise ValueError(f"Invalid train_mode: {group['train_mode']!r}")

    def initial(self, group: dict[str, Any], symbol: str, p: Tensor) -> Any:
        """As :meth:`RuleOptimizer.initial`; state cannot begin in the middle, where the point to use is known from it.

        Raises:
            RuntimeError: `p` has taken steps by another rule.
        """
        if self.state.get(p):
            name, key = type(self).__name__, self.state_keys[symbol]
            raise RuntimeError(
                f"{name} has no {key!r} for a parameter that has taken steps: was momentum set to 0, or from 0?"
            )
        return p

    def eval(self) -> None:
        """Bring the parameters to the point to use: call it before the model is evaluated or saved for use."""
        self._move(to_train=False)

    def train(self) -> None:
        """Bring the parameters back to where training goes on."""
        self._move(to_train=True)

    @torch.no_grad()
    def _move(self, to_train: bool) -> None:
        groups = [group for group in self.param_groups if group["train_mode"] != to_train]
        take([item for group in groups for item in gather_move(self, group, lambda rule: self.moves[rule][to_train])])
        for group in groups:
            group["train_mode"] = to_train

    def check_step(self) -> None:
        """The gradients must be those at the training point: RuntimeError in eval mode."""
        if not all(group["train_mode"] for group in self.param_groups):
            raise RuntimeError(f"{type(self).__name__} is in eval mode: call train() before the next step")


def gather_move(optimizer: RuleOptimizer, group: Group, moved: Callable[[Any], Any]) -> list[Pending]:
    """The batches of one group for a move: `moved` names, for the rule of a step, the rule to apply instead.

    Parameters without state stay where they are. There is no gradient: in its place stands the parameter, with what
    its writer has kept of it, in the dtype of the state.

    Raises:
        RuntimeError: the state is that of another rule.
        ValueError: for an engine option that became wrong.
    """
    options(optimizer, group)
    pending = []
    hyper = {name: plain_value(name, value) for name, value in optimizer.hyper(group).items()}
    for p in group["params"]:
        entry = {key: value for key, value in optimizer.state.get(p, {}).items() if value is not None}
        if not entry:
            continue
        t = entry["step"].item() if optimizer.counted else LATER
        rule = optimizer.as_rule(moved(optimizer.rule(group, t)))
        program = program_of(optimizer, group, rule, (), in_eight_bits(group, p))
        new = made(optimizer, group, program, p, entry)
        entry |= new
        keys, kept = keys_of(optimizer, program), WRITER_STATE[program.writer].values()
        step = Step(program, {name: hyper[name] for name in program.scalars}, keys, {})
        whole = p.detach().to(state_dtype(p), copy=True)
        if program.writer in WHOLE:
            read = with_namespace(WHOLE[program.writer], namespace(state_dtype(p), p.dtype))
            whole = read(whole, *(entry[key] for key in kept))
        row, scatter = gathered_row(optimizer, group, step, p, whole, [entry[key] for key in keys])
        back = [scatter] if scatter else []
        streams = [[tensor] for tensor in row]
        batch = Batch(program, step.scalars, streams, aligned(row, 1 + program.outputs), False, [entry], keys, back)
        pending.append(Pending(batch, group, functools.partial(_add, optimizer, p, new)))
    return pending


def _add(optimizer: RuleOptimizer, p: Tensor, new: dict[str, Tensor | None]) -> None:
    optimizer.state[p].update(new)
