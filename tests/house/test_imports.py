"""Imports run one way: engine, then the chapters, then the lab, then the view; and never in a circle."""

import ast
import graphlib
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEIGHT = {"engine": 0, "lab": 2, "view": 3}  # every other folder is a chapter: 1
DRAWING = {"matplotlib", "ipywidgets", "anywidget"}
HEAVY = [*DRAWING, "scipy", "sklearn", "pandas", "joblib", "tqdm", "IPython", "llvmlite", "triton"]


def modules(root):
    """Every module of the package: dotted name to syntax tree."""
    found = {}
    for path in sorted((root / "dlopt").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = (ast.parse(path.read_text()), path.name == "__init__.py")
    return found


def typing_only(node):
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def nodes(tree, everywhere):
    """The statements of a module: all of them, or those that run when it is imported."""
    for child in ast.iter_child_nodes(tree):
        if not everywhere and (isinstance(child, ast.FunctionDef | ast.Lambda) or typing_only(child)):
            continue
        yield child
        yield from nodes(child, everywhere)


def imported(name, found, everywhere):
    """Dotted names that a module imports; of our own, the module itself and not the name in it."""
    tree, package = found[name]
    for node in nodes(tree, everywhere):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = name.split(".") + ([""] if package else [])
            base = ".".join([*above[: -node.level], node.module or ""]).strip(".") if node.level else node.module
            for alias in node.names:
                yield f"{base}.{alias.name}" if f"{base}.{alias.name}" in found else base
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("require", "import_module")):
            yield from (a.value for a in node.args[:1] if isinstance(a, ast.Constant))


def room(name):
    return (name.split(".") + [""])[1]


def wrong_directions(found):
    for name in found:
        for target in imported(name, found, everywhere=True):
            here, there = room(name), room(target)
            ours = target.split(".")[0] == "dlopt"
            if here and ours and here != there and HEIGHT.get(there, 1) > HEIGHT.get(here, 1):
                yield f"{name} imports {target}"
            if here and ours and here != there and {here, there} & {"engine"} == {here}:
                yield f"{name} imports {target}"
            if here != "view" and target.split(".")[0] in DRAWING:
                yield f"{name} imports {target}"


def circle(found):
    graph = {}
    for name in found:
        targets = {t for t in imported(name, found, everywhere=False) if t in found and t != name}
        graph[name] = targets
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]


def test_imports_run_one_way():
    assert not list(wrong_directions(modules(ROOT)))


def test_no_circular_import():
    assert circle(modules(ROOT)) is None


def test_the_package_imports_nothing_heavy():
    code = "import sys, torch; before = set(sys.modules); import dlopt; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert "dlopt.engine" in done.stdout.split(), done.stderr
    assert not set(HEAVY) & set(done.stdout.split())
    later = {
        "dlopt.adaptive.adam",
        "dlopt.curvature",
        "dlopt.sgd.finite_sums",
        "dlopt.sgd.noise",
        "dlopt.sgd.schedules",
    }
    assert not later & set(done.stdout.split())


@pytest.mark.parametrize("package", ["dlopt", "dlopt.adaptive", "dlopt.sgd"])
def test_what_is_imported_later_is_there(package):
    module = importlib.import_module(package)
    for name in module.__all__:
        assert getattr(module, name) is not None
        assert name in dir(module)
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nothing'"):
        module.nothing  # noqa: B018


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("engine/rule.py", "from dlopt.sgd import SGD"),
        ("engine/rule.py", "def f():\n    from ..lab import run"),
        ("sgd/sgd.py", "from dlopt.lab import run"),
        ("lab/run.py", "from ..view import plots"),
        ("lab/run.py", "import matplotlib.pyplot as plt"),
        ("lab/run.py", "plt = require('matplotlib')"),
    ],
)
def test_a_wrong_direction_is_found(tmp_path, path, source):
    file = tmp_path / "dlopt" / path
    file.parent.mkdir(parents=True)
    file.write_text(source)
    assert list(wrong_directions(modules(tmp_path)))


def test_a_circle_is_found(tmp_path):
    folder = tmp_path / "dlopt" / "engine"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("from .a import x\n")
    (folder / "a.py").write_text("from .b import x\n")
    (folder / "b.py").write_text("from dlopt.engine import y\n")
    assert circle(modules(tmp_path))
