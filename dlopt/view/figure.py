"""A finished figure: one inline SVG with its description, shown the same on the site, in Lab and in Colab."""

from __future__ import annotations

import html
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlopt.lab.optional import require

from .style import WIDTH, settings
from .svg import inline_svg

if TYPE_CHECKING:
    import pandas

SHORTEST_ALT = 20


def check_alt(alt: str) -> str:
    """The description of a figure, without surrounding blanks.

    Raises:
        ValueError: if it has fewer than 20 characters or fewer than 4 words: too short to say what the
            figure shows.

    >>> check_alt(" Loss against step: momentum falls fastest. ")
    'Loss against step: momentum falls fastest.'
    """
    text = alt.strip() if isinstance(alt, str) else ""
    if len(text) < SHORTEST_ALT or len(text.split()) < 4:
        raise ValueError(
            f"alt={alt!r} is too short: say in a sentence what is drawn and what is to be seen in it "
            f"(at least {SHORTEST_ALT} characters and 4 words)"
        )
    return text


@dataclass(frozen=True)
class Figure:
    """What every function that draws returns. It shows itself as the last line of a notebook cell.

    Attributes:
        svg: the picture, one `<svg>` element.
        alt: its description, read out by screen readers and shown where pictures are not.
        caption: a sentence set below the picture, or None.
        data: the numbers that are drawn, as a tidy frame.
    """

    svg: str = field(repr=False)
    alt: str
    caption: str | None = None
    data: pandas.DataFrame | None = field(default=None, repr=False, compare=False)

    def __repr__(self) -> str:
        return f"Figure: {self.alt}"

    def _repr_html_(self) -> str:
        if self.caption is None:
            return self.svg
        caption = f'<figcaption style="text-align:center">{html.escape(self.caption)}</figcaption>'
        return f'<figure style="margin:0">{self.svg}{caption}</figure>'

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/html": self._repr_html_(), "text/plain": repr(self)}

    def save(self, path: str | Path) -> Path:
        """Write the SVG to a file of its own, for slides or a README; the path written is returned."""
        path = Path(path)
        head = '<svg font-family="sans-serif" '
        path.write_text(self.svg.replace("<svg ", head, 1) + "\n", encoding="utf-8")
        return path


@contextmanager
def canvas(alt: str, height: float) -> Iterator[tuple[Any, Any]]:
    """A matplotlib figure and its axes in the house style, `height` in units of a width of 460.

    Made without pyplot, so no window, no backend and no global state is touched. The description is checked
    first: nothing is drawn without one.
    """
    check_alt(alt)
    if not 100 <= height <= 1000:
        raise ValueError(f"height must be between 100 and 1000 (the width is {WIDTH:g}), not {height}")
    matplotlib = require("matplotlib")
    with matplotlib.rc_context(settings()):
        size = (WIDTH / 72, height / 72)
        figure = require("matplotlib.figure").Figure(figsize=size, dpi=72, layout="constrained")
        yield figure, figure.add_subplot()


def finish(figure: Any, alt: str, caption: str | None, data: pandas.DataFrame | None = None) -> Figure:
    """The drawn matplotlib figure as a `Figure`."""
    text = alt.strip()
    return Figure(inline_svg(figure, text), text, caption, data)
