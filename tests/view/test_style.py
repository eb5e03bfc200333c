"""The palette: apart for every reader, seen on every page."""

import itertools

import numpy as np
import pytest

from dlopt.view.style import INK, PALETTE, look, settings

# Severity 1.0 of Machado, Oliveira and Fernandes 2009, IEEE TVCG 15(6), on linear RGB.
SIGHT = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


def linear(color):
    values = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def oklab(light):
    """Ottosson 2020: distances of about 0.02 are just seen."""
    cones = [[0.412221, 0.536333, 0.051446], [0.211903, 0.680700, 0.107397], [0.088302, 0.281719, 0.629979]]
    mixes = [
        [0.210454, 0.793618, -0.004072],
        [1.977998, -2.428592, 0.450594],
        [0.025904, 0.782772, -0.808676],
    ]
    return np.array(mixes) @ np.cbrt(np.array(cones) @ np.clip(light, 0, 1))


def luminance(color):
    return linear(color) @ [0.2126, 0.7152, 0.0722]


def nearest(colors, matrix):
    seen = [oklab(matrix @ linear(color)) for color in colors]
    return min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2))


@pytest.mark.parametrize("sight", SIGHT)
def test_colours_stay_apart(sight):
    assert nearest(PALETTE, SIGHT[sight]) > 0.08
    assert nearest(PALETTE[:4], SIGHT[sight]) > 0.10


def test_the_measure_sees_a_bad_palette():
    red_and_green = ("#c44e52", "#7f7b2a")
    assert nearest(red_and_green, SIGHT["normal"]) > 0.10 > nearest(red_and_green, SIGHT["deuteranopia"])


@pytest.mark.parametrize("page", ["#ffffff", "#14181e", "#121212", "#111111"])
@pytest.mark.parametrize("color", PALETTE)
def test_contrast_on_light_and_dark_pages(color, page):
    light, dark = sorted([luminance(color), luminance(page)], reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 3


def test_neighbouring_series_differ_in_all_three_signs():
    for a, b in itertools.combinations([look(i) for i in range(6)], 2):
        assert a.color != b.color and a.dashes != b.dashes and a.marker != b.marker


@pytest.mark.parametrize("index", [-1, 36])
def test_looks_do_not_repeat(index):
    with pytest.raises(ValueError, match="at most 36 series"):
        look(index)


def test_all_that_is_not_data_is_drawn_in_ink():
    assert INK not in PALETTE
    assert {value for name, value in settings().items() if "color" in name} == {INK, "none"}
