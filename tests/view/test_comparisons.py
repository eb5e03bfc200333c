"""Dots and panels: what is drawn where, and what is refused."""

import math
import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from dlopt.view.dots import dots
from dlopt.view.panels import panels
from dlopt.view.style import PALETTE

ALT = "Loss of three methods on two tasks, with intervals."
SVG = "{http://www.w3.org/2000/svg}"


def table():
    frame = pd.DataFrame([(m, t) for m in "abc" for t in ("one", "two")], columns=["method", "task"])
    centre = np.array([1.0, 2.0, 3.0, 4.0, 5.0, math.inf])
    return frame.assign(centre=centre, low=centre * 0.9, high=centre * 1.1)


def curves():
    frame = pd.DataFrame(
        [(m, t, lr) for m in "abcd" for t in ("one", "two") for lr in (0.1, 1.0, 10.0)],
        columns=["method", "task", "lr"],
    )
    return frame.assign(loss=np.linspace(1.0, 9.0, len(frame)))


def texts(figure):
    return [text.text for text in ElementTree.fromstring(figure.svg).iter(SVG + "text")]


@pytest.mark.parametrize("log", ["", "x"])
def test_dots_name_every_row_and_every_sign(log):
    figure = dots(table(), alt=ALT, xlabel="loss", log=log, vline=1.0)
    assert {"a", "b", "c", "one", "two", "loss"} <= set(texts(figure))
    assert figure.data["centre"].tolist() == table()["centre"].tolist()
    assert f"stroke:{PALETTE[0]}" in figure.svg and f"stroke:{PALETTE[1]}" in figure.svg
    assert 'aria-label="' + ALT in figure.svg


def test_what_is_beyond_the_right_end_moves_nothing():
    near = table().assign(centre=[1, 2, 3, 4, 3, 2.0], low=np.nan, high=np.nan)
    far = near.assign(centre=[1, 2, 3, 4, 3, 1e9])
    ticks = [{t for t in texts(dots(f, alt=ALT, xlabel="loss", right=5)) if re.match(r"\d", t)} for f in (near, far)]
    assert ticks[0] == ticks[1]


def test_panels_have_a_title_each_and_one_legend():
    figure = panels(curves(), alt=ALT, x="lr", y="loss", top=5.0, xlabel="learning rate", vlines={"a": 1.0})
    found = texts(figure)
    assert all(found.count(name) == 1 for name in ("a", "b", "c", "d", "one", "two", "learning rate"))
    assert len(figure.data) == 24


def test_infinite_points_are_drawn_on_the_top():
    bad = curves()
    bad.loc[3, "loss"] = math.inf
    assert "NaN" not in panels(bad, alt=ALT, x="lr", y="loss", log="x").svg


@pytest.mark.parametrize(
    ("draw", "word"),
    [
        (lambda: dots(table().drop(columns="low"), alt=ALT, xlabel="x"), "no column low"),
        (lambda: dots(pd.concat([table()] * 2), alt=ALT, xlabel="x"), "several signs"),
        (lambda: dots(table(), alt=ALT, xlabel="x", log="y"), "log"),
        (lambda: dots(table().assign(centre=math.inf, low=math.nan, high=math.nan), alt=ALT, xlabel="x"), "nothing"),
        (lambda: dots(table().assign(low=-1.0), alt=ALT, xlabel="x", log="x"), "logarithmic"),
        (lambda: dots(table(), alt="short", xlabel="x"), "too short"),
        (lambda: panels(curves(), alt=ALT, x="rate", y="loss"), "no column rate"),
        (lambda: panels(curves(), alt=ALT, x="lr", y="loss", columns=9), "columns"),
        (lambda: panels(curves().assign(loss=math.inf), alt=ALT, x="lr", y="loss"), "nothing"),
        (lambda: panels(curves(), alt="short", x="lr", y="loss"), "too short"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw, word):
    with pytest.raises(ValueError, match=word):
        draw()
