"""Bring each page and its text twin in step, and store the outputs that `make test` compares.

    python book/_ext/twins.py

The newer of `page.ipynb` and `text/page.md` wins. Then the page is executed, unless the cache holds it,
and the cells marked NBVAL_CHECK_OUTPUT keep their text output in the notebook; all others keep none.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import pages

ROOT = Path(__file__).resolve().parents[2]


def checked(cell: nbformat.NotebookNode) -> bool:
    """Whether nbval compares the output of this cell."""
    return "NBVAL_CHECK_OUTPUT" in cell.source or "nbval-check-output" in cell.metadata.get("tags", [])


def synchronize() -> None:
    book = ROOT / "book"
    texts = [path for path in book.glob("**/text/*.md") if not notebook_of(path).exists()]
    for path in [*pages.notebooks(ROOT).values(), *texts]:
        subprocess.run([sys.executable, "-m", "jupytext", "--sync", str(path)], check=True)


def notebook_of(text: Path) -> Path:
    return text.parents[1] / f"{text.stem}.ipynb"


def store(path: Path, executed: nbformat.NotebookNode) -> None:
    """Give the notebook at `path` the outputs of its checked cells, and of no other."""
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    done = [cell for cell in executed.cells if cell.cell_type == "code"]
    for cell, result in zip(code, done, strict=True):
        cell.execution_count, cell.outputs = None, []
        if checked(cell):  # nbval wants the count too
            cell.execution_count, cell.outputs = result.execution_count, result.outputs
        for output in cell.outputs:
            if "metadata" in output:
                output.metadata = {}
    nbformat.write(notebook, path)


if __name__ == "__main__":
    synchronize()
    paths = pages.notebooks(ROOT)
    for page in pages.execute(ROOT):
        store(paths[page.name], page.notebook)
    synchronize()
