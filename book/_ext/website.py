"""The Sphinx extension of this book: finds executed pages, keeps the site off the network and usable by all."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

from access import mend
from pages import cache_path
from sphinx.application import Sphinx
from sphinx.config import Config

# What TeX input with CHTML output asks for while it runs; the package holds ten times as much.
MATHJAX = ("tex-chtml.js", "output/chtml/fonts", "input/tex/extensions")


def use_executed_pages(app: Sphinx, config: Config) -> None:
    config.nb_execution_cache_path = str(cache_path(Path(app.srcdir).parent))


def drop_thebe(app: Sphinx) -> None:
    """Jupyter Book loads sphinx-thebe always; its script would point every page at another host."""
    for listeners in app.events.listeners.values():
        listeners[:] = [item for item in listeners if not item.handler.__module__.startswith("sphinx_thebe")]


def copy_mathjax(app: Sphinx, exception: Exception | None) -> None:
    if exception is not None or app.builder.format != "html":
        return
    spec = importlib.util.find_spec("sphinx-mathjax-offline")
    assert spec is not None and spec.origin is not None
    source = Path(spec.origin).parent / "static" / "mathjax"
    target = Path(app.outdir) / "_static" / "mathjax"
    for part in MATHJAX:
        copy = shutil.copytree if (source / part).is_dir() else shutil.copy2
        (target / part).parent.mkdir(parents=True, exist_ok=True)
        copy(source / part, target / part)


def mend_pages(app: Sphinx, exception: Exception | None) -> None:
    if exception is None and app.builder.format == "html":
        for path in Path(app.outdir).rglob("*.html"):
            path.write_text(mend(path.read_text(encoding="utf-8")), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("config-inited", use_executed_pages)
    app.connect("builder-inited", drop_thebe, priority=1)
    app.connect("build-finished", copy_mathjax)
    app.connect("build-finished", mend_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
