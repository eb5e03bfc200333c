"""Pages with explorers on them, in a browser."""

import pytest

from dlopt.view import Figure

from .pages import COLOURS, PAGE


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
