"""A matplotlib figure as one small SVG element that can stand inside a page.

What matplotlib writes is meant for a file of its own: it carries a style sheet that would reach the whole
page, ids that repeat from figure to figure, its own fonts, and six decimals. All of that is taken out here.
"""

from __future__ import annotations

import hashlib
import io
import re
from typing import Any
from xml.etree import ElementTree

import numpy as np

from dlopt.lab.optional import require

from .style import INK, settings

_SVG = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"
_TOLERANCE = 0.3  # in units of the viewBox, well under a pixel
_NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
_LAYOUT = "display:block;width:100%;max-width:36rem;height:auto;margin:0 auto;background:none"


def inline_svg(figure: Any, alt: str) -> str:
    """The figure as one `<svg role="img">`, described by `alt`, with text and axes in `currentColor`.

    The same figure gives the same bytes. Ids are named after the content, so different figures share none.
    """
    matplotlib = require("matplotlib")
    buffer = io.StringIO()
    with matplotlib.rc_context(settings() | {"svg.hashsalt": "dlopt"}):
        figure.savefig(
            buffer,
            format="svg",
            dpi=144,  # of rasterized parts only
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    root = ElementTree.fromstring(buffer.getvalue())
    _drop(root)
    _flatten(root)
    for element in root.iter():
        _shorten(element)
    _share_marker_styles(root)
    _join_strokes(root)
    view_box = root.get("viewBox", "")
    root.attrib.clear()
    root.attrib.update(
        {
            "class": "dlopt-figure",
            "viewBox": view_box,
            "role": "img",
            "aria-label": alt,
            "stroke-linejoin": "round",
            "style": _LAYOUT,
        }
    )
    ElementTree.register_namespace("", _SVG[1:-1])
    return _own_ids(ElementTree.tostring(root, encoding="unicode").replace(INK, "currentColor"))


def _drop(element: ElementTree.Element) -> None:
    """Remove the metadata and the style sheet, whose `*` selector would restyle the page."""
    for child in list(element):
        if child.tag.rpartition("}")[2] in ("metadata", "style"):
            element.remove(child)
        else:
            _drop(child)
    element.text = (element.text or "").strip() or None
    element.tail = None


def _flatten(element: ElementTree.Element) -> None:
    """Replace groups that only carry a name by what they hold, and leave out what is empty."""
    children: list[ElementTree.Element] = []
    for child in list(element):
        _flatten(child)
        if child.tag == _SVG + "g" and set(child.attrib) <= {"id"}:
            children.extend(child)
        elif not (child.tag in (_SVG + "g", _SVG + "defs") and len(child) == 0):
            children.append(child)
    element[:] = children


def _shorten(element: ElementTree.Element) -> None:
    """Round the numbers of one element, thin its path, leave its fonts to the page."""
    attributes = element.attrib
    if _HREF in attributes:
        attributes["href"] = attributes.pop(_HREF)
    if element.tag in (_SVG + "g", _SVG + "use", _SVG + "text"):
        attributes.pop("id", None)
    if "d" in attributes:
        attributes["d"] = _short_path(attributes["d"])
    if attributes.get("transform", "").startswith("rotate(-0 "):
        del attributes["transform"]
    for name in attributes.keys() & {"x", "y", "width", "height", "transform"}:
        attributes[name] = _NUMBER.sub(lambda match: _short(float(match[0])), attributes[name])
    if "style" in attributes:
        kept = [part.strip() for part in attributes["style"].split(";") if part.strip()]
        kept = [part.replace(": ", ":", 1) for part in kept if not part.startswith("font-family")]
        attributes["style"] = ";".join(kept)


def _short(value: float) -> str:
    """A coordinate with one decimal and no needless characters.

    >>> _short(12.0), _short(-0.04), _short(0.25)
    ('12', '0', '.2')
    """
    text = re.sub(r"^(-?)0(?=\.)", r"\1", f"{value:.1f}".removesuffix(".0"))
    return "0" if text == "-0" else text


def _short_path(data: str) -> str:
    """Path data with straight runs thinned and written as relative steps; curves are only rounded.

    >>> _short_path("M 1.000000 2.000000 L 2.000000 2.000000 L 5.000000 2.000000 z")
    'M1 2l4 0z'
    """
    if re.search("[CQ]", data):
        rounded = _NUMBER.sub(lambda match: f"{float(match[0]):.2f}".rstrip("0").rstrip("."), data)
        return rounded.replace(" \n", " ")
    parts = []
    for run in re.findall(r"M[^M]*", data):
        points = np.array(re.findall(r"-?[\d.]+(?:e-?\d+)?", run), dtype=float).reshape(-1, 2)
        steps = np.diff(np.round(_thin(points), 1), axis=0, prepend=0.0).tolist()
        start = f"M{_short(steps[0][0])} {_short(steps[0][1])}"
        body = " ".join(f"{_short(x)} {_short(y)}" for x, y in steps[1:])
        parts.append(start + (f"l{body}" if body else "") + ("z" if "z" in run else ""))
    return "".join(parts)


def _thin(points: np.ndarray) -> np.ndarray:
    """The Douglas-Peucker subset of `points`, shape (n, 2): none is far off the line through them."""
    keep = np.zeros(len(points), dtype=bool)
    keep[[0, -1]] = True
    spans = [(0, len(points) - 1)]
    while spans:
        first, last = spans.pop()
        inner = points[first + 1 : last] - points[first]
        if len(inner) == 0:
            continue
        chord = points[last] - points[first]
        along = np.clip(inner @ chord / max(float(chord @ chord), 1e-12), 0.0, 1.0)
        away = np.hypot(*(inner - along[:, None] * chord).T)
        if away.max() > _TOLERANCE:
            middle = first + 1 + int(away.argmax())
            keep[middle] = True
            spans += [(first, middle), (middle, last)]
    return points[keep]


def _share_marker_styles(root: ElementTree.Element) -> None:
    """Say a style once on the group instead of on each of its markers."""
    for group in root.iter(_SVG + "g"):
        styles = {child.get("style") for child in group}
        if len(styles) == 1 and (style := styles.pop()) and all(child.tag == _SVG + "use" for child in group):
            group.set("style", style)
            for child in group:
                del child.attrib["style"]


def _join_strokes(root: ElementTree.Element) -> None:
    """Draw strokes of one look, such as the grid, as one path. Fills stay apart: layers have to add up."""
    previous = ElementTree.Element("none")
    for element in [child for child in root if child.tag != _SVG + "text"]:
        same = element.tag == previous.tag == _SVG + "path"
        if same and "fill:none" in element.get("style", "") and _look(element) == _look(previous):
            previous.set("d", previous.get("d", "") + element.get("d", ""))
            root.remove(element)
        else:
            previous = element


def _look(element: ElementTree.Element) -> dict[str, str]:
    return {name: value for name, value in element.attrib.items() if name not in ("d", "id")}


def _own_ids(text: str) -> str:
    """Rename the ids after a hash of the content; drop those that nothing refers to."""
    used = set(re.findall(r'(?:href="#|url\(#)([\w-]+)', text))
    text = re.sub(r' id="([\w-]+)"', lambda match: match[0] if match[1] in used else "", text)
    names = list(dict.fromkeys(re.findall(r' id="([\w-]+)"', text)))
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    new = {name: f"d{digest}-{number}" for number, name in enumerate(names)}
    return re.sub(r'(?<=id=")[\w-]+|(?<=#)[\w-]+(?=["\)])', lambda match: new.get(match[0], match[0]), text)
