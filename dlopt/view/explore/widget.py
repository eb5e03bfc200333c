"""What every explorer is: one widget with two faces.

Where a kernel runs, the notebook takes the widget; a page takes the HTML: a still picture, and one script with
the same source and a stand-in for the widget's model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import traitlets

from dlopt.lab.optional import require
from dlopt.view.figure import Figure

anywidget = require("anywidget")

HERE = Path(__file__).parent


def source(*names: str) -> str:
    """The text of files that lie beside this one."""
    return "\n".join((HERE / name).read_text(encoding="utf-8") for name in names)


class Explorer(anywidget.AnyWidget):  # type: ignore[name-defined]
    """Base of the explorers. A subclass names its scripts and its state, and draws a still.

    Class attributes:
        scripts: files of JavaScript, after which there is a function ``render({model, el})``.
        state: the names of the traits that make a picture; each is synchronised.
    """

    scripts: ClassVar[tuple[str, ...]] = ()
    state: ClassVar[tuple[str, ...]] = ()

    code = traitlets.Unicode(help="translated Python, the body of a function that returns tables").tag(sync=True)
    _css = source("explore.css")
    _as_it_is = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        if "scripts" in vars(cls):  # anywidget makes a subclass of its own for every widget
            cls._script = source("host.js", *cls.scripts)
            cls._esm = f"{cls._script}\nexport default {{render}};"
        super().__init_subclass__(**kwargs)

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self._was = self._now()
        self.observe(self._changed, list(self.state))

    def still(self) -> Figure:
        """The picture shown where no script runs."""
        raise AttributeError(f"{type(self).__name__} draws no still")

    def follows(self, was: Mapping[str, Any]) -> dict[str, Any]:
        """What has to follow, where the state is no more as it `was`: traits and their new values."""
        return {}

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take the browser's state, whose parts already fit each other."""
        with self._taken_as_it_is():
            super().set_state(sync_data)

    @contextmanager
    def _taken_as_it_is(self) -> Iterator[None]:
        """Nothing follows from what is set, and no setting is refused: sliders may go where Python refuses."""
        before, self._as_it_is = self._as_it_is, True
        try:
            yield
        finally:
            self._as_it_is = before

    def _changed(self, change: Any) -> None:
        """After a change from Python: what follows from it, except for what was set together with it."""
        was, self._was = self._was, self._now()
        if not self._as_it_is:
            with self._taken_as_it_is():
                for name, value in self.follows(was).items():
                    if getattr(self, name) == was[name]:
                        setattr(self, name, value)

    def _now(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.state}

    def html(self) -> str:
        """The explorer as it stands on a page: it needs no kernel, fetches nothing, and ids are its own."""
        return self._page(self.still())

    def _page(self, still: Figure) -> str:
        return (
            f'<div class="dlopt-explorer"><style>{self._css}</style><div class="still">{still.svg}</div></div>'
            f'<script>(() => {{"use strict";\n{_inline(self._script)}\n'
            f"standAlone(document.currentScript.previousElementSibling, {_inline(json.dumps(self._now()))}, "
            f"() => {{\n{_inline(self.code)}\n}});\n}})();</script>"
        )

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        found = super()._repr_mimebundle_(**kwargs)
        data, metadata = found if isinstance(found, tuple) else (found or {}, {})
        still = self.still()
        return {**data, "text/plain": still.alt, "text/html": self._page(still)}, metadata


def _inline(script: str) -> str:
    """A script that may stand between tags, without indentation and lines of comment.

    >>> _inline('  // why\\n  "</script>"')
    '"<\\\\/script>"'
    """
    lines = [line.strip() for line in script.splitlines()]
    short = "\n".join(line for line in lines if line and not line.startswith("//"))
    return short.replace("</", "<\\/").replace("<!--", "<\\!--")
