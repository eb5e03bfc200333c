"""The budgets of a page: what it costs to run, how long its cells are, what it keeps in git."""

import ast
import re

import nbformat
import pages
import pytest
from twins import checked

MEGABYTES = 1024
CELL_LINES, DEF_LINES, LINE = 25, 8, 88


def code(page):
    notebook = nbformat.read(page, as_version=4)
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def python(cell):
    """The cell with a pass for each line to the shell, which only Colab runs."""
    return re.sub(r"(?m)^(\s*)[%!].*$", r"\1pass", cell.source)


def test_every_page_is_recorded(read, root):
    assert [cost["page"] for cost in read("pages.json")] == list(pages.notebooks(root))


def test_memory(read):
    """The time of a page belongs to the machine's load as well: `make book` shows in red what is over its budget."""
    costs = read("pages.json")
    for cost in costs:
        assert 0 < cost["seconds"], cost
        assert 0 < cost["peak_mb"] <= MEGABYTES, cost


def test_cells_are_short(page):
    for cell in code(page):
        lines = cell.source.splitlines()
        assert len(lines) <= CELL_LINES, cell.source
        assert max(map(len, lines), default=0) <= LINE, cell.source


def test_classes_and_long_functions_belong_to_the_package(page):
    for cell in code(page):
        for node in ast.walk(ast.parse(python(cell))):
            assert not isinstance(node, ast.ClassDef), cell.source
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno - node.lineno + 1 <= DEF_LINES, cell.source


def test_only_checked_cells_keep_their_output(page):
    for cell in code(page):
        assert bool(cell.outputs) == checked(cell), f"run `make pages`: {cell.source}"
        assert (cell.execution_count is not None) == checked(cell), f"run `make pages`: {cell.source}"
        kept = str(cell.outputs)
        assert "image/" not in kept and "<svg" not in kept and "<img" not in kept, cell.source


def test_kernel_is_the_one_of_the_environment(page):
    assert nbformat.read(page, as_version=4).metadata.kernelspec.name == "python3"


@pytest.mark.parametrize("source", ["class A:\n    pass", "def f():\n" + "    a = 1\n" * 8, "a = 1\n" * 26])
def test_these_checks_find_what_they_look_for(tmp_path, source):
    page = tmp_path / "page.ipynb"
    cells = [nbformat.v4.new_code_cell(source)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), page)
    with pytest.raises(AssertionError):
        test_cells_are_short(page)
        test_classes_and_long_functions_belong_to_the_package(page)
