"""The folding test against analytic Jacobians and maps known to fold or not."""

import math

import pytest
import torch

from diffstab.diffeo import displacement_field, draw_coefficients, folded
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
    smallest = jacobian_determinant(coefficients, height, width).flatten(1).amin(1)
    clear = smallest.abs() > 0.1 * max(1.0, 0.3 * cutoff)
    result = folded(displacement_field(coefficients, height, width))
    assert torch.equal(result[clear], smallest[clear] <= 0)
    assert clear.double().mean() > 0.6
    assert result.any()
    assert not result.all()


def test_convergence_to_the_analytic_jacobian(generator):
    # Ever finer grids decide ever more fields like the analytic determinant on a fine grid.
    coefficients = draw_coefficients(150, 3, temperature=0.013, generator=generator, dtype=torch.float64)
    exact = jacobian_determinant(coefficients, 129, 129).flatten(1).amin(1) <= 0
    wrong = [
        int((folded(displacement_field(coefficients, size, size)) != exact).sum()) for size in (9, 33, 97)
    ]
    assert wrong[0] > wrong[1] >= wrong[2]
    assert wrong[2] <= 5  # 3% of 150


def test_convention_the_map_adds_the_field():
    # d = -2 (x - centre) reflects: s + d folds and s - d stretches by three.
    field = -2 * (_grid(6, 6) - 2.5)[None]
    field[:, 1] = 0
    assert folded(field).tolist() == [True]
    assert folded(-field).tolist() == [False]


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
    field[0, :, 2, 2] = 0.49
    field[1, :, 2, 2] = 0.51
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
    field[0, 0] = -_grid(4, 4)[0].float()
    assert folded(field).tolist() == [True]


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
