"""The explorers in a real JupyterLab, with a kernel, in a browser."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest

pytest.importorskip("jupyterlab", reason="JupyterLab is not installed, so no explorer was tried with a kernel")

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "explorers"
BLUE = """() => {
  const badge = document.querySelector(".badge"), {width, height} = badge;
  const [red, , blue] = badge.getContext("2d").getImageData(width / 2, height / 2, 1, 1).data;
  return (blue - red) / 192;
}"""
CELLS = [
    "from dlopt.engine import RuleOptimizer, xp\nfrom dlopt.view import explore",
    "def mine(g, p, b, *, lr, keep):\n    b = keep * b + (1 - keep) * xp.sign(g)\n    d = -lr * b\n    return d, b",
    "w = explore.landscape('booth', optimizers=[(mine, {'lr': 0.2, 'keep': 0.5})], steps=60)\nw",
    "w.start = (2.0, -3.0)",
    "print('start is', tuple(w.start), 'path ends at', w.paths()[0, -1].round(9).tolist())",
]


OTHERS = [
    "import numpy as np\nfrom dlopt.lab import Surface\nfrom dlopt.view import explore",
    "axis = np.linspace(-1, 1, 21)\nw = explore.surface(Surface('bowl', axis, axis, 1 + np.add.outer(axis**2, axis**2)))\nw",
    "w.probe = (0.5, -0.5)",
    "s = explore.schedule(['cosine'], steps=60)\ns",
    "s.lr = 0.02",
    "print(w.probe, w.probed()['bowl'], s.schedules, s.losses()[0, -1].round(9))",
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of a server, to be completed by the name of a notebook."""
    home = tmp_path_factory.mktemp("lab")
    for name, cells in (("explorer", CELLS), ("others", OTHERS)):
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
        book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(book, home / f"{name}.ipynb")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "JUPYTER_PREFER_ENV_PATH": "1",
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
    }
    options = [f"--ServerApp.port={port}", "--ServerApp.ip=127.0.0.1", f"--IdentityProvider.token={TOKEN}"]
    options += [f"--ServerApp.root_dir={home}", "--no-browser", "--allow-root", "--ServerApp.port_retries=0"]
    command = [sys.executable, "-m", "jupyterlab", *options]
    with (home / "log").open("w") as log:
        server = subprocess.Popen(command, env=environment, cwd=home, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{address}/api?token={TOKEN}", timeout=2).close()
                break
            except OSError:
                assert server.poll() is None, (home / "log").read_text()
                time.sleep(0.25)
        # a workspace each, or the second test finds the first one's notebook open beside its own
        yield f"{address}/lab/workspaces/{{0}}/tree/{{0}}.ipynb?token={TOKEN}"
    finally:
        server.terminate()
        server.wait(20)


def end_of_path(page):
    found = page.evaluate(
        "() => { const p = document.querySelector('.dlopt-explorer').dloptPaths[0]; return [...p.slice(-2)]; }"
    )
    return [round(x, 9) for x in found]


def run_cell(page, number):
    """Run a cell to its end. Lab drops what is run before its kernel is there, so it is asked again."""
    cell = page.locator(".jp-CodeCell").nth(number)
    before = cell.locator(".jp-InputPrompt").inner_text()
    for _ in range(60):
        cell.locator(".cm-content").click()
        page.keyboard.press("Control+Enter")
        for _ in range(300):
            now = cell.locator(".jp-InputPrompt").inner_text()
            if now not in (before, "[*]:") and any(c.isdigit() for c in now):
                return
            if now == before == "[ ]:":
                break
            page.wait_for_timeout(100)
        page.wait_for_timeout(500)
    raise AssertionError(f"cell {number} did not run")


def printed(page, cell=4):
    """What the last cell says when it is run again."""
    run_cell(page, cell)
    page.wait_for_timeout(200)
    return page.locator(".jp-CodeCell").nth(cell).locator(".jp-OutputArea-output").inner_text()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_widget_and_python_move_each_other(browser, lab):
    page = browser.new_page(viewport={"width": 1280, "height": 1600})
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.set_default_timeout(60_000)
    page.goto(lab.format("explorer"))
    page.wait_for_selector(".jp-CodeCell .cm-content")
    for number in range(3):
        run_cell(page, number)
    page.wait_for_selector(".dlopt-explorer .picture canvas")
    page.wait_for_function("document.querySelector('.dlopt-explorer').dloptPaths !== undefined")
    assert page.locator(".messages p").count() == 0
    assert page.evaluate(BLUE) > 0.8, "the sign on the card has the colour of its path"
    assert page.get_by_role("button", name="Copy link").count() == 0

    # Python moves the picture, and the reader's own rule gives the same numbers in both.
    before = end_of_path(page)
    run_cell(page, 3)
    page.wait_for_function("document.querySelector('.start input').value === '2'")
    page.wait_for_timeout(100)
    assert end_of_path(page) != before
    said = printed(page)
    assert "start is (2.0, -3.0)" in said
    assert str(end_of_path(page)) in said

    # Dragging moves Python.
    page.locator(".handle").scroll_into_view_if_needed()
    box = page.locator(".handle").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 40, y + 20, steps=3)
    page.mouse.up()
    start = [float(field.input_value()) for field in page.locator(".start input").all()]
    assert start != [2.0, -3.0]
    assert f"start is {tuple(start)}" in printed(page)

    # Arrow keys move the start, not the selected cell.
    page.locator(".handle").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(100)
    assert page.evaluate("document.activeElement.classList.contains('handle')")
    assert float(page.locator(".start input").first.input_value()) > start[0]
    assert not wrong, wrong
    page.close()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_surface_and_schedule_are_synchronised_too(browser, lab):
    page = browser.new_page(viewport={"width": 1280, "height": 2400})
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.set_default_timeout(60_000)
    page.goto(lab.format("others"))
    page.wait_for_selector(".jp-CodeCell .cm-content")
    for number in range(5):
        run_cell(page, number)

    # Python has moved the pictures.
    page.wait_for_function("document.querySelector('.reading').textContent === 'loss 1.5 at (0.5, \u22120.5)'")
    page.wait_for_function("document.querySelector('[aria-label=\"lr, typed\"]').value === '0.02'")
    assert page.locator(".messages p").count() == 0
    losses = "() => [...document.querySelectorAll('.dlopt-explorer')].at(-1).dloptLosses[0].at(-1)"
    assert f"{round(page.evaluate(losses), 9):.9f}".rstrip("0") in printed(page, 5)

    # The reader moves Python.
    page.locator(".handle.probe").first.focus()
    page.keyboard.press("ArrowRight")
    page.get_by_label("floor of cosine, typed").fill("0.25")
    page.wait_for_timeout(200)
    said = printed(page, 5)
    assert "(0.6, -0.5) 1.61" in said and "'floor': 0.25" in said
    assert f"{round(page.evaluate(losses), 9):.9f}".rstrip("0") in said
    assert not wrong, wrong
    page.close()
