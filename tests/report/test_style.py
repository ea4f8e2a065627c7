"""The palette: colours that stand side by side are told apart by readers who lack a kind of cone."""

from itertools import combinations

import numpy as np
import pytest

from diffstab.report.special.forces import ATTRACTION, CLASSES, REPULSION, SUM
from diffstab.report.style import FAINT, INK, LAYERS, looks, palette
from tests.references.colour_vision import VISION, contrast, difference, lab

NOTICEABLE = 2.3
APART = 6 * NOTICEABLE
"""Smallest distance in L*a*b* of two colours of one figure."""
ON_IMAGES = ("feature", "feature_adam", "lazy_exact", "lazy_trained")
ON_THE_SPHERE = ("feature_exact", "feature_alpha", "feature_decay", "lazy_ntk")
LOOKS = palette("optimiser", ["weights", "shrinking", "representations", "covariances"])
PALETTES = {
    "images": [look.colour for look in looks(ON_IMAGES).values()],
    "sphere": [look.colour for look in looks(ON_THE_SPHERE).values()],
    "layers": [look.colour for look in LAYERS],
    "optimisers": [look.colour for look in LOOKS.values()],
    "forces": [ATTRACTION, REPULSION, SUM],
    "reference lines": [INK, FAINT, "#ffffff"],
}


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("name", PALETTES)
def test_colours_of_a_figure_are_told_apart(name, vision):
    pairs = combinations(PALETTES[name], 2)
    nearest = min((difference(*pair, vision), pair) for pair in pairs)
    assert nearest[0] > APART, nearest


@pytest.mark.parametrize("name", [name for name in PALETTES if name != "reference lines"])
def test_lines_stand_out_from_the_paper(name):
    assert min(contrast(colour, "white") for colour in PALETTES[name]) > 2.2


def test_methods_of_a_figure_differ_in_their_markers_too():
    for methods in (ON_IMAGES, ON_THE_SPHERE):
        assert len({look.marker for look in looks(methods).values()}) == len(methods)
    assert len({look.marker for look in LAYERS}) == len(LAYERS)
    assert len({look.marker for look in LOOKS.values()}) == len(LOOKS)


def test_values_without_a_look_of_their_own_look_like_methods():
    assert palette("method", ["feature"]) == looks(["feature"])
    assert palette("layer", ["layer 2", "layer 1"]) == {"layer 1": LAYERS[0], "layer 2": LAYERS[1]}
    assert palette("optimiser", ["mine"]) == looks(["mine"])


def test_ten_classes_cannot_be_told_by_colour_alone():
    # Why each class is drawn as its number: some two of ten colours are always near for some reader.
    worst = min(difference(*pair, vision) for vision in VISION for pair in combinations(CLASSES, 2))
    assert worst < APART


def test_the_simulation_keeps_greys_and_confuses_red_with_green():
    assert lab("white") == pytest.approx([100, 0, 0], abs=1e-3)
    for vision in VISION:
        assert lab("#808080", vision) == pytest.approx(lab("#808080"), abs=0.1)
    # The classical pair: far apart to the eye with three cones, near without the cone of middle wavelengths.
    red, green = "#c04000", "#6f7a00"
    assert difference(red, green) > 60
    assert difference(red, green, "deuteranopia") < 0.4 * difference(red, green)
    assert np.isclose(contrast("white", "black"), 21)
