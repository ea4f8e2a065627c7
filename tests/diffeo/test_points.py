"""Points, boxes and inverses: against what `warp` itself does to pictures of the coordinates."""

import math

import pytest
import torch

from diffstab.diffeo import (
    displacement_field,
    draw_coefficients,
    folded,
    inverse_field,
    moved_boxes,
    moved_points,
    source_points,
    temperature_from_displacement,
    warp,
)
from diffstab.errors import ArgumentError, FoldingWarning

SIZE = (24, 30)


def ramps(height, width):
    """Pictures of x and of y: warped, they show the place that each pixel is read from."""
    return torch.stack(torch.meshgrid(torch.arange(width), torch.arange(height), indexing="xy")).double()


@pytest.fixture
def coefficients(generator):
    temperature = temperature_from_displacement(1.5, SIZE, 3)
    drawn = draw_coefficients(12, 3, temperature=temperature, generator=generator, dtype=torch.float64)
    return drawn[~folded(displacement_field(drawn, *SIZE))][:6]


@pytest.fixture
def read_from(coefficients):
    """(n, H W, 2): the place that each pixel is read from, by the warp."""
    pictures = ramps(*SIZE).expand(len(coefficients), -1, -1, -1)
    return warp(pictures, displacement_field(coefficients, *SIZE)).flatten(2).transpose(1, 2)


def pixels(count):
    return ramps(*SIZE).flatten(1).T.expand(count, -1, -1)


def test_a_point_goes_to_the_pixel_that_shows_it(coefficients, read_from):
    assert (read_from - pixels(6)).abs().max() > 1
    moved = moved_points(read_from, coefficients, SIZE)
    assert (moved - pixels(6)).norm(dim=-1).max() < 1e-6


def test_sources_are_the_places_that_pixels_are_read_from(coefficients, read_from):
    assert (source_points(pixels(6), coefficients, SIZE) - read_from).abs().max() < 1e-12


def test_moving_and_going_back_ends_where_it_began(coefficients, generator):
    scale = torch.tensor([SIZE[1] - 1, SIZE[0] - 1])
    points = torch.rand(6, 200, 2, generator=generator, dtype=torch.float64) * scale
    moved = moved_points(points, coefficients, SIZE)
    assert (moved - points).norm(dim=-1).max() > 1
    assert (source_points(moved, coefficients, SIZE) - points).abs().max() < 1e-7


def test_a_blob_goes_where_its_centre_goes(coefficients):
    # A smooth spot: its centre of mass in the warped picture; the stretch is uneven, so by 0.2 px only.
    coefficients = 0.5 * coefficients
    x, y = ramps(*SIZE)
    spot = torch.exp(-((x - 14) ** 2 + (y - 11) ** 2) / 2)
    field = displacement_field(coefficients, *SIZE)
    shown = warp(spot.expand(6, 1, -1, -1), field)[:, 0]
    mass = shown.sum((1, 2))
    centre = torch.stack([(shown * x).sum((1, 2)) / mass, (shown * y).sum((1, 2)) / mass], dim=-1)
    moved = moved_points(torch.tensor([[[14.0, 11.0]]]).expand(6, -1, -1), coefficients, SIZE)[:, 0]
    assert (centre - moved).norm(dim=-1).max() < 0.2
    assert (moved - torch.tensor([14.0, 11.0])).norm(dim=-1).max() > 1


def test_outside_and_missing_points_stay(coefficients):
    kept = torch.tensor([[-1.0, -1.0], [0.0, 0.0], [29.0, 23.0], [40.0, 5.0], [12.0, 23.0], [math.nan, 3.0]])
    for moved in (moved_points, source_points):
        result = moved(kept.expand(6, -1, -1), coefficients, SIZE)
        assert torch.allclose(result, kept.double().expand(6, -1, -1), atol=1e-12, equal_nan=True)


def test_where_fields_fold_a_point_goes_to_one_of_the_places_that_show_it(generator):
    coefficients = draw_coefficients(40, 3, temperature=0.013, generator=generator, dtype=torch.float64)
    coefficients = coefficients[folded(displacement_field(coefficients, 24, 24))]
    points = 23 * torch.rand(len(coefficients), 60, 2, generator=generator, dtype=torch.float64)
    moved = moved_points(points, coefficients, (24, 24))
    assert len(coefficients) > 8
    assert ((moved >= 0) & (moved <= 23)).all()
    assert (source_points(moved, coefficients, (24, 24)) - points).abs().max() < 1e-7


def test_points_lost_in_strong_folds_are_told(generator):
    coefficients = draw_coefficients(30, 3, temperature=0.5, generator=generator, dtype=torch.float64)
    points = 23 * torch.rand(30, 60, 2, generator=generator, dtype=torch.float64)
    with pytest.warns(FoldingWarning, match=r"the places of \d+ of 1800 points were not found"):
        moved = moved_points(points, coefficients, (24, 24))
    missed = (source_points(moved, coefficients, (24, 24)) - points).norm(dim=-1) > 1e-6
    assert missed.double().mean() < 0.05


def test_the_inverse_field_restores_smooth_pictures(coefficients):
    x, y = ramps(*SIZE)
    picture = torch.sin(0.3 * x + 0.2 * y).expand(6, 1, -1, -1)
    warped = warp(picture, displacement_field(coefficients, *SIZE))
    restored = warp(warped, inverse_field(coefficients, *SIZE))
    # Two bilinear interpolations: each misses by 1/8 of the second derivative along x and along y.
    assert (restored - picture).abs().max() < 2.5 * (0.3**2 + 0.2**2) / 8 * 1.5
    assert (warped - picture).abs().max() > 0.3


def test_inverse_and_field_cancel(coefficients):
    back = inverse_field(coefficients, *SIZE)
    pictures = ramps(*SIZE).expand(6, -1, -1, -1)
    places = (pictures - back).flatten(2).transpose(1, 2)  # where the inverse reads
    assert (source_points(places, coefficients, SIZE) - pixels(6)).abs().max() < 1e-7
    assert not back[:, :, [0, -1]].abs().gt(1e-12).any()


def test_a_box_holds_the_outline_and_no_more(coefficients):
    corners = torch.tensor([[6.0, 5], [20, 5], [20, 17], [6, 17]], dtype=torch.float64).expand(6, 1, -1, -1)
    box = moved_boxes(corners, coefficients, SIZE)
    fine = torch.linspace(0, 1, 3001, dtype=torch.float64)[:, None]
    edges = [corners[0, 0, k] + fine * (corners[0, 0, (k + 1) % 4] - corners[0, 0, k]) for k in range(4)]
    outline = moved_points(torch.cat(edges).expand(6, -1, -1), coefficients, SIZE)
    low, high = outline.amin(1), outline.amax(1)
    assert (box[:, 0, 0] - low).abs().max() < 0.01
    assert (box[:, 0, 2] - high).abs().max() < 0.01
    only_corners = moved_points(corners[:, 0], coefficients, SIZE)
    assert ((only_corners.amin(1) - low) > 0.05).any()  # the corners alone would cut it
    assert torch.equal(box[:, 0, 1], torch.stack([box[:, 0, 2, 0], box[:, 0, 0, 1]], dim=-1))


def test_a_box_moved_back_holds_the_box_of_before(coefficients):
    corners = torch.tensor([[6.0, 5], [20, 5], [20, 17], [6, 17]], dtype=torch.float64).expand(6, 1, -1, -1)
    back = moved_boxes(moved_boxes(corners, coefficients, SIZE), coefficients, SIZE, back=True)
    assert (back[:, 0, 0] <= corners[:, 0, 0] + 0.01).all()
    assert (back[:, 0, 2] >= corners[:, 0, 2] - 0.01).all()


def test_one_field_serves_many_and_no_points_are_taken(coefficients, generator):
    points = 20 * torch.rand(4, 7, 2, generator=generator)
    one = moved_points(points, coefficients[:1], SIZE)
    assert torch.allclose(one, moved_points(points, coefficients[:1].expand(4, -1, -1, -1), SIZE), atol=1e-9)
    assert moved_points(points[:, :0], coefficients[:1], SIZE).shape == (4, 0, 2)
    assert moved_boxes(torch.zeros(4, 0, 4, 2), coefficients[:1], SIZE).shape == (4, 0, 4, 2)


def test_bad_points_are_refused(coefficients):
    for points in (torch.zeros(6, 2), torch.zeros(6, 4, 3), torch.zeros(5, 4, 2)):
        with pytest.raises(ArgumentError, match=r"points must have shape \(n, P, 2\), n = 6 like the fields"):
            moved_points(points, coefficients, SIZE)
