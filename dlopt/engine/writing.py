"""What the engine does around a rule: to the gradient before it, to the parameter after it.

These functions are written in the rules' grammar, so every face runs the same source. A writer takes
the parameter ``p``, the change ``d`` that the rule proposes, and its own state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dlopt.engine.rule import xp


def unscaled(g, *, grad_scale):
    """A gradient of a loss that ``GradScaler`` had multiplied by ``grad_scale``."""
    return g / grad_scale


def ascent(g):
    """``maximize=True``: climb instead of descend."""
    return -g


def coupled_decay(g, p, *, l2):
    """L2 regularization: the gradient of l2 * ||p||^2 / 2, added before the rule sees ``g``."""
    return g + l2 * p


def plain(p, d):
    return p + d


def kahan(p, d, c):
    """Compensated summation (Kahan 1965): ``c`` keeps what rounding to the parameter's dtype lost.

    A rule that proposes exactly -p sets the element to zero, and then nothing is left to be made up for.
    """
    change = xp.where(d == -p, d, d + c)
    new = xp.stored(p + change)
    return new, change - (new - p)


def stochastic(p, d, r):
    """Stochastic rounding (von Neumann and Goldstine 1947; Gupta et al. 2015): right on average; ``r`` is random."""
    return xp.rounded(p + d, r)


def master(p, d, w):
    """The parameter is the rounding of ``w``, which is kept in float32 or wider (Micikevicius et al. 2018)."""
    new = p + d
    return new, new


def read_master(p, w):
    """What the rule sees as the parameter: ``w``; but the parameter where somebody else has written it since."""
    return xp.where(xp.stored(w) == p, w, p)


def read_compensated(p, c):
    return p + c


WRITERS: dict[str, Callable[..., Any]] = {"plain": plain, "kahan": kahan, "stochastic": stochastic, "master": master}
WRITER_STATE: dict[str, dict[str, str]] = {
    "plain": {}, "kahan": {"c": "kahan_compensation"}, "stochastic": {"r": "rounding_counter"},
    "master": {"w": "master_weight"},
}  # fmt: skip
"""The state a writer keeps beside the rule's, symbol to state key: Kahan's in the parameter's dtype, the others' as
:func:`dlopt.engine.state.writer_state` makes it."""
READERS: dict[str, Callable[..., Any]] = {"master": read_master}
"""What the rule sees as the parameter, of the parameter and the writer's state; the parameter if not named."""
WHOLE: dict[str, Callable[..., Any]] = {"kahan": read_compensated, "master": read_master}
"""The parameter with all that the writer knows of it, in the dtype of the state."""
COUNTER, MASTER = WRITER_STATE["stochastic"]["r"], WRITER_STATE["master"]["w"]
ALSO = frozenset({"stored", "rounded"})
