"""The book as it was built, and tiny books to break on purpose."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pages
import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[2]
TOC = "format: jb-book\nroot: intro\n"
INTRO = "# A tiny book\n\nNothing here.\n"


def pytest_generate_tests(metafunc):
    """A test that asks for `page` runs once for every notebook of the book."""
    if "page" in metafunc.fixturenames:
        found = pages.notebooks(ROOT)
        metafunc.parametrize("page", found.values(), ids=found.keys())


@pytest.fixture(scope="session")
def root():
    return ROOT


@pytest.fixture(scope="session")
def build():
    """The folder that `make book` wrote; another one may be named to see these tests fail on it."""
    return Path(os.environ.get("DLOPT_BUILD", ROOT / "_build"))


@pytest.fixture(scope="session")
def read(build):
    """Read one of the records that executing the pages leaves behind."""

    def read(name):
        file = build / name
        assert file.exists(), f"there is no {file.name} in {build}: run `make book` first"
        return json.loads(file.read_text())

    return read


@pytest.fixture(scope="session")
def site(build):
    assert (build / "html" / "intro.html").exists(), f"there is no site in {build}: run `make book` first"
    return build / "html"


@pytest.fixture(scope="session")
def documents(site):
    """The pages of the site, parsed; not the one that only sends the reader on to another."""
    paths = sorted(path for path in site.rglob("*.html") if "_static" not in path.parts)
    read = {path: BeautifulSoup(path.read_text(), "html.parser") for path in paths}
    return {path: document for path, document in read.items() if not document.select("meta[http-equiv=Refresh]")}


class TinyBook:
    """A book of one page of prose, and if wanted one notebook, built by the real scripts."""

    def __init__(self, root):
        self.root = root
        (root / "book").mkdir()
        shutil.copytree(ROOT / "book" / "_ext", root / "book" / "_ext")
        shutil.copytree(ROOT / "book" / "_static", root / "book" / "_static")
        for name in ("_config.yml", "constraints.txt", "book/references.bib"):
            shutil.copy(ROOT / name, root / name)
        (root / "dlopt" / "sgd").mkdir(parents=True)
        self.write("dlopt/__init__.py", "")
        self.write("dlopt/sgd/__init__.py", "")
        self.write("dlopt/sgd/sgd.py", "RATE = 1\n")
        self.write("book/_toc.yml", TOC)
        self.write("book/intro.md", INTRO)

    def write(self, path, text):
        (self.root / path).write_text(text)

    def notebook(self, *cells):
        cells = ["from dlopt.sgd.sgd import RATE\nprint('rate', RATE)", *cells]
        notebook = nbformat.v4.new_notebook(
            cells=[
                nbformat.v4.new_markdown_cell("# A page"),
                *map(nbformat.v4.new_code_cell, cells),
            ],
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        )
        nbformat.write(notebook, self.root / "book" / "page.ipynb")
        self.write("book/_toc.yml", TOC + "chapters:\n- file: page\n")

    def build(self, *options):
        environment = {k: v for k, v in os.environ.items() if k not in ("DLOPT_CACHE", "PYTHONPATH")}
        return subprocess.run(
            [sys.executable, "book/_ext/build.py", *options],
            cwd=self.root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=150,
        )


@pytest.fixture
def tiny(tmp_path):
    return TinyBook(tmp_path)
