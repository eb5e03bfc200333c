"""The finished site: complete, off the network, readable in light and dark, on a phone, by keyboard."""

import re
import shutil

import pytest
from bs4 import BeautifulSoup
from ravine import PICTURE, draw

CHROMIUM = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
RESOURCES = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "link": "href",
    "object": "data",
}
LOADED = {
    "stylesheet",
    "preload",
    "icon",
    "shortcut",
    "modulepreload",
    "preconnect",
    "dns-prefetch",
    "prefetch",
}
LOCAL = ("file:", "data:", "blob:")


@pytest.fixture(scope="module")
def documents(site):
    paths = sorted(path for path in site.rglob("*.html") if "_static" not in path.parts)
    read = {path: BeautifulSoup(path.read_text(), "html.parser") for path in paths}
    return {path: document for path, document in read.items() if not document.select("meta[http-equiv=Refresh]")}


def external(document):
    """Addresses of other hosts that a browser would fetch when it opens this document."""
    for tag, attribute in RESOURCES.items():
        for element in document.find_all(tag):
            if tag != "link" or LOADED & set(element.get("rel", [])):
                address = element.get(attribute) or ""
                if re.match(r"(https?:)?//", address):
                    yield address


def undescribed(document):
    """Pictures that say nothing to somebody who does not see them."""
    article = document.find("article") or document
    for image in article.find_all("img"):
        alt = image.get("alt", "")
        if len(alt.split()) < 4 or alt.endswith((".png", ".svg", ".jpg")):
            yield str(image)[:200]
    for drawing in article.select('svg:not([aria-hidden="true"], svg svg)'):
        if drawing.get("role") != "img" or len(described(drawing).split()) < 4:
            yield str(drawing)[:200]


def described(drawing):
    label, title = drawing.get("aria-label"), drawing.find("title")
    return label or (title.text if title else "")


def uncaptioned(document):
    """Figures of cells without a numbered caption."""
    for picture in document.select(".cell_output img, .cell_output svg"):
        figure = picture.find_parent("figure")
        if figure is None or figure.select_one("figcaption .caption-number") is None:
            yield str(picture)[:200]


def test_no_other_host_is_named_where_a_browser_would_fetch(documents, site):
    for path, document in documents.items():
        assert not list(external(document)), path
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*['\"]?(https?:)?//", sheet.read_text()), sheet


def test_every_picture_is_described_and_every_figure_has_a_caption(documents):
    for path, document in documents.items():
        assert not list(undescribed(document)), path
        assert not list(uncaptioned(document)), path


@pytest.mark.parametrize(
    ("find", "html"),
    [
        (external, '<script src="https://cdn.example/a.js"></script>'),
        (external, '<link rel="stylesheet" href="//cdn.example/a.css">'),
        (undescribed, '<article><img alt="_images/a.png" src="a.png"></article>'),
        (undescribed, "<article><svg></svg></article>"),
        (uncaptioned, '<div class="cell_output"><svg></svg></div>'),
    ],
)
def test_these_checks_find_what_they_look_for(find, html):
    assert list(find(BeautifulSoup(html, "html.parser")))


def test_mathjax_is_complete_and_small(site):
    files = [path for path in (site / "_static" / "mathjax").rglob("*") if path.is_file()]
    assert any(path.name == "tex-chtml.js" for path in files)
    assert sum(path.suffix == ".woff" for path in files) > 10
    assert sum(path.stat().st_size for path in files) < 4e6


def test_launch_buttons_open_the_notebook(documents, site, root):
    for path, document in documents.items():
        name = path.relative_to(site).with_suffix(".ipynb").as_posix()
        if (root / "book" / name).exists():
            links = [a["href"] for a in document.find_all("a", href=True)]
            assert any("mybinder.org" in link and link.endswith(f"book/{name}") for link in links), path
            assert any("colab" in link and link.endswith(f"book/{name}") for link in links), path


def test_picture_of_the_home_page_is_what_its_script_draws():
    assert PICTURE.read_text() == draw()


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed, so the pages were not opened in a browser")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_pages_open_from_the_disk_with_the_network_off(browser, documents, scheme, width):
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 844})
    page = context.new_page()
    wrong = []
    page.on("request", lambda r: r.url.startswith(LOCAL) or wrong.append(f"fetches {r.url}"))
    # What is still loading when the next page opens is aborted, and that is no fault.
    page.on("requestfailed", lambda r: "ABORTED" in r.failure or wrong.append(f"could not load {r.url}"))
    page.on("pageerror", lambda error: wrong.append(f"script error: {error}"))
    for path, document in documents.items():
        page.goto(path.as_uri())
        page.wait_for_load_state("load")
        if document.select(".math"):
            page.wait_for_selector("mjx-container", state="attached")
            page.evaluate("MathJax.startup.promise")
            assert page.locator("mjx-container").count() >= len(document.select("article .math")), path
            assert page.locator("mjx-merror").count() == 0, path
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    context.close()
    assert not wrong, wrong


def test_figures_follow_the_dark_theme(browser, site):
    context = browser.new_context(color_scheme="dark")
    page = context.new_page()
    page.goto((site / "intro.html").as_uri())
    seen = page.evaluate("getComputedStyle(document.querySelector('article svg[role=img]')).color")
    assert min(map(int, re.findall(r"\d+", seen)[:3])) > 128, seen
    context.close()


def test_keyboard_reaches_the_text_first(browser, site):
    page = browser.new_page()
    page.goto((site / "intro.html").as_uri())
    page.keyboard.press("Tab")
    assert "Skip to main content" in page.evaluate("document.activeElement.textContent")
    page.close()
