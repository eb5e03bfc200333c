"""The explorers of the site, in a browser, opened from the disk with the network off."""

import re

import numpy as np
import pytest
from bs4 import BeautifulSoup

from dlopt.view.explore.landscape_explorer import LandscapeExplorer

from .explorer_cells import calls, explorer

MOST_BYTES = 300_000
PLACES = 200  # of a slider
LOCAL = ("file:", "data:", "blob:")
PAGES = [*calls(), "intro"]  # the home page shows the first explorer of the page that explains them
PATHS = "(n) => document.querySelectorAll('.dlopt-explorer')[n].dloptPaths?.map((p) => Array.from(p, String))"
MOVE = """(n) => {
  const slider = document.querySelectorAll('.dlopt-explorer')[n].querySelector('.card input[type=range]');
  slider.value = Number(slider.value) - 20;
  slider.dispatchEvent(new Event('input', {bubbles: true}));
  return slider.closest('.row').querySelector('input[type=text]').getAttribute('aria-label');
}"""
DRAWN = """(n) => [...document.querySelectorAll('.dlopt-explorer')[n].querySelectorAll('.picture canvas, .chart')].map((canvas) => {
  const {width, height} = canvas, data = canvas.getContext('2d').getImageData(0, 0, width, height).data.buffer;
  return new Set(new Uint32Array(data)).size;
})"""


def shown_on(page):
    if page == "intro":
        return [explorer(calls()["explorers"]["fig-explorers-first"])]
    return [explorer(source) for source in calls()[page].values()]


def paths(page, nth):
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    found = page.evaluate(PATHS, nth)
    return found and np.array(found, dtype=float).reshape(len(found), -1, 2)


@pytest.fixture
def open_page(browser, site):
    """Opens a page of the site; at the end, nothing may have gone wrong on it."""
    wrong, context = [], browser.new_context(viewport={"width": 1280, "height": 900})

    def opened(name):
        page = context.new_page()
        page.on("request", lambda r: r.url.startswith(LOCAL) or wrong.append(f"fetches {r.url}"))
        page.on("pageerror", lambda error: wrong.append(f"script error: {error}"))
        page.on("console", lambda message: message.type == "error" and wrong.append(message.text))
        page.goto((site / f"{name}.html").as_uri())
        return page

    yield opened
    context.close()
    assert not wrong, wrong


@pytest.mark.parametrize("name", PAGES)
def test_it_draws_what_python_computes_and_a_slider_moves_it(open_page, name):
    page, made = open_page(name), shown_on(name)
    assert page.locator(".dlopt-explorer").count() == len(made)
    assert page.locator(".dlopt-explorer .still").count() == 0, "a still is left: its script did not run"
    for nth, each in enumerate(made):
        drawn = page.evaluate(DRAWN, nth)
        if not isinstance(each, LandscapeExplorer):
            assert max(drawn) > 10
            continue
        assert min(drawn) > 10
        before = paths(page, nth)
        np.testing.assert_allclose(before, each.paths(), rtol=1e-7, atol=1e-7)
        label = page.evaluate(MOVE, nth)
        after = paths(page, nth)
        assert label.startswith("lr of ") and not np.array_equal(after[0], before[0], equal_nan=True)
        lr = float(page.locator(".dlopt-explorer").nth(nth).get_by_label(label, exact=True).input_value())
        first, *others = each.optimizers
        each.optimizers = [{"name": first["name"], "hyper": first["hyper"] | {"lr": lr}}, *others]
        np.testing.assert_allclose(after, each.paths(), rtol=1e-7, atol=1e-7)


def test_schedules_and_surfaces_too(open_page):
    page, cells = open_page("explorers"), calls()["explorers"]

    def held(figure, name):
        found = page.evaluate(f"n => document.querySelectorAll('.dlopt-explorer')[n].{name}.map(v => Array.from(v, String))",
                              list(cells).index(figure))  # fmt: skip
        return [np.array(values, dtype=float) for values in found]

    schedules = explorer(cells["fig-explorers-schedule"])
    np.testing.assert_allclose(held("fig-explorers-schedule", "dloptFactors"), schedules.factors(), rtol=1e-9)
    np.testing.assert_allclose(held("fig-explorers-schedule", "dloptLosses"), schedules.losses(), rtol=1e-7)
    surface = explorer(cells["fig-explorers-surface"])
    for path, points in zip(held("fig-explorers-surface", "dloptPaths"), surface.traces().values(), strict=True):
        np.testing.assert_allclose(path.reshape(-1, 2), points, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", PAGES)
def test_its_page_is_light_and_names_no_other_host(site, name):
    document = BeautifulSoup((site / f"{name}.html").read_text(), "html.parser")
    hosts = document.select(".dlopt-explorer")
    assert hosts
    for host in hosts:
        script = host.find_next_sibling("script")
        assert len((str(host) + str(script)).encode()) <= MOST_BYTES
        if name != "intro":  # its pictures have captions without numbers
            assert host.find_parent("figure").select_one("figcaption .caption-number") is not None
        assert len(host.select_one(".still svg")["aria-label"].split()) > 8
    assert not document.select('script[type*="widget-state"], script[src*="require"]'), (
        "the widgets' state is there twice"
    )
    assert not re.search(r"unpkg|jsdelivr|cdnjs", str(document))


def test_links_to_other_services_wait_for_a_click(open_page, site):
    """The buttons that open a page elsewhere are links, and nothing else names another host."""
    page = open_page("explorers")
    links = page.eval_on_selector_all(
        "header a[href^='https:'], .bd-header-article a[href^='https:']", "l => l.map(a => a.href)"
    )
    assert {"mybinder.org", "colab.research.google.com", "github.com"} <= {link.split("/")[2] for link in links}


def test_on_a_phone_in_the_dark(browser, site):
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark")
    page = context.new_page()
    page.goto((site / "explorers.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    around = page.locator(".text_html:has(> .dlopt-explorer)").first
    assert around.evaluate("(box) => getComputedStyle(box).backgroundColor") == "rgba(0, 0, 0, 0)"
    edges = page.evaluate("""() => [...document.querySelectorAll('.card')].flatMap((card) => {
      const outer = card.getBoundingClientRect();
      return [...card.querySelectorAll('.row')].map((row) => {
        const inner = row.getBoundingClientRect();
        return Math.min(inner.left - outer.left, outer.right - inner.right);
      });
    })""")
    assert min(edges) > 5, "the rows of a card keep off its border"
    context.close()
