"""What the figures draw: read back from their data and their SVG."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from dlopt.lab.landscapes import LANDSCAPES, ravine
from dlopt.view import bands, contours, heatmap, lines, loss_curves, lr_sweep
from dlopt.view.axes import log_ticks, spread
from dlopt.view.curves import thin
from dlopt.view.style import PALETTE
from dlopt.view.svg import _short_path, _thin

from . import samples

SVG = "{http://www.w3.org/2000/svg}"


def texts(figure):
    return [text.text for text in ElementTree.fromstring(figure.svg).iter(SVG + "text")]


def place(figure, words):
    """x and y of the text that says `words`."""
    texts = ElementTree.fromstring(figure.svg).iter(SVG + "text")
    return next((float(text.get("x")), float(text.get("y"))) for text in texts if text.text == words)


def points(data):
    """Absolute points of a path of relative steps."""
    numbers = np.array(re.findall(r"-?(?:\d+\.?\d*|\.\d+)", data), dtype=float).reshape(-1, 2)
    return numbers.cumsum(axis=0)


def strokes(figure, color):
    """Path data of the data lines in one colour."""
    paths = ElementTree.fromstring(figure.svg).iter(SVG + "path")
    return [p.get("d") for p in paths if f"stroke:{color}" in p.get("style", "") and p.get("clip-path")]


def fill(figure, color):
    """Points of the band in one colour: a path defined apart and placed by a `use`."""
    root = ElementTree.fromstring(figure.svg)
    group = next(g for g in root.iter(SVG + "g") if g.get("style", "").startswith(f"fill:{color};fill-opacity"))
    place = np.array([float(group[0].get("x", 0)), float(group[0].get("y", 0))])
    path = next(p for p in root.iter(SVG + "path") if "#" + p.get("id", "") == group[0].get("href"))
    return points(path.get("d")) + place


def test_line_and_band_stand_where_the_numbers_are():
    runs = samples.runs(methods=["SGD"], steps=3)
    figure = loss_curves(runs, alt=samples.ALT)
    data = bands(runs, x="step", y="val_loss", by="method")
    assert figure.data.equals(data)
    line, band = points(strokes(figure, PALETTE[0])[0]), fill(figure, PALETTE[0])
    scale = np.polyfit(data["centre"], line[:, 1], 1)
    assert np.polyval(scale, data["centre"]) == pytest.approx(line[:, 1], abs=0.11) and scale[0] < 0
    assert np.polyval(scale, data["high"].max()) == pytest.approx(band[:, 1].min(), abs=0.2)
    assert np.polyval(scale, data["low"].min()) == pytest.approx(band[:, 1].max(), abs=0.2)


def test_short_names_stand_at_the_ends_and_long_ones_above():
    runs = samples.runs(steps=5)
    ends, above = loss_curves(runs, alt=samples.ALT), loss_curves(runs, alt=samples.ALT, labels="above")
    places = [
        {t.text: float(t.get("x")) for t in ElementTree.fromstring(f.svg).iter(SVG + "text")} for f in (ends, above)
    ]
    assert all(places[0][name] > 300 for name in runs["method"].unique())
    assert places[1]["SGD"] < 100
    with pytest.raises(ValueError, match="labels"):
        loss_curves(runs, alt=samples.ALT, labels="left")


def test_the_figure_says_what_line_and_band_are():
    figure = loss_curves(samples.runs(steps=3), alt=samples.ALT, centre="median", interval=0.9)
    assert "median of 5 seeds, 90 % band" in texts(figure) and "validation loss" in texts(figure)


def test_a_diverged_run_is_shown_and_counted():
    runs = samples.runs(methods=["SGD"], steps=10)
    runs.loc[(runs["seed"] == 1) & (runs["step"] > 6), "val_loss"] = np.nan
    figure = loss_curves(runs, alt=samples.ALT)
    assert "SGD (1 of 5 diverged)" in texts(figure)
    assert np.isinf(figure.data["centre"]).tolist() == [False] * 6 + [True] * 4
    plain = loss_curves(samples.runs(methods=["SGD"], steps=10), alt=samples.ALT)
    assert figure.svg.count("<use") > plain.svg.count("<use") - 6


def test_a_figure_of_nothing_is_refused():
    runs = samples.runs(methods=["SGD"], steps=3).assign(val_loss=np.inf)
    with pytest.raises(ValueError, match="every run diverged"):
        loss_curves(runs, alt=samples.ALT)
    with pytest.raises(ValueError, match="nothing to draw"):
        lines({}, xlabel="x", ylabel="y", alt=samples.ALT)
    with pytest.raises(ValueError, match="one length"):
        lines({"a": ([1, 2], [1])}, xlabel="x", ylabel="y", alt=samples.ALT)
    with pytest.raises(ValueError, match="not positive"):
        loss_curves(samples.runs(steps=3).assign(val_loss=-1.0), alt=samples.ALT, log="y")
    with pytest.raises(ValueError, match="log="):
        lines({"a": ([1, 2], [1, 2])}, xlabel="x", ylabel="y", log="z", alt=samples.ALT)


def test_sweep_names_the_best_rate_and_the_edge():
    figure = lr_sweep(samples.sweep(), alt=samples.ALT)
    best = figure.data[figure.data["best"]]
    assert best[["method", "lr"]].values.tolist() == [["SGD", 0.1], ["heavy ball", 0.01]]
    assert "SGD, best at 0.1" in texts(figure)
    assert "heavy ball, best at 0.01 (edge of the grid)" in texts(figure)


def test_sweep_shows_diverged_runs_at_the_edge():
    figure = lr_sweep(samples.sweep(), alt=samples.ALT)
    assert "2/3" in texts(figure) and "diverged" in texts(figure)
    row = figure.data.query("method == 'heavy ball' and lr == 1").iloc[0]
    assert row["diverged"] == 2 and np.isinf(row["centre"]) and row["runs"] == 3
    sound = lr_sweep(samples.sweep().query("lr < 1"), alt=samples.ALT)
    assert "diverged" not in texts(sound)


def test_sweep_of_an_accuracy_puts_them_below():
    accuracy = samples.sweep().assign(val_accuracy=lambda frame: 1 / frame["val_loss"].where(np.isfinite))
    accuracy["val_accuracy"] = accuracy["val_accuracy"].where(np.isfinite(samples.sweep()["val_loss"]))
    below = lr_sweep(accuracy, "val_accuracy", alt=samples.ALT)
    above = lr_sweep(samples.sweep(), alt=samples.ALT)
    assert place(below, "diverged")[1] > 200 > place(above, "diverged")[1]
    assert below.data.loc[below.data["best"], "lr"].tolist() == [0.1, 0.01]


def test_sweep_where_a_method_diverges_everywhere():
    frame = samples.sweep()
    frame.loc[frame["method"] == "heavy ball", "val_loss"] = np.nan
    assert "heavy ball, diverges" in texts(lr_sweep(frame, alt=samples.ALT))


def test_a_gap_in_a_line_stays_a_gap():
    x = np.arange(600.0)
    y = np.where((x > 200) & (x < 300), np.nan, 1 + x)
    figure = lines({"a": (x, y)}, xlabel="x", ylabel="y", alt=samples.ALT)
    (stroke,) = strokes(figure, PALETTE[0])
    assert stroke.count("M") == 2


def test_paths_that_leave_or_diverge_say_so():
    walks = {
        "stays": [(0, 0), (1, 1)],
        "goes": [(0, 0), (99, 0)],
        "breaks": [(0, 0), (1, 1), (np.inf, np.nan)],
    }
    names = texts(contours(ravine(), walks, alt=samples.ALT))
    assert {"stays", "goes (leaves)", "breaks (diverges)", "start"} <= set(names)


@pytest.mark.parametrize("walk", [[1, 2, 3], [[1, 2, 3]], [], [(np.nan, 0), (0, 0)]])
def test_paths_of_a_wrong_shape_are_refused(walk):
    with pytest.raises(ValueError, match="the path 'a'"):
        contours(ravine(), {"a": walk}, alt=samples.ALT)


def test_every_landscape_can_be_drawn():
    for name, landscape in LANDSCAPES.items():
        figure = contours(landscape, alt=samples.ALT, levels=4)
        layers = re.findall(r"fill:currentColor;fill-opacity:0.03", figure.svg)
        assert len(layers) == 4, name


def test_heatmap_refuses_what_does_not_fit():
    words = {"xlabel": "x", "ylabel": "y", "zlabel": "z", "alt": samples.ALT}
    for x, y, z, reason in [
        ([1, 2], [1, 2], [[1, 2, 3], [1, 2, 3]], "shape"),
        ([2, 1], [1, 2], [[1, 2], [1, 2]], "increase"),
        ([1, 2], [1, 2], [[np.nan] * 2] * 2, "finite"),
    ]:
        with pytest.raises(ValueError, match=reason):
            heatmap(x, y, z, **words)
    with pytest.raises(ValueError, match="positive"):
        heatmap([0, 2], [1, 2], [[1, 2], [1, 2]], log="x", **words)


def test_thinning_keeps_the_extremes_and_the_ends():
    frame = samples.runs(methods=["SGD"], seeds=1, steps=5000).rename(columns={"val_loss": "centre"})
    frame.loc[[2000, 3000], "centre"] = 9.0, -9.0
    few = thin(frame, "step", log=False)
    assert len(few) <= 102 and few["step"].is_monotonic_increasing
    assert few["step"].iloc[[0, -1]].tolist() == [1, 5000]
    assert (few["centre"].min(), few["centre"].max()) == (-9, 9)


def test_path_data_is_thinned_within_its_tolerance():
    x = np.linspace(0, 400, 2000)
    curve = np.stack([x, 100 + 80 * np.sin(x / 20)], axis=1)
    few = _thin(curve)
    assert len(few) < 300
    chords, inside = np.diff(few, axis=0), np.searchsorted(few[:, 0], x[1:]) - 1
    along = chords[inside] / np.linalg.norm(chords[inside], axis=1, keepdims=True)
    gap = curve[1:] - few[inside]
    assert abs(along[:, 0] * gap[:, 1] - along[:, 1] * gap[:, 0]).max() <= 0.3
    text = _short_path("M " + " L ".join(f"{a:.6f} {b:.6f}" for a, b in curve))
    assert abs(points(text) - few).max() < 0.11


@pytest.mark.parametrize("low, high", [(1e-9, 1e3), (0.9, 1.1), (0.2, 30), (1e-3, 5e-3), (3.1, 3.2), (2.6, 3.12)])
def test_log_ticks_are_few_and_inside(low, high):
    ticks = log_ticks(low, high)
    assert 3 <= len(ticks) <= 7 and ticks == sorted(set(ticks))
    assert low <= ticks[0] * 1.01 and ticks[-1] <= high * 1.01


def test_labels_are_spread_without_overlap_and_in_order():
    places = [5.0, 5.0, 6.0, 90.0, 99.0, 50.0]
    moved = spread(places, 10, 0, 100)
    assert np.argsort(moved, stable=True).tolist() == np.argsort(places, stable=True).tolist()
    assert np.diff(sorted(moved)).min() >= 10 - 1e-9 and min(moved) >= 0 and max(moved) <= 100
    assert moved[5] == 50
