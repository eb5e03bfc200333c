"""The explorers of the pages, made from the calls that stand in their cells."""

import ast
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
    """``{page: {name of the figure: source of the cell}}`` for every cell that ends with a call of `explore`."""
    found = {}
    for page, path in pages.notebooks(ROOT).items():
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "code" and "explore." in cell.source:
                last = ast.parse(cell.source).body[-1]
                figure = cell.metadata.get("mystnb", {}).get("figure", {})
                if isinstance(last, ast.Expr) and ast.unparse(last).startswith("explore.") and "name" in figure:
                    found.setdefault(page, {})[figure["name"]] = cell.source
    return found


def explorer(source):
    """What the cell shows."""
    scope = {"dlopt": dlopt, "explore": explore, "lab": lab, "xp": xp}
    tree = ast.parse(source)
    last = tree.body.pop()
    exec(compile(tree, "cell", "exec"), scope)
    return eval(ast.unparse(last), scope)
