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
    tree = ast.parse(source)
    last = tree.body.pop()
    exec(compile(tree, "cell", "exec"), scope)
    return eval(ast.unparse(last), scope)
