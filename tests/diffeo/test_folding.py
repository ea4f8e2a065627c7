"""The folding test against analytic Jacobians, maps of pixels, and maps known to fold or not."""

import math

import pytest
import torch

from diffstab.diffeo import admissible_temperatures, displacement_field, draw_coefficients, folded, warp
from diffstab.errors import ArgumentError
from tests.references.diffeo import jacobian_determinant


def _grid(height, width):
    return torch.stack(torch.meshgrid(torch.arange(width), torch.arange(height), indexing="xy")).double()


@pytest.mark.parametrize(("height", "width"), [(48, 48), (40, 64)])
@pytest.mark.parametrize("cutoff", [2, 3, 5])
def test_against_the_analytic_jacobian(height, width, cutoff, generator):
    # Differences of neighbours miss the slope by half a pixel times the curvature: for the fields where
    # the smallest determinant is not within 0.1 of zero the two must agree, and these must be most.
    temperature = 3 / cutoff**2 / 50
    coefficients = draw_coefficients(
        200, cutoff, temperature=temperature, generator=generator, dtype=torch.float64
    )
    # The reference is that of s + d(s); images are read at s - d(s).
    smallest = jacobian_determinant(-coefficients, height, width).flatten(1).amin(1)
    clear = smallest.abs() > 0.1 * max(1.0, 0.3 * cutoff)
    result = folded(displacement_field(coefficients, height, width))
    assert torch.equal(result[clear], smallest[clear] <= 0)
    assert clear.double().mean() > 0.6
    assert result.any()
    assert not result.all()


def test_convergence_to_the_analytic_jacobian(generator):
    # Ever finer grids decide ever more fields like the analytic determinant on a fine grid.
    coefficients = draw_coefficients(150, 3, temperature=0.013, generator=generator, dtype=torch.float64)
    exact = jacobian_determinant(-coefficients, 129, 129).flatten(1).amin(1) <= 0
    wrong = [
        int((folded(displacement_field(coefficients, size, size)) != exact).sum()) for size in (9, 33, 97)
    ]
    assert wrong[0] > wrong[1] >= wrong[2]
    assert wrong[2] <= 5  # 3% of 150


def test_convention_the_map_subtracts_the_field():
    # d = 2 (x - centre) reflects: s - d folds and s + d stretches by three.
    field = 2 * (_grid(6, 6) - 2.5)[None]
    field[:, 1] = 0
    assert folded(field).tolist() == [True]
    assert folded(-field).tolist() == [False]


def test_it_agrees_with_the_order_of_the_pixels_that_the_warp_reads():
    # A tent: up by 1.5 px per pixel, down by 0.5. Warping a ramp shows where each pixel comes from: its order turns
    # round where the tent is steep, and not with the other sign.
    field = torch.zeros(1, 2, 4, 13, dtype=torch.float64)
    field[0, 0, :, 1:] = torch.tensor([0.0, 0, 1.5, 3, 2.5, 2, 1.5, 1, 0.5, 0, 0, 0], dtype=torch.float64)
    ramp = _grid(4, 13)[None, :1]
    assert (warp(ramp, field)[0, 0].diff(dim=1) < 0).any()
    assert (warp(ramp, -field)[0, 0].diff(dim=1) > 0).all()
    assert folded(field).tolist() == [True]
    assert folded(-field).tolist() == [False]


def test_against_the_triangles_of_the_pixels_that_the_warp_reads(generator):
    # Warped ramps hold the place that each pixel is read from: a fold turns a triangle of neighbours over.
    coefficients = draw_coefficients(150, 3, temperature=0.013, generator=generator, dtype=torch.float64)
    field = displacement_field(coefficients, 20, 20)
    x, y = warp(_grid(20, 20).expand(150, -1, -1, -1), field).unbind(1)
    turned = torch.zeros(150, dtype=torch.bool)
    for flip_rows, flip_columns in ((False, False), (False, True), (True, False), (True, True)):
        a, b = (_flipped(side, flip_rows, flip_columns) for side in (x, y))
        first, second = (side[:, :-1, 1:] - side[:, :-1, :-1] for side in (a, b))
        third, fourth = (side[:, 1:, :-1] - side[:, :-1, :-1] for side in (a, b))
        area = (first * fourth - second * third) * (-1) ** (flip_rows + flip_columns)
        turned |= (area <= 0).flatten(1).any(1)
    assert torch.equal(folded(field), turned)
    assert not torch.equal(folded(-field), turned)
    assert 20 < turned.sum() < 100


def _flipped(values, rows, columns):
    return values.flip([axis for axis, turn in ((1, rows), (2, columns)) if turn])


def test_maps_that_do_not_fold():
    translation = torch.full((1, 2, 5, 7), 30.0, dtype=torch.float64)
    shear = torch.zeros(1, 2, 5, 7, dtype=torch.float64)
    shear[0, 0] = 10 * _grid(5, 7)[1]
    angle = 2.0
    x, y = _grid(5, 7)
    rotation = torch.stack(
        [x * math.cos(angle) - y * math.sin(angle) - x, x * math.sin(angle) + y * math.cos(angle) - y]
    )
    fields = torch.cat([torch.zeros(1, 2, 5, 7, dtype=torch.float64), translation, shear, rotation[None]])
    assert folded(fields).tolist() == [False] * 4


def test_a_point_fold_in_one_corner_of_one_cell_is_seen():
    # One pixel moves diagonally into the cell below on its right, whose corner there turns over once
    # the pixel passes the cell's other diagonal, x + y = 1.
    field = torch.zeros(2, 2, 6, 6, dtype=torch.float64)
    field[0, :, 2, 2] = -0.49
    field[1, :, 2, 2] = -0.51
    assert folded(field).tolist() == [False, True]


def test_the_two_signs_have_one_law(generator):
    coefficients = draw_coefficients(2000, 3, temperature=0.013, generator=generator, dtype=torch.float64)
    field = displacement_field(coefficients, 24, 24)
    added, subtracted = folded(field).double().mean(), folded(-field).double().mean()
    share = (added + subtracted) / 2
    assert abs(added - subtracted) < 4 * math.sqrt(2 * share * (1 - share) / 2000)
    assert 0.2 < share < 0.5


def test_a_collapse_to_a_line_counts_as_a_fold():
    field = torch.zeros(1, 2, 4, 4)
    field[0, 0] = _grid(4, 4)[0].float()
    assert folded(field).tolist() == [True]


@pytest.mark.parametrize(("cutoff", "share"), [(2, 0.60), (3, 0.40), (5, 0.32), (10, 0.14)])
def test_the_share_that_folds_at_the_highest_admissible_temperature(cutoff, share, generator):
    # The shares that the documentation names. On 28 px they are 0.593, 0.385, 0.341 and 0.131, each +- 0.0035.
    count, highest = 3000, admissible_temperatures(28, cutoff).high
    coefficients = draw_coefficients(count, cutoff, temperature=highest, generator=generator)
    measured = folded(displacement_field(coefficients, 28, 28)).double().mean()
    error = math.sqrt(share * (1 - share) / count)
    assert abs(measured - share) < 4 * error + 0.01  # the shares are rounded to a percent


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (torch.zeros(2, 8, 8), r"field must have shape \(count, 2, H, W\), got \(2, 8, 8\)"),
        (torch.zeros(1, 3, 8, 8), r"field must have shape \(count, 2, H, W\), got \(1, 3, 8, 8\)"),
        (
            torch.zeros(1, 2, 1, 8),
            r"field must have a height and width of at least 2 pixels, got \(1, 2, 1, 8\)",
        ),
        (torch.zeros(1, 2, 8, 8, dtype=torch.int64), "field must be float32 or float64, got torch.int64"),
        (torch.full((1, 2, 8, 8), math.inf), "field must be finite, got NaN or infinity"),
    ],
)
def test_bad_fields_are_refused(field, message):
    with pytest.raises(ArgumentError, match=message):
        folded(field)


def test_finite_fields_whose_sum_overflows_are_taken():
    field = torch.zeros(1, 2, 4, 4)
    field[0, 0] = 3e38
    assert folded(field).tolist() == [False]
