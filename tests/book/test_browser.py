"""The site as a reader meets it: off the network, light and dark, wide and narrow, by keyboard, on paper."""

import re
from dataclasses import dataclass, field
from importlib.resources import files

import pytest

pytestmark = pytest.mark.timeout(600)  # the first test opens every page

# Narrow first: what scrolls there gets its tab stop when the page is loaded.
SETTINGS = [(width, theme) for width in (390, 1280) for theme in ("light", "dark")]
WHOLE = [(390, "light"), (1280, "dark")]  # all rules of axe; in the other two settings those about colour
COLOUR = ["color-contrast", "link-in-text-block"]

OPEN = """() => {
  for (const details of document.querySelectorAll("article details")) details.open = true;
  for (const folded of document.querySelectorAll(".toggle-hidden")) folded.classList.remove("toggle-hidden");
}"""
UNREACHED = """() => [...document.querySelectorAll("main *")].filter((e) =>
  ["auto", "scroll"].includes(getComputedStyle(e).overflowX) && e.scrollWidth > e.clientWidth + 1 && e.clientWidth
  && e.tabIndex < 0 && !e.querySelector("a, button, input, [tabindex='0']")).map((e) => e.outerHTML.slice(0, 120))"""
# axe looks at each element once, and pages have thousands of glyphs, strokes, coloured words and rows alike.
THIN = """() => {
  for (const formula of document.querySelectorAll("mjx-container:not([display])")) {
    const {width, height} = formula.getBoundingClientRect();
    formula.style.cssText += `; display: inline-block; width: ${width}px; height: ${height}px`;
    formula.replaceChildren();
  }
  for (const stroke of document.querySelectorAll("svg[role=img] :not(title, desc)")) stroke.remove();
  const seen = new Set(), again = (kind) => seen.has(kind) || !seen.add(kind);
  for (const word of document.querySelectorAll("pre span")) if (again(word.className)) word.replaceWith(...word.childNodes);
  for (const row of document.querySelectorAll("tbody tr:nth-child(n + 30)")) {
    if (again(row.outerHTML.replace(/>[^<]*/g, ">").replace(/ (href|title)="[^"]*"/g, ""))) row.remove();
  }
}"""
# One of each kind of text, told apart by ink, size and what is painted behind, is marked for the rule on contrast.
MARK = """(judged) => {
  const known = new Set(judged), styles = new Map();
  const style = (e) => {
    if (!styles.has(e)) {
      const s = getComputedStyle(e);
      styles.set(e, {ink: [s.color, s.fontSize, s.fontWeight], paper: [s.backgroundColor, s.backgroundImage, s.opacity]});
    }
    return styles.get(e);
  };
  for (const marked of document.querySelectorAll("[data-kind]")) marked.removeAttribute("data-kind");
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), fresh = [];
  for (let node; (node = walker.nextNode()); ) {
    const e = node.parentElement;
    if (!node.data.trim() || e.closest("script, style, svg, mjx-container") || !e.checkVisibility({checkVisibilityCSS: true})) continue;
    const parts = [...style(e).ink];
    for (let a = e; a; a = a.parentElement) {
      const paper = style(a).paper.join(" ");
      if (paper !== "rgba(0, 0, 0, 0) none 1") parts.push(paper);
    }
    const kind = parts.join(" ");
    if (known.has(kind)) continue;
    known.add(kind);
    fresh.push(kind);
    e.dataset.kind = kind;
  }
  return fresh;
}"""
RUN = """([within, rules]) => axe.run(within, {preload: false, resultTypes: ["violations", "incomplete"], ...(rules && {runOnly: rules})})
  .then(({violations, incomplete}) => ({
    found: violations.flatMap(({id, nodes}) => nodes.map(({target, failureSummary}) => `${id}: ${target} ${failureSummary}`)),
    undecided: incomplete.filter(({id}) => id === "color-contrast").flatMap(({nodes}) => nodes)
      .map(({target}) => document.querySelector(target)?.dataset.kind),
  }))"""


@dataclass
class Visit:
    """What was seen of one page."""

    wrong: list = field(default_factory=list)
    equations: int = 0
    sideways: list = field(default_factory=list)
    unreached: list = field(default_factory=list)
    axe: list = field(default_factory=list)


def load_axe(page):
    page.evaluate((files("axe_playwright_python") / "axe.min.js").read_text())


def look(page, path, judged):
    """Open a page and look at it in the four settings."""
    visit = Visit()
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(path.as_uri())
    page.evaluate("async () => { await window.MathJax?.startup?.promise; }")
    visit.equations = page.locator("article mjx-container").count()
    visit.wrong += ["a formula with an error in it"] * page.locator("mjx-merror").count()
    page.evaluate(OPEN)
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    visit.unreached = page.evaluate(UNREACHED)
    page.evaluate(THIN)
    load_axe(page)
    page.evaluate("axe.configure({rules: [{id: 'color-contrast', selector: '[data-kind]'}]})")
    for width, theme in SETTINGS:
        page.set_viewport_size({"width": width, "height": 844})
        if page.evaluate("document.documentElement.scrollWidth") > width:
            visit.sideways.append(width)
        page.evaluate("(theme) => { document.documentElement.dataset.theme = theme; }", theme)
        known = judged[width, theme]
        fresh = page.evaluate(MARK, list(known))
        whole = (width, theme) in WHOLE
        if fresh or whole:
            result = page.evaluate(RUN, ["html", None if whole else COLOUR])
            known.update(set(fresh) - set(result["undecided"]))
            visit.axe += [f"{width} {theme} {found}" for found in result["found"]]
    return visit


@pytest.fixture(scope="module")
def visits(browser, documents):
    """Every page, opened once from the disk."""
    context = browser.new_context(reduced_motion="reduce")  # or a colour may be caught on its way to another
    page = context.new_page()
    page.set_default_timeout(120_000)
    wrong, visits = [], {}
    page.on("request", lambda r: r.url.startswith(("file:", "data:", "blob:")) or wrong.append(f"fetches {r.url}"))
    # What is still loading when the next page opens is aborted, and that is no fault.
    page.on("requestfailed", lambda r: "ABORTED" in r.failure or wrong.append(f"could not load {r.url}"))
    page.on("pageerror", lambda error: wrong.append(f"script error: {error}"))
    judged = {setting: set() for setting in SETTINGS}
    for path in documents:
        visits[path] = look(page, path, judged)
        visits[path].wrong += wrong
        wrong.clear()
    yield visits
    context.close()


def test_no_request_leaves_a_page_and_nothing_goes_wrong(visits):
    assert not {path: visit.wrong for path, visit in visits.items() if visit.wrong}


def test_every_formula_is_set(visits, documents):
    for path, document in documents.items():
        assert visits[path].equations >= len(document.select("article .math")), path


def test_no_page_scrolls_sideways(visits):
    assert not {path: visit.sideways for path, visit in visits.items() if visit.sideways}


def test_the_keyboard_reaches_what_scrolls(visits):
    assert not {path: visit.unreached for path, visit in visits.items() if visit.unreached}


def test_axe_finds_nothing(visits):
    assert not {path: visit.axe for path, visit in visits.items() if visit.axe}


@pytest.fixture
def show(browser, site):
    """Opens a page of the site."""
    opened = []

    def open_page(name="sgd/momentum.html", width=1280, **more):
        context = browser.new_context(viewport={"width": width, "height": 844}, **more)
        opened.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.goto((site / name).as_uri())
        page.evaluate("async () => { await window.MathJax?.startup?.promise; }")
        return page

    yield open_page
    for context in opened:
        context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(
    ("width", "button", "opens"),
    [
        (1280, ".dropdown-launch-buttons button", ".dropdown-launch-buttons"),
        (1280, ".dropdown-source-buttons button", ".dropdown-source-buttons"),
        (1280, ".dropdown-download-buttons > button", ".dropdown-download-buttons"),
        (1280, ".search-button-field", "#pst-search-dialog"),
        (390, ".article-header-buttons .search-button", "#pst-search-dialog"),
        (390, ".primary-toggle", "#pst-primary-sidebar-modal"),
        (390, ".secondary-toggle", "#pst-secondary-sidebar-modal"),
    ],
)
def test_what_opens_opens_by_keyboard_and_escape_closes_it(show, theme, width, button, opens):
    page = show(width=width, color_scheme=theme, reduced_motion="reduce")
    shown = f"{opens}[open], {opens} > .dropdown-menu.show"
    page.locator(button).first.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(shown)
    load_axe(page)
    assert page.evaluate(RUN, [opens, None])["found"] == []
    if opens.startswith(".dropdown"):
        page.keyboard.press("ArrowDown")
    assert page.evaluate("(opens) => document.querySelector(opens).contains(document.activeElement)", opens)
    page.keyboard.press("Escape")
    page.wait_for_selector(shown, state="detached")
    assert page.locator(button).first.evaluate("(button) => button === document.activeElement")


def test_the_keyboard_reaches_the_text_first_and_always_shows_where_it_is(show):
    page = show()
    page.keyboard.press("Tab")
    assert "Skip to main content" in page.evaluate("document.activeElement.textContent")
    stops = []
    for _ in range(60):
        stops.append(
            page.evaluate(
                """() => {
                  const e = document.activeElement, {outlineStyle, outlineWidth, boxShadow} = getComputedStyle(e);
                  const ring = outlineStyle === "solid" && parseFloat(outlineWidth) >= 2;
                  return [e.localName, (e.getAttribute("aria-label") || e.textContent).trim(), ring, e.checkVisibility()];
                }"""
            )
        )
        page.keyboard.press("Tab")
    assert all(ring and visible for *_, ring, visible in stops), stops
    assert {"a", "button", "summary", "pre"} <= {name for name, *_ in stops}, stops
    named = [text for _, text, *_ in stops]
    assert named.index("Search") < named.index("Notation") < named.index("Launch interactive content")


def test_the_skip_link_leads_to_the_text(show):
    page = show()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.querySelector('main').contains(document.activeElement)")


def test_search_works_from_the_disk(show, site):
    page = show()
    page.keyboard.press("Control+k")
    page.keyboard.type("momentum")
    page.keyboard.press("Enter")
    page.wait_for_selector("#search-results li a")
    assert page.url.endswith("search.html?q=momentum")
    results = page.locator("#search-results li a")
    page.wait_for_function("document.querySelectorAll('#search-results li a').length > 5")
    assert "Momentum and Nesterov" in " | ".join(results.all_inner_texts())
    for link in results.evaluate_all("(links) => links.map((a) => a.getAttribute('href'))"):
        assert (site / re.split("[?#]", link)[0]).exists(), link
    load_axe(page)
    assert page.evaluate(RUN, ["html", None])["found"] == []


def test_nothing_moves_where_the_reader_wants_no_motion(show):
    page = show(reduced_motion="reduce")
    moving = """() => [document.documentElement, ...document.querySelectorAll("*")].filter((e) =>
      [null, "::before", "::after"].some((part) => {
        const s = getComputedStyle(e, part);
        return s.scrollBehavior === "smooth" || s.animationName !== "none" || !/^(0s(, )?)+$/.test(s.transitionDuration);
      })).map((e) => e.outerHTML.slice(0, 100))"""
    assert page.evaluate(moving) == []


def test_figures_follow_the_dark_theme(show):
    page = show("intro.html", color_scheme="dark")
    seen = page.evaluate("getComputedStyle(document.querySelector('article svg[role=img]')).color")
    assert min(map(int, re.findall(r"\d+", seen)[:3])) > 128, seen


def test_on_paper_there_is_the_text_and_all_of_it(show):
    page = show(width=660, color_scheme="dark")  # the width of a sheet of A4 between its margins
    page.emulate_media(media="print")
    for selector in ("#pst-primary-sidebar", "#pst-secondary-sidebar", ".bd-header-article", ".prev-next-footer"):
        assert not page.locator(selector).is_visible(), selector
    cut = """() => [...document.querySelectorAll("article :is(pre, table, mjx-container[display], .output)")]
      .filter((e) => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX !== "visible")
      .map((e) => e.outerHTML.slice(0, 100))"""
    assert page.evaluate(cut) == []
    heights = "[...document.querySelectorAll('figure svg[role=img]')].map((e) => e.getBoundingClientRect().height)"
    assert 0 < max(page.evaluate(heights)) < 950  # of a sheet
    broken = "[...document.querySelectorAll('figure, div.cell')].map((e) => getComputedStyle(e).breakInside)"
    assert set(page.evaluate(broken)) == {"avoid"}


def test_paper_says_where_links_lead(show):
    page = show("bibliography.html")
    page.emulate_media(media="print")
    printed = "(links) => links.map((a) => [a.getAttribute('href'), getComputedStyle(a, '::after').content])"
    links = page.locator("article a.external[href^=http]").evaluate_all(printed)
    assert links and all(address in said for address, said in links)


def test_paper_is_white_and_the_screen_dark_again_afterwards(show):
    page = show(color_scheme="dark")
    theme = "document.documentElement.dataset.theme"
    assert page.evaluate(theme) == "dark"
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(theme) == "light"
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(theme) == "dark"
