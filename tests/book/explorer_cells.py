"""The explorers of the pages, made from the calls that stand in their cells."""

import ast
import linecache
from functools import cache
from pathlib import Path

import nbformat
import pages

import dlopt
from dlopt import lab
from dlopt.engine import xp
from dlopt.view import explore

ROOT = Path(__file__).resolve().parents[2]


@cache
def calls():
    """``{page: {name of the figure: source of the cell}}`` for every figure that is an explorer."""
    found = {}
    for page, path in pages.notebooks(ROOT).items():
        for cell in nbformat.read(path, as_version=4).cells:
            figure = cell.metadata.get("mystnb", {}).get("figure", {})
            if cell.cell_type == "code" and "explore." in cell.source and "name" in figure:
                found.setdefault(page, {})[figure["name"]] = cell.source
    return found


def explorer(source):
    """What the cell shows."""
    scope = {"dlopt": dlopt, "explore": explore, "glue": lambda *_, **__: None, "lab": lab, "xp": xp}
    tree, name = ast.parse(source), f"<cell {hash(source)}>"
    last = tree.body.pop()
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)  # a rule's source is read
    exec(compile(tree, name, "exec"), scope)
    return eval(ast.unparse(last), scope)
