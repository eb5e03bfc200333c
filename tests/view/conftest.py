"""A browser without a network, for the tests that need one."""

import shutil

import pytest

from dlopt.view import Figure

from .pages import COLOURS, PAGE

CHROMIUM = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]


@pytest.fixture(scope="session")
def browser():
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed, so no explorer was opened in a browser")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def show(browser, tmp_path, monkeypatch):
    """Opens a page with explorers; at the end, nothing may have gone wrong on it."""
    opened, wrong = [], []

    def open_page(*explorers, scheme="light", width=1280, fragment="", still=False, **more):
        if not still:  # drawing it takes most of a test's time
            for kind in {type(explorer) for explorer in explorers}:
                monkeypatch.setattr(kind, "still", lambda self: Figure('<svg role="img"></svg>', "a still"))
        paper, ink = COLOURS[scheme]
        file = tmp_path / f"page{len(opened)}.html"
        file.write_text(
            PAGE.format(
                theme=f'data-theme="{scheme}"', paper=paper, ink=ink, explorers="".join(e.html() for e in explorers)
            )
        )
        context = browser.new_context(viewport={"width": width, "height": 900}, **more)
        opened.append(context)
        page = context.new_page()
        page.on("request", lambda r: r.url.startswith(("file:", "data:")) or wrong.append(f"fetches {r.url}"))
        page.on("pageerror", lambda error: wrong.append(f"script error: {error}"))
        page.on("console", lambda message: message.type == "error" and wrong.append(message.text))
        page.goto(file.as_uri() + fragment)
        return page

    yield open_page
    for context in opened:
        context.close()
    assert not wrong, wrong
