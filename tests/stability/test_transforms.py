import math

import pytest
import torch

from diffstab.errors import ArgumentError
from diffstab.stability import rotate, rotate_towards, translate
from tests.references.stability import bilinear, rotated_by_loops


def images(generator, shape=(3, 2, 7, 6), dtype=torch.float64):
    return torch.randn(shape, generator=generator, dtype=dtype)


def test_rotation_is_that_of_the_loops(generator):
    x = images(generator)
    angles = torch.tensor([30.0, -75.0, 200.0])
    rotated = rotate(x, angles)
    for i, angle in enumerate(angles.tolist()):
        for channel in range(2):
            expected = torch.from_numpy(rotated_by_loops(x[i, channel].numpy(), angle))
            assert torch.allclose(rotated[i, channel], expected, atol=1e-12)


@pytest.mark.parametrize("turns", [-1, 0, 1, 2])
def test_convention_positive_angles_turn_counterclockwise_as_displayed(generator, turns):
    x = images(generator, (2, 1, 6, 6))
    expected = torch.rot90(x, turns, (-2, -1))
    assert torch.allclose(rotate(x, torch.full((2,), 90.0 * turns)), expected, atol=1e-12)


def test_convention_positive_shifts_move_right_and_down(generator):
    x = images(generator)
    shifted = translate(x, torch.tensor([[2.0, 1.0]] * 3))
    assert torch.allclose(shifted[:, :, 1:, 2:], x[:, :, :-1, :-2], atol=1e-12)
    assert torch.allclose(shifted[:, :, 1:, 0], x[:, :, :-1, 0], atol=1e-12)  # the border is repeated


def test_translation_by_parts_of_pixels_is_bilinear(generator):
    x = images(generator)
    shifted = translate(x, torch.tensor([[0.3, -1.6], [0.0, 0.0], [9.0, 0.25]]))
    assert torch.equal(shifted[1], x[1])
    for i, dx, dy in ((0, 0.3, -1.6), (2, 9.0, 0.25)):
        picture = x[i, 0].numpy()
        expected = [[bilinear(picture, row - dy, column - dx) for column in range(6)] for row in range(7)]
        assert torch.allclose(shifted[i, 0], torch.tensor(expected, dtype=torch.float64), atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_rotation_and_no_shift_change_no_bit(generator, dtype):
    x = images(generator, dtype=dtype)
    assert torch.equal(rotate(x, torch.zeros(3)), x)
    assert torch.equal(translate(x, torch.zeros(3, 2)), x)


@pytest.mark.parametrize("angle_deg", [0.0, 1e-3, 10.0, 90.0, 170.0])
@pytest.mark.parametrize("shape", [(9, 2), (9, 30), (9, 1, 4, 4)])
def test_points_turn_by_the_angle_towards_the_direction(generator, angle_deg, shape):
    x, towards = images(generator, shape), images(generator, shape)
    moved = rotate_towards(x, towards, angle_deg=angle_deg)
    flat, flat_moved, flat_towards = (part.flatten(1) for part in (x, moved, towards))
    assert torch.allclose(flat_moved.norm(dim=1), flat.norm(dim=1), rtol=1e-13)
    # |x' - x| = 2 |x| sin(a / 2): well conditioned at small angles, where arccos is not
    chord = 2 * flat.norm(dim=1) * math.sin(math.radians(angle_deg) / 2)
    assert torch.allclose((flat_moved - flat).norm(dim=1), chord, rtol=1e-9, atol=1e-14)
    plane = torch.stack([flat, flat_towards, flat_moved], dim=1)
    if plane.shape[2] > 2:
        assert torch.linalg.svdvals(plane)[:, 2].max() < 1e-13 * plane.norm()
    # the part of x' along the direction orthogonal to x is sin(a) |x| > 0
    unit = flat / flat.norm(dim=1, keepdim=True)
    tangent = flat_towards - (flat_towards * unit).sum(1, keepdim=True) * unit
    along = (flat_moved * tangent).sum(1) / tangent.norm(dim=1)
    assert torch.allclose(along, math.sin(math.radians(angle_deg)) * flat.norm(dim=1), atol=1e-12)


def test_the_part_of_the_direction_along_the_point_does_not_matter(generator):
    x, towards = images(generator, (5, 3)), images(generator, (5, 3))
    moved, same = (rotate_towards(x, t, angle_deg=10) for t in (towards, towards - 3 * x))
    assert torch.allclose(moved, same, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rotate(torch.zeros(2, 5, 5), torch.zeros(2)), r"images must have shape \(P, C, H, W\)"),
        (
            lambda: translate(torch.zeros(2, 5, 5), torch.zeros(2, 2)),
            r"images must have shape \(P, C, H, W\)",
        ),
        (
            lambda: rotate(torch.zeros(2, 1, 5, 5), torch.zeros(3)),
            r"angle_deg must have shape \(2,\), got.*\(3,\)",
        ),
        (
            lambda: rotate(torch.zeros(1, 1, 5, 5), torch.tensor([math.nan])),
            r"angle_deg must be finite, got NaN or infinity",
        ),
        (
            lambda: translate(torch.zeros(2, 1, 5, 5), torch.zeros(2)),
            r"shift_px must have shape \(2, 2\), got shape \(2,\)",
        ),
        (lambda: translate(torch.zeros(1, 1, 5, 5), torch.full((1, 2), math.inf)), "shift_px must be finite"),
        (lambda: rotate(torch.full((1, 1, 5, 5), math.nan), torch.zeros(1)), "images must be finite"),
        (
            lambda: rotate(torch.zeros(1, 1, 5, 5, dtype=torch.uint8), torch.zeros(1)),
            "images must be floating-point, got torch.uint8",
        ),
    ],
)
def test_images_and_amounts_that_do_not_fit_are_refused(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()


@pytest.mark.parametrize(
    ("points", "directions", "angle_deg", "message"),
    [
        (torch.ones(2, 3), torch.ones(2, 4), 1.0, r"directions must have the shape of points, \(2, 3\), got"),
        (torch.ones(2), torch.ones(2), 1.0, r"points must be floating and of shape \(P, \.\.\.\), got"),
        (torch.ones(2, 3, dtype=torch.long), torch.ones(2, 3), 1.0, "points must be floating"),
        (torch.tensor([[1.0, math.nan]]), torch.ones(1, 2), 1.0, "points must be finite"),
        (
            torch.ones(2, 3),
            torch.ones(2, 3),
            1.0,
            "points and directions must be non-zero vectors of at least two",
        ),
        (torch.zeros(2, 3), torch.ones(2, 3), 1.0, "points and directions must be non-zero"),
        (torch.ones(2, 1), torch.ones(2, 1), 1.0, "points and directions must be non-zero"),
        (torch.eye(2), 1 - torch.eye(2), math.nan, "angle_deg must be finite, got nan"),
    ],
)
def test_points_that_cannot_turn_are_refused(points, directions, angle_deg, message):
    with pytest.raises(ArgumentError, match=message):
        rotate_towards(points, directions, angle_deg=angle_deg)
