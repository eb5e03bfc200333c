"""Every kind of figure: one small inline SVG in the page's own colours, described, the same every time."""

import re
from xml.etree import ElementTree

import pytest
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from dlopt.lab.landscapes import ravine
from dlopt.view import Figure, contours, heatmap, lines, loss_curves, lr_sweep
from dlopt.view.style import INK, PALETTE

from . import samples

SVG = "{http://www.w3.org/2000/svg}"
FIGURES = samples.figures()


@pytest.fixture(params=FIGURES)
def figure(request):
    return FIGURES[request.param]


@pytest.fixture
def root(figure):
    return ElementTree.fromstring(figure.svg)


DRAWERS = {
    "loss_curves": lambda **k: loss_curves(samples.runs(seeds=1, steps=3), **k),
    "lr_sweep": lambda **k: lr_sweep(samples.sweep(), **k),
    "lines": lambda **k: lines({"a": ([0, 1], [0, 1])}, xlabel="x", ylabel="y", **k),
    "contours": lambda **k: contours(ravine(), **k),
    "heatmap": lambda **k: heatmap([0, 1], [0, 1], [[0, 1], [1, 2]], xlabel="x", ylabel="y", zlabel="z", **k),
}


@pytest.mark.parametrize("draw", DRAWERS.values(), ids=DRAWERS)
def test_a_description_is_required(draw):
    with pytest.raises(TypeError, match="alt"):
        draw()
    for alt in ("", "   ", "loss curve", "Averyveryverylongsingleword", None):
        with pytest.raises(ValueError, match="too short"):
            draw(alt=alt)


@pytest.mark.parametrize("draw", DRAWERS.values(), ids=DRAWERS)
def test_caption_and_height(draw):
    figure = draw(alt=samples.ALT, caption="Loss < 1 & falling", height=200)
    assert "<figcaption" in figure._repr_html_() and "Loss &lt; 1 &amp; falling" in figure._repr_html_()
    assert figure.svg in figure._repr_html_()
    assert ElementTree.fromstring(figure.svg).get("viewBox") == "0 0 460 200"
    with pytest.raises(ValueError, match="height"):
        draw(alt=samples.ALT, height=20)


def test_is_one_described_image(figure, root):
    assert root.tag == SVG + "svg" and root.get("role") == "img" and root.get("aria-label") == samples.ALT
    assert re.fullmatch(r"0 0 460 \d+", root.get("viewBox")) and root.get("width") is None
    assert figure._repr_mimebundle_() == {"text/html": figure.svg, "text/plain": f"Figure: {samples.ALT}"}


def test_alt_text_is_escaped():
    alt = 'Loss "falls" & stays < 1 for all methods'
    figure = DRAWERS["lines"](alt=alt)
    assert ElementTree.fromstring(figure.svg).get("aria-label") == alt


def test_takes_the_colour_and_font_of_the_page(figure, root):
    texts = list(root.iter(SVG + "text"))
    assert texts and all("fill:currentColor" in text.get("style") for text in texts)
    assert INK not in figure.svg and "font-family" not in figure.svg and "<style" not in figure.svg
    colors = set(re.findall(r"#[0-9a-f]{6}\b", figure.svg))
    assert colors <= {*PALETTE, "#ffffff"}
    assert not re.search(r"(fill|stroke):\s*(black|#000)", figure.svg)
    assert all("fill" in path.get("style") for path in root.iter(SVG + "path") if path.get("id") is None)


def test_nothing_is_fetched_or_scripted(figure):
    links = re.findall(r'href="([^"]{5})', figure.svg)
    assert all(link.startswith("#") or link == "data:" for link in links)
    assert "<script" not in figure.svg and "<metadata" not in figure.svg and "<!DOCTYPE" not in figure.svg


def test_is_small(figure):
    assert len(figure.svg.encode()) <= 20_000


def test_the_same_figure_has_the_same_bytes():
    again = samples.figures()
    assert {name: figure.svg for name, figure in again.items()} == {name: f.svg for name, f in FIGURES.items()}


def test_ids_are_unique_and_met_over_a_page():
    ids = [each for figure in FIGURES.values() for each in re.findall(r' id="([^"]+)"', figure.svg)]
    assert ids and len(ids) == len(set(ids))
    for figure in FIGURES.values():
        used = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', figure.svg))
        assert {a or b for a, b in used} == set(re.findall(r' id="([^"]+)"', figure.svg))


def boxes(root):
    """Texts that are not turned, as boxes in the widest of the usual fonts."""
    for text in root.iter(SVG + "text"):
        style = text.get("style")
        size = float(re.search(r"font-size:([\d.]+)px", style)[1])
        width = TextPath((0, 0), text.text, size=size, prop=FontProperties("DejaVu Sans")).get_extents().width
        share = {"start": 0, "middle": 0.5, "end": 1}[re.search(r"anchor:(\w+)", style)[1]]
        left, bottom = float(text.get("x")) - width * share, float(text.get("y"))
        yield text.text, left, left + width, bottom - 0.7 * size, bottom


def test_texts_do_not_overlap_and_stay_inside(root):
    found = list(boxes(root))
    width, height = map(float, root.get("viewBox").split()[2:])
    for index, (name, left, right, top, bottom) in enumerate(found):
        assert -1 <= left and right <= width + 1 and 0 <= top and bottom <= height, name
        for other, left2, right2, top2, bottom2 in found[:index]:
            assert right <= left2 or right2 <= left or bottom <= top2 or bottom2 <= top, (name, other)


def test_save_writes_a_file_of_its_own(tmp_path):
    figure = FIGURES["lines"]
    saved = ElementTree.parse(figure.save(tmp_path / "lines.svg")).getroot()
    assert saved.get("aria-label") == samples.ALT and saved.get("font-family") == "sans-serif"


def test_figures_are_compared_by_what_is_shown():
    assert FIGURES["lines"] == samples.figures()["lines"] != FIGURES["contours"]
    assert isinstance(FIGURES["lines"], Figure)
