"""Temperature relations: closed values, limits, and the drawn fields themselves."""

import math

import pytest
import torch

from diffstab.diffeo import (
    admissible_temperatures,
    displacement_from_temperature,
    draw_field,
    mode_variances,
    rms_displacement_px,
    temperature_from_displacement,
)
from diffstab.errors import ArgumentError
from tests.references.diffeo import field_by_loops


@pytest.mark.parametrize("size", [28, (20, 33)])
@pytest.mark.parametrize("cutoff", [2, 3, 15])
def test_the_two_relations_invert_each_other(size, cutoff):
    temperature = temperature_from_displacement(1.7, size, cutoff)
    assert displacement_from_temperature(temperature, size, cutoff) == pytest.approx(1.7, rel=1e-12)


def test_temperature_by_hand():
    # 4 * 2^2 / (pi * 10^2 * ln 3), and the same from a 14 x 2 rectangle: (14^2 + 2^2) / 2 = 10^2
    by_hand = 16 / (math.pi * 100 * math.log(3))
    assert temperature_from_displacement(2.0, 10, 3) == pytest.approx(by_hand, rel=1e-12)
    assert temperature_from_displacement(2.0, (14, 2), 3) == pytest.approx(by_hand, rel=1e-12)


def test_the_lowest_admissible_temperature_moves_half_a_pixel():
    low, high = admissible_temperatures(32, 3)
    assert displacement_from_temperature(low, 32, 3) == pytest.approx(0.5, rel=1e-12)
    assert high == pytest.approx(4 / (math.pi**3 * 9 * math.log(3)), rel=1e-12)
    assert low < high


def test_the_admissible_range_is_empty_when_the_cutoff_exceeds_the_pixels():
    low, high = admissible_temperatures(8, 6)  # 2 n / pi = 5.09
    assert low > high
    low, high = admissible_temperatures(8, 5)
    assert low < high


@pytest.mark.parametrize(("height", "width", "cutoff"), [(5, 5, 2), (4, 7, 3)])
def test_exact_rms_against_one_mode_at_a_time(height, width, cutoff):
    # The modes are independent: the mean square is the sum over modes of variance times squared mode.
    temperature, mean_square = 0.02, 0.0
    for i in range(cutoff):
        for j in range(cutoff):
            one = torch.zeros(1, 2, cutoff, cutoff, dtype=torch.float64)
            squared = (i + 1) ** 2 + (j + 1) ** 2
            if math.sqrt(squared) < cutoff + 0.5:
                one[:, :, i, j] = math.sqrt(temperature / squared)
            mean_square += float(field_by_loops(one, height, width).square().sum(1).mean())
    assert rms_displacement_px(temperature, (height, width), cutoff) == pytest.approx(
        math.sqrt(mean_square), rel=1e-12
    )


@pytest.mark.parametrize(("size", "cutoff"), [((16, 16), 3), ((12, 20), 2)])
def test_exact_rms_against_drawn_fields(size, cutoff, generator):
    temperature = temperature_from_displacement(0.5, size, cutoff)
    field = draw_field(2000, *size, temperature=temperature, cutoff=cutoff, generator=generator)
    mean_squares = field.double().square().sum(1).mean((1, 2))
    error = mean_squares.std() / math.sqrt(len(mean_squares))
    exact = rms_displacement_px(temperature, size, cutoff) ** 2
    assert abs(mean_squares.mean() - exact) < 4 * error
    assert error < 0.02 * exact  # the comparison resolves 8%


def test_limit_of_a_large_cutoff():
    # From c to 2 c the mean square grows by n^2 pi T ln 2 / 4; the axes i = 0 and j = 0, which the sum
    # lacks and the integral has, and the grid's own ((n - 1) / n)^2 weigh about 1 / (2 c) together.
    size, cutoff = 512, 64
    growth = rms_displacement_px(1.0, size, 2 * cutoff) ** 2 - rms_displacement_px(1.0, size, cutoff) ** 2
    assert growth == pytest.approx(size**2 * math.pi * math.log(2) / 4, rel=2 / cutoff)


def test_convention_cutoff_disc():
    kept = mode_variances(3) > 0
    assert kept.tolist() == [[True, True, True], [True, True, False], [True, False, False]]
    assert mode_variances(3)[0, 2] == pytest.approx(1 / 10)


@pytest.mark.parametrize("cutoff", [1, 0, 2.5])
def test_cutoff_below_two_is_refused(cutoff):
    with pytest.raises(ArgumentError, match=f"cutoff must be an integer of at least 2, got {cutoff}"):
        temperature_from_displacement(1.0, 28, cutoff)
    with pytest.raises(ArgumentError, match="cutoff must be an integer of at least 2"):
        displacement_from_temperature(1.0, 28, cutoff)
    with pytest.raises(ArgumentError, match="cutoff must be an integer of at least 2"):
        admissible_temperatures(28, cutoff)
    with pytest.raises(ArgumentError, match="cutoff must be an integer of at least 2"):
        rms_displacement_px(1.0, 28, cutoff)


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_strengths_out_of_range_are_refused(value):
    with pytest.raises(ArgumentError, match="delta_px must be finite and at least 0"):
        temperature_from_displacement(value, 28, 3)
    with pytest.raises(ArgumentError, match="temperature must be finite and at least 0"):
        displacement_from_temperature(value, 28, 3)
    with pytest.raises(ArgumentError, match="temperature must be finite and at least 0"):
        rms_displacement_px(value, 28, 3)


@pytest.mark.parametrize(("size", "name"), [(1, "height"), ((4, 1), "width"), ((2.5, 4), "height")])
def test_small_sides_are_refused(size, name):
    with pytest.raises(ArgumentError, match=f"{name} must be an integer of at least 2 pixels"):
        admissible_temperatures(size, 3)
