"""A page and its text twin say the same. People edit the text; Binder, Colab and Lab open the notebook."""

import jupytext
import nbformat
import pytest

FORMATS = "ipynb,text//md:myst"


def cells(notebook):
    """What the pair must share: a notebook's outputs and a text's line breaks at the ends are their own."""
    return [(cell.cell_type, cell.source.strip(), dict(cell.metadata)) for cell in notebook.cells]


def compare(page):
    twin = page.parent / "text" / f"{page.stem}.md"
    assert twin.exists(), f"{page.name} has no text twin: run `make pages`"
    notebook, text = nbformat.read(page, as_version=4), jupytext.read(twin)
    assert notebook.metadata.jupytext.formats == FORMATS
    assert cells(notebook) == cells(text), f"{page.name} and its text twin differ: run `make pages`"


def test_twins_are_in_step(page):
    compare(page)


def test_no_text_without_a_notebook(root):
    for twin in (root / "book").glob("**/text/*.md"):
        assert (twin.parents[1] / f"{twin.stem}.ipynb").exists(), twin


def test_a_change_of_one_twin_is_found(tmp_path):
    page = tmp_path / "page.ipynb"
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": kernel, "jupytext": {"formats": FORMATS}})
    notebook.cells = [nbformat.v4.new_markdown_cell("# Title"), nbformat.v4.new_code_cell("1 + 1")]
    nbformat.write(notebook, page)
    (tmp_path / "text").mkdir()
    jupytext.write(notebook, tmp_path / "text" / "page.md", fmt="md:myst")
    compare(page)
    notebook.cells[1].source = "1 + 2"
    nbformat.write(notebook, page)
    with pytest.raises(AssertionError, match="differ"):
        compare(page)
