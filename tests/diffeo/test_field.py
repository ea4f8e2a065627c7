"""Drawing coefficients and evaluating the sine series."""

import math

import pytest
import torch

from diffstab.diffeo import displacement_field, draw_coefficients, draw_field, mode_variances
from diffstab.errors import ArgumentError, FoldingWarning
from tests.references.diffeo import field_by_loops


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("height", "width", "cutoff"), [(6, 6, 3), (5, 8, 2), (2, 3, 4)])
def test_field_against_loops(dtype, height, width, cutoff, generator):
    coefficients = draw_coefficients(2, cutoff, temperature=0.05, generator=generator, dtype=dtype)
    field = displacement_field(coefficients, height, width)
    assert field.dtype == dtype
    tolerance = 10 * cutoff**2 * torch.finfo(dtype).eps * max(height, width) * float(coefficients.abs().max())
    assert (field - field_by_loops(coefficients, height, width)).abs().max() < tolerance


def test_convention_axes_and_units():
    # One mode: sin(pi u) sin(2 pi v) in dx only, u along the width; 9 columns, 5 rows.
    coefficients = torch.zeros(1, 2, 2, 2)
    coefficients[0, 0, 0, 1] = 0.1
    field = displacement_field(coefficients, 5, 9)
    assert field.shape == (1, 2, 5, 9)
    assert float(field[0, 0, 1, 4]) == pytest.approx(9 * 0.1, rel=1e-6)  # u = 1/2, v = 1/4
    assert float(field[0, 0, 3, 4]) == pytest.approx(-9 * 0.1, rel=1e-6)  # v = 3/4
    assert not field[0, 1].any()


def test_convention_border_is_zero_to_the_bit(generator):
    field = draw_field(3, 7, 11, delta_px=0.5, generator=generator)
    assert not field[:, :, [0, -1]].any()
    assert not field[:, :, :, [0, -1]].any()
    assert field[:, :, 1:-1, 1:-1].all()


def test_convention_rectangle_scales_the_square(generator):
    # Sides 5 and 9 share the points u = 0, 1/4, ..., 1 with the square of side 5.
    coefficients = draw_coefficients(4, 3, temperature=0.01, generator=generator, dtype=torch.float64)
    square, rectangle = displacement_field(coefficients, 5, 5), displacement_field(coefficients, 5, 9)
    shared = rectangle[:, :, :, ::2]
    assert torch.allclose(shared[:, 0] / 9, square[:, 0] / 5, atol=1e-15)
    assert torch.allclose(shared[:, 1] / 5, square[:, 1] / 5, atol=1e-15)


def test_coefficients_have_the_stated_variance(generator):
    temperature, cutoff, count = 0.3, 3, 4000
    drawn = draw_coefficients(
        count, cutoff, temperature=temperature, generator=generator, dtype=torch.float64
    )
    variances = drawn.square().mean(0)
    expected = temperature * mode_variances(cutoff)
    # The variance of a mean of squared normals is 2 sigma^4 / count.
    assert ((variances - expected).abs() <= 4.5 * expected * math.sqrt(2 / count)).all()
    assert not drawn[:, :, 2, 1].any()
    means = drawn.mean(0).abs()
    assert (means <= 4.5 * (expected / count).sqrt()).all()


def test_components_are_independent(generator):
    count = 4000
    drawn = draw_coefficients(count, 2, temperature=1.0, generator=generator, dtype=torch.float64)
    correlation = torch.corrcoef(drawn[:, :, [0, 0, 1], [0, 1, 0]].flatten(1).T)
    off_diagonal = correlation - torch.eye(6, dtype=torch.float64)
    assert off_diagonal.abs().max() < 4.5 / math.sqrt(count)


def test_one_seed_gives_one_field_in_both_dtypes():
    double, single = (
        draw_field(3, 8, 8, delta_px=0.5, generator=torch.Generator().manual_seed(5), dtype=dtype)
        for dtype in (torch.float64, torch.float32)
    )
    assert torch.allclose(double.float(), single, atol=1e-5)


def test_draws_are_different_and_repeatable(generator):
    first = draw_field(2, 8, 8, delta_px=0.5, generator=generator)
    again = draw_field(2, 8, 8, delta_px=0.5, generator=torch.Generator().manual_seed(0))
    later = draw_field(2, 8, 8, delta_px=0.5, generator=generator)
    assert torch.equal(first, again)
    assert not torch.equal(first, later)
    assert not torch.equal(first[0], first[1])


def test_zero_strength_is_the_zero_field(generator):
    assert not draw_field(2, 8, 8, delta_px=0.0, generator=generator).any()
    assert not draw_field(2, 8, 8, temperature=0.0, generator=generator).any()
    assert draw_field(0, 8, 8, delta_px=1.0, generator=generator).shape == (0, 2, 8, 8)


def test_a_draw_above_the_admissible_range_warns_with_the_share(generator):
    # T_max = 4 / (pi^3 9 ln 3) = 0.01305; a hundred times that folds every field.
    with pytest.warns(
        FoldingWarning, match=r"temperature 1.3 exceeds the admissible 0.013 at cutoff 3: 100.0% of"
    ):
        draw_field(20, 16, 16, temperature=1.3, generator=generator)


def test_a_draw_within_the_admissible_range_is_silent(generator, recwarn):
    draw_field(20, 16, 16, temperature=0.013, generator=generator)
    assert not recwarn.list


@pytest.mark.parametrize(
    ("strengths", "received"),
    [({}, "None and None"), ({"delta_px": 1.0, "temperature": 0.1}, "1.0 and 0.1")],
)
def test_exactly_one_strength_is_asked_for(strengths, received, generator):
    with pytest.raises(
        ArgumentError, match=f"delta_px and temperature must be given one without the other, got {received}"
    ):
        draw_field(2, 8, 8, **strengths, generator=generator)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": -1}, "count must be an integer of at least 0, got -1"),
        ({"cutoff": 1}, "cutoff must be an integer of at least 2, got 1"),
        ({"temperature": -0.1}, "temperature must be finite and at least 0, got -0.1"),
        ({"dtype": torch.int64}, "dtype must be a floating-point dtype, got torch.int64"),
    ],
)
def test_bad_draws_are_refused(arguments, message, generator):
    good = {"count": 2, "cutoff": 3, "temperature": 0.01}
    with pytest.raises(ArgumentError, match=message):
        draw_coefficients(**{**good, **arguments}, generator=generator)


@pytest.mark.parametrize(
    ("coefficients", "message"),
    [
        (torch.zeros(1, 2, 3), r"coefficients must have shape \(count, 2, c, c\), got \(1, 2, 3\)"),
        (torch.zeros(1, 2, 3, 4), r"coefficients must have shape \(count, 2, c, c\)"),
        (torch.zeros(1, 2, 3, 3, dtype=torch.int64), "coefficients must be floating-point, got torch.int64"),
        (torch.full((1, 2, 3, 3), math.nan), "coefficients must be finite, got NaN or infinity"),
    ],
)
def test_bad_coefficients_are_refused(coefficients, message):
    with pytest.raises(ArgumentError, match=message):
        displacement_field(coefficients, 8, 8)


def test_fields_are_never_made_in_half_precision(generator):
    coefficients = draw_coefficients(2, 3, temperature=0.01, generator=generator).half()
    assert torch.equal(displacement_field(coefficients, 8, 8), displacement_field(coefficients.float(), 8, 8))
    with pytest.raises(
        ArgumentError, match=r"dtype must be float32 or float64, got torch.float16. Half-precision"
    ):
        draw_field(1, 8, 8, delta_px=1.0, generator=generator, dtype=torch.float16)


def test_small_sides_are_refused(generator):
    with pytest.raises(ArgumentError, match="height must be an integer of at least 2 pixels, got 1"):
        displacement_field(torch.zeros(1, 2, 3, 3), 1, 8)
    with pytest.raises(ArgumentError, match="width must be an integer of at least 2 pixels, got 1"):
        draw_field(1, 8, 1, delta_px=1.0, generator=generator)
