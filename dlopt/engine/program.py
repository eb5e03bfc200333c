"""One step of one parameter as a composition: maximize, coupled decay, the rule, the writer."""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dlopt.engine import eight_bits, writing
from dlopt.engine.matrix import MatrixRule
from dlopt.engine.rule import Rule, rule_of, with_namespace

BEFORE: dict[str, Callable[..., Any]] = {
    "unscale": writing.unscaled,
    "maximize": writing.ascent,
    "l2": writing.coupled_decay,
}


@dataclass(frozen=True)
class Program:
    """What a step does to each element. Streams come in the order g, p, rule state, writer state.

    ``before`` names the transformations of the gradient, in the order they are applied. The step writes all streams
    but g and random words; an unscaled gradient is written back too, and comes first among the results then.
    ``codes`` has, unless empty, for each state of the rule the map that it is stored in in 8 bits, or None; then the
    blocks' largest magnitudes are further streams, which the rule does not see.

    ``norms`` names quantities whose norms, over a whole tensor, reach the rule as scalars: the norm of ``u`` as
    ``u_norm``. It takes what it needs of the rule's arguments.
    """

    rule: Rule | MatrixRule
    before: tuple[str, ...] = ()
    writer: str = "plain"
    codes: tuple[str | None, ...] = ()
    norms: Rule | None = None

    @functools.cached_property
    def scalars(self) -> tuple[str, ...]:
        """What the host supplies, the norms not among it."""
        rules = [self.rule, *filter(None, [self.norms]), *self.parts()[0].values()]
        return tuple(dict.fromkeys(name for rule in rules for name in rule.scalars if name not in self.norm_names))

    @functools.cached_property
    def norm_names(self) -> tuple[str, ...]:
        return tuple(f"{ast.unparse(node)}_norm" for node in self.norms.returns) if self.norms else ()

    @functools.cached_property
    def streams(self) -> int:
        return len(self.rule.elements) + len(writing.WRITER_STATE[self.writer])

    @functools.cached_property
    def kinds(self) -> tuple[str | None, ...]:
        """How each stream is stored: None as numbers, ``"signed"`` or ``"unsigned"`` in 8 bits by that map, and
        ``"random"`` as the counter that random words are made of."""
        rule = (None, None, *(self.codes or (None,) * (len(self.rule.elements) - 2)))
        return rule + tuple("random" if s == "r" else None for s in writing.WRITER_STATE[self.writer])

    @functools.cached_property
    def coded(self) -> dict[int, str]:
        """The streams that are stored in 8 bits, with their maps."""
        return {k: kind for k, kind in enumerate(self.kinds) if kind in eight_bits.KINDS}

    @functools.cached_property
    def outputs(self) -> int:
        """How many streams are written: those after g that are not random."""
        return self.streams - 1 - self.kinds.count("random")

    @functools.cached_property
    def unscales(self) -> bool:
        return "unscale" in self.before

    @functools.cached_property
    def matrix(self) -> bool:
        return isinstance(self.rule, MatrixRule)

    def reader(self) -> Rule | None:
        """What makes of the parameter and the writer's state what the rule sees as the parameter."""
        function = writing.READERS.get(self.writer)
        return rule_of(function, also=writing.ALSO) if function else None

    def parts(self) -> tuple[dict[str, Rule], Rule | MatrixRule, Rule]:
        """The transformations of the gradient, the rule, the writer."""
        before = {name: rule_of(BEFORE[name], also=frozenset({"reserved"})) for name in self.before}
        return before, self.rule, rule_of(writing.WRITERS[self.writer], also=writing.ALSO)

    @functools.cache  # noqa: B019 - programs are few and live as long as the process
    def composed(self, namespace: Any) -> Callable[..., tuple[Any, ...]]:
        """``step(g, p, *state, **scalars) -> (new p, *new state)`` computing with `namespace` as ``xp``.

        A program that unscales returns ``(unscaled g, new p, *new state)``.
        """
        _, rule, writer = self.parts()
        transformed = self._transformed(namespace)
        propose = rule.function if self.matrix else with_namespace(rule.function, namespace)
        write = with_namespace(writer.function, namespace)
        reader = self.reader()
        read = with_namespace(reader.function, namespace) if reader else None
        split = len(rule.elements) - 2

        def step(g: Any, p: Any, *state: Any, **scalars: float) -> tuple[Any, ...]:
            p = read(p, *state[split:]) if read else p
            g, *unscaled = transformed(g, p, scalars)
            d, *new = _tuple(propose(g, p, *state[:split], **{name: scalars[name] for name in rule.scalars}))
            p, *kept = _tuple(write(p, d, *state[split:]))
            return *unscaled, p, *new, *kept

        return step

    @functools.cache  # noqa: B019
    def measured(self, namespace: Any) -> Callable[..., tuple[Any, ...]]:
        """``quantities(g, p, *state, **scalars)`` whose norms the rule takes, computed with `namespace` as ``xp``."""
        assert self.norms is not None
        norms, transformed = self.norms, self._transformed(namespace)
        measure = with_namespace(norms.function, namespace)
        reader, split = self.reader(), len(self.rule.elements) - 2
        read = with_namespace(reader.function, namespace) if reader else None

        def quantities(g: Any, p: Any, *state: Any, **scalars: Any) -> tuple[Any, ...]:
            p = read(p, *state[split:]) if read else p
            g, *_ = transformed(g, p, scalars)
            names = dict(zip(self.rule.elements, (g, p, *state), strict=False))
            given = {name: scalars[name] for name in norms.scalars}
            return _tuple(measure(*(names[name] for name in norms.elements), **given))

        return quantities

    def _transformed(self, namespace: Any) -> Callable[..., tuple[Any, ...]]:
        """``transformed(g, p, scalars)``: the gradient as the rule sees it and, if it was unscaled, what is written."""
        parts = [(name, with_namespace(r.function, namespace), r) for name, r in self.parts()[0].items()]

        def transformed(g: Any, p: Any, scalars: dict[str, Any]) -> tuple[Any, ...]:
            unscaled: tuple[Any, ...] = ()
            for kind, function, r in parts:
                g = function(*(g, p)[: len(r.elements)], **{name: scalars[name] for name in r.scalars})
                unscaled = (g,) if kind == "unscale" else unscaled
            return g, *unscaled

        return transformed


def _tuple(values: Any) -> tuple[Any, ...]:
    return values if isinstance(values, tuple) else (values,)
