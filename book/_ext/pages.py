"""Run the notebooks of the book and gather what they recorded.

A page is executed once for each state of what it depends on: its own cells, the package, the data
beside the pages, the lock, and the version of Python. The executed notebooks are kept in a
jupyter-cache, where myst-nb finds them when the site is built.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import nbformat
import psutil
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn, JupyterCacheAbstract
from jupyter_cache.cache.db import NbCacheRecord
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from sphinx_external_toc.parsing import parse_toc_yaml
from tqdm import tqdm

CELL_TIMEOUT = 300  # seconds; a whole page may take 60
DATA = (".json", ".csv", ".npz", ".txt")


@dataclass
class Page:
    """An executed notebook: its name in the table of contents, its outputs, and what it cost."""

    name: str
    notebook: nbformat.NotebookNode
    seconds: float
    peak_mb: float

    def records(self) -> Iterator[dict[str, Any]]:
        """The claims and assertions that travelled as metadata of the cells' outputs."""
        for cell in self.notebook.cells:
            for output in cell.get("outputs", []):
                record = output.get("metadata", {}).get("dlopt")
                if record is not None:
                    yield {**record, "page": self.name}


def cache_key(root: Path) -> str:
    """A hash of everything but the cells that a page's outputs depend on."""
    sources = [path for path in (root / "dlopt").rglob("*") if "__pycache__" not in path.parts]
    data = [path for path in (root / "book").rglob("*") if path.suffix in DATA]
    digest = hashlib.sha256(platform.python_version().encode())
    for path in sorted([*sources, *data, root / "constraints.txt"]):
        if path.is_file():
            content = path.read_bytes()
            digest.update(f"{path.relative_to(root).as_posix()} {len(content)}\n".encode())
            digest.update(content)
    return digest.hexdigest()[:16]


def cache_path(root: Path) -> Path:
    return root / "_build" / ".jupyter_cache" / cache_key(root)


def notebooks(root: Path) -> dict[str, Path]:
    """The notebooks in the table of contents, in its order."""
    book = root / "book"
    pages = {name: book / f"{name}.ipynb" for name in parse_toc_yaml(book / "_toc.yml")}
    return {name: path for name, path in pages.items() if path.exists()}


def execute(root: Path) -> list[Page]:
    """Execute every page that the cache does not hold; raise `click.ClickException` if one fails."""
    folder = cache_path(root)
    for stale in folder.parent.glob("*"):
        if stale != folder:
            shutil.rmtree(stale)
    cache = get_cache(folder)
    pages, failures = [], []
    for name, path in notebooks(root).items():
        notebook = nbformat.read(path, as_version=4)
        record = find(cache, notebook)
        if record is not None:
            click.echo(f"{name}: unchanged, not executed again")
        else:
            try:
                seconds, peak_mb = run(notebook, name, path, root)
            except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
                failures.append(name)
                click.secho(f"\n{name} failed", fg="red", bold=True, err=True)
                click.echo(str(error), err=True)
                continue
            bundle = CacheBundleIn(notebook, str(path), data={"seconds": seconds, "peak_mb": peak_mb})
            record = cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
        pages.append(Page(name, cache.get_cache_bundle(record.pk).nb, **record.data))
    if failures:
        raise click.ClickException("these pages failed: " + ", ".join(failures))
    return pages


def find(cache: JupyterCacheAbstract, notebook: nbformat.NotebookNode) -> NbCacheRecord | None:
    """What the cache holds for these cells, if we put it there: Sphinx started by hand measures nothing."""
    try:
        record = cache.match_cache_notebook(notebook)
    except KeyError:
        return None
    return record if "peak_mb" in record.data else None


def run(notebook: nbformat.NotebookNode, name: str, path: Path, root: Path) -> tuple[float, float]:
    """Execute a notebook in place. Returns the seconds it took and the most memory it held, in MB.

    `dlopt.lab.run` starts with an empty cache, so that the seconds are those of a first reader; what
    it stored is kept afterwards for the checks that run the page again.
    """
    kept = Path(os.environ.get("DLOPT_CACHE", root / "_build" / "cache"))
    done, peak = threading.Event(), [0.0]
    cells = sum(cell.cell_type == "code" and bool(cell.source.strip()) for cell in notebook.cells)
    with tempfile.TemporaryDirectory() as fresh, tqdm(total=cells, desc=name, unit="cell") as bar:
        environment = {
            **os.environ,
            "DLOPT_CACHE": fresh,
            "PYTHONPATH": os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")])),
        }
        client = NotebookClient(
            notebook,
            timeout=CELL_TIMEOUT,
            kernel_name="python3",
            extra_arguments=["--IPKernelApp.log_level=ERROR"],
            record_timing=False,  # the cache would take the times for a change of the cells
            store_widget_state=False,  # an explorer's HTML holds all that it needs
            resources={"metadata": {"path": str(path.parent)}},
            on_cell_complete=lambda cell, cell_index: bar.update(),
        )

        def watch(notebook: nbformat.NotebookNode) -> None:
            manager: Any = client.km
            threading.Thread(target=measure, args=(manager.provisioner.pid, done, peak)).start()

        client.on_notebook_start = watch
        start = time.perf_counter()
        ended = [start]
        client.on_cell_executed = lambda **told: ended.append(time.perf_counter())  # no reader waits for the shutdown
        try:
            client.execute(env=environment)
        finally:
            done.set()
        seconds = ended[-1] - start
        shutil.copytree(fresh, kept, dirs_exist_ok=True)
    return round(seconds, 1), round(peak[0])


def measure(pid: int, done: threading.Event, peak: list[float]) -> None:
    """Keep in `peak[0]` the most memory, in MB, that a process and its children held together.

    Looking closely takes a third of a core from the page, so it is done only where a rough look shows a new peak.
    """
    highest = 0
    while True:
        try:
            process = psutil.Process(pid)
            family = [process, *process.children(recursive=True)]
            rough = sum(each.memory_info().rss for each in family)
            if rough > 1.01 * highest:
                highest = rough
                peak[0] = max(peak[0], sum(map(memory, family)) / 2**20)
        except (psutil.NoSuchProcess, ProcessLookupError):
            pass  # it ended between two looks
        if done.wait(0.25):
            return


def memory(process: psutil.Process) -> int:
    """Bytes held; on Linux what processes share, torch's libraries above all, is divided among them."""
    if hasattr(psutil, "LINUX") and psutil.LINUX:
        return process.memory_full_info().pss
    return process.memory_info().rss
