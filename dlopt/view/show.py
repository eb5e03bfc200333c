"""An update rule as it is read: its equation beside its source, both taken from the code that runs."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dlopt.engine.faces.latex import latex
from dlopt.engine.rule import rule_of

_BLOCK = """$$
{latex}
$$

```python
{source}
```
"""


@dataclass(frozen=True)
class Shown:
    """What `show` returns; the last line of a notebook cell shows it.

    Attributes:
        name: the rule's name.
        latex: its equation, without delimiters.
        source: its source, without the docstring.
    """

    name: str
    latex: str = field(repr=False)
    source: str = field(repr=False)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {
            "text/markdown": _BLOCK.format(latex=self.latex, source=self.source),
            "text/plain": self.source,
        }


def show(rule: Callable[..., Any] | type, *, scalars: Callable[..., Any] | None = None) -> Shown:
    """The equation of an update rule, or of a learning-rate schedule, beside its source.

    Plain Markdown, so that the site, Lab and Colab all typeset the equation; the site's style sheet sets the
    two side by side where there is room. A terminal prints the source.

    Args:
        rule: a rule, or an optimizer class, of which all rules are shown that it chooses between; a function of
            the step, or a schedule, of which every function is shown that it is composed of.
        scalars: the function that gives the rule what depends on the step only; a class brings its own.

    Raises:
        TypeError: if `rule` is nothing of the kind.
        GrammarError: if a rule steps outside the grammar of rules.

    >>> from dlopt.sgd.sgd import heavy_ball
    >>> print(show(heavy_ball).source.splitlines()[1].strip())
    b = momentum * b + gain * g
    """
    rules: tuple[Callable[..., Any], ...] = getattr(rule, "rules", (rule,))
    scalars = scalars or getattr(rule, "scalars", None)
    if not all(inspect.isfunction(function) for function in rules):
        raise TypeError(f"show takes a rule or an optimizer class, not {rule!r}")
    made = {ast.unparse(value) for value in rule_of(scalars, also=frozenset({"**"})).returns} if scalars else set()
    blocks = [latex(each, scalars=scalars if made and made & {*rule_of(each).scalars} else None) for each in rules]
    if len(rules) > 1:
        names = [function.__name__.replace("_", " ").strip() for function in rules]
        parts = [rf"\textbf{{{name}}} \\ {block}" for name, block in zip(names, blocks, strict=True)]
        blocks = [r"\begin{gathered} " + " \\\\[1em]\n".join(parts) + r" \end{gathered}"]
    sources = [source_of(function) for function in (*rules, scalars) if function is not None]
    return Shown(getattr(rule, "__name__", None) or repr(rule), blocks[0], "\n\n\n".join(sources))


def source_of(function: Callable[..., Any]) -> str:
    """The source of a function as it stands in its file, less the docstring.

    >>> print(source_of(source_of).splitlines()[0])
    def source_of(function: Callable[..., Any]) -> str:
    """
    source = textwrap.dedent(inspect.getsource(function))
    definition = ast.parse(source).body[0]
    lines = source.rstrip().splitlines()
    if isinstance(definition, ast.FunctionDef) and ast.get_docstring(definition) is not None:
        docstring = definition.body[0]
        del lines[docstring.lineno - 1 : docstring.end_lineno]
    return "\n".join(lines)
