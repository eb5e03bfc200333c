"""The finished site, read as text: complete, off the network, with a name on what needs one."""

import re

import pytest
from access import mend
from bs4 import BeautifulSoup
from ravine import PICTURE, draw

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


def nameless(document):
    """What opens and closes, and says nothing to somebody who does not see it."""
    for element in document.select("summary, dialog, #pst-primary-sidebar"):
        if not element.get("aria-label") and not (element.name == "summary" and element.text.strip()):
            yield str(element)[:200]


def test_no_other_host_is_named_where_a_browser_would_fetch(documents, site):
    for path, document in documents.items():
        assert not list(external(document)), path
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*['\"]?(https?:)?//", sheet.read_text()), sheet


def test_every_picture_is_described_and_every_figure_has_a_caption(documents):
    for path, document in documents.items():
        assert not list(undescribed(document)), path
        assert not list(uncaptioned(document)), path


def test_what_opens_has_a_name(documents):
    for path, document in documents.items():
        assert not list(nameless(document)), path


def test_names_are_given_once():
    bare = (
        '<dialog id="pst-search-dialog"></dialog><a class="reference" href="b.html">L1 &amp; L2 </a><details><summary>'
    )
    named = mend(bare)
    assert '<dialog aria-label="Search" id="pst-search-dialog">' in named
    assert named.endswith('<summary aria-label="Pages under L1 &amp; L2">')
    assert mend(named) == named


@pytest.mark.parametrize(
    ("find", "html"),
    [
        (external, '<script src="https://cdn.example/a.js"></script>'),
        (external, '<link rel="stylesheet" href="//cdn.example/a.css">'),
        (undescribed, '<article><img alt="_images/a.png" src="a.png"></article>'),
        (undescribed, "<article><svg></svg></article>"),
        (uncaptioned, '<div class="cell_output"><svg></svg></div>'),
        (nameless, '<details><summary><i class="arrow"></i></summary></details>'),
        (nameless, "<dialog>Search</dialog>"),
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
            links = {a.text.strip(): a["href"] for a in document.select(".dropdown-launch-buttons a[href]")}
            assert links.keys() == {"Binder", "Colab"}, path
            for label, host in (("Binder", "mybinder.org"), ("Colab", "colab.research.google.com")):
                assert host in links[label] and links[label].endswith(f"book/{name}"), path


def test_picture_of_the_home_page_is_what_its_script_draws():
    assert PICTURE.read_text() == draw()
