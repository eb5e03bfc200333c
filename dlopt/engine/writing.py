"""What the engine does around a rule: to the gradient before it, to the parameter after it.

These functions are written in the rules' grammar, so every face runs the same source. A writer takes
the parameter ``p``, the change ``d`` that the rule proposes, and its own state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dlopt.engine.rule import xp


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


WRITERS: dict[str, Callable[..., Any]] = {"plain": plain, "kahan": kahan}
WRITER_STATE = {"plain": {}, "kahan": {"c": "kahan_compensation"}}
"""The state a writer keeps beside the rule's, symbol to state key, in the parameter's dtype."""
