import math
import pickle

import pytest
import torch

from diffstab.diffeo import draw_field, folded, rms_displacement_px, temperature_from_displacement, warp
from diffstab.errors import ArgumentError, FoldingWarning
from diffstab.stability import (
    diffeomorphism,
    random_rotation,
    random_sphere_rotation,
    random_translation,
    rotate,
)

BUILDERS = {
    "diffeomorphism": diffeomorphism(0.3),
    "rotation": random_rotation(10.0),
    "translation": random_translation(1.5),
    "sphere": random_sphere_rotation(10.0),
}


def seeded():
    return torch.Generator().manual_seed(7)


def images(count=5, dtype=torch.float32):
    return torch.randn(count, 2, 16, 14, generator=torch.Generator().manual_seed(8), dtype=dtype)


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "gaussian"])
def test_diffeomorphism_warps_by_the_fields_it_draws(mode):
    x = images()
    draw = diffeomorphism(0.5, 2, mode=mode)(x, generator=seeded())
    temperature = temperature_from_displacement(0.5, (16, 14), 2)
    field = draw_field(5, 16, 14, temperature=temperature, cutoff=2, generator=seeded())
    assert torch.equal(draw.images, warp(x, field, mode))
    assert (draw.delta_px, draw.temperature, draw.cutoff) == (0.5, temperature, 2)
    lengths = [float((f**2).sum(0).mean()) for f in field]
    assert draw.measured_delta_px == pytest.approx(math.sqrt(sum(lengths) / 5), rel=1e-6)


def test_measured_displacement_is_the_exact_root_mean_square_on_average():
    count = 2000
    draw = diffeomorphism(0.4)(torch.zeros(count, 1, 20, 20), generator=seeded())
    exact = rms_displacement_px(draw.temperature, 20, 3)
    # The mean square of a field has a relative variance below 2; its root half the deviation.
    assert draw.measured_delta_px == pytest.approx(exact, rel=4 * math.sqrt(2 / count) / 2)


def test_folded_share_is_that_of_the_drawn_fields():
    x = torch.zeros(200, 1, 16, 16)
    with pytest.warns(FoldingWarning, match="exceeds the admissible"):
        draw = diffeomorphism(2.0)(x, generator=seeded())
    with pytest.warns(FoldingWarning):
        field = draw_field(200, 16, 16, delta_px=2.0, cutoff=3, generator=seeded())
    assert 0.1 < draw.folded_share < 1
    assert draw.folded_share == pytest.approx(float(folded(field).double().mean()), abs=1e-12)
    assert diffeomorphism(0.1)(x, generator=seeded()).folded_share == 0


def test_rotation_has_a_random_sense():
    x = images(64, torch.float64)
    rotated = random_rotation(20.0)(x, generator=seeded()).images
    either = [
        (rotated - rotate(x, torch.full((64,), a))).flatten(1).norm(dim=1) < 1e-9 for a in (20.0, -20.0)
    ]
    assert torch.equal(either[0], ~either[1])
    assert 16 < either[0].sum() < 48  # four standard deviations of 64 fair coins


def test_translation_has_the_length_asked_for_in_any_direction():
    size, count = 11, 400
    row, column = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    ramps = torch.stack([column, row]).double().expand(count, -1, -1, -1).contiguous()
    centre = random_translation(2.0)(ramps, generator=seeded()).images[:, :, 5, 5]
    shift = 5 - centre  # on a ramp, what is seen at the centre came from 5 - shift
    assert torch.allclose(shift.norm(dim=1), torch.full((count,), 2.0, dtype=torch.float64), atol=1e-12)
    # each coordinate has mean 0 and variance 2
    assert shift.mean(0).abs().max() < 4 * math.sqrt(2 / count)
    assert torch.allclose(
        shift.T @ shift / count, 2 * torch.eye(2, dtype=torch.float64), atol=4 * 2 / math.sqrt(count)
    )


def test_sphere_rotation_keeps_norms_and_turns_by_the_angle():
    x = images(20, torch.float64)
    moved = random_sphere_rotation(10.0)(x, generator=seeded()).images
    cosine = torch.nn.functional.cosine_similarity(x.flatten(1), moved.flatten(1))
    assert torch.allclose(cosine, torch.full_like(cosine, math.cos(math.radians(10))), atol=1e-13)


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_deformations_repeat_by_the_seed_pickle_and_leave_the_images(name, dtype):
    x = images(dtype=dtype)
    copy, deform = x.clone(), BUILDERS[name]
    first = deform(x, generator=seeded())
    again = pickle.loads(pickle.dumps(deform))(x, generator=seeded())
    assert torch.equal(first.images, again.images)
    assert (first.images.shape, first.images.dtype) == (x.shape, dtype)
    assert not torch.equal(first.images, x)
    assert torch.equal(x, copy)


@pytest.mark.parametrize("name", ["rotation", "translation", "sphere"])
def test_convention_what_is_no_diffeomorphism_has_no_temperature(name):
    draw = BUILDERS[name](images(), generator=seeded())
    assert all(math.isnan(x) for x in draw[1:])


@pytest.mark.parametrize("delta_px", [0.0, -1.0, math.nan])
def test_a_displacement_that_is_not_positive_is_refused(delta_px):
    with pytest.raises(ArgumentError, match=r"delta_px must be > 0, got .*Without a deformation, R is 0 / 0"):
        diffeomorphism(delta_px)


def test_a_cutoff_of_one_is_refused_at_once():
    with pytest.raises(ArgumentError, match="cutoff must be"):
        diffeomorphism(1.0, 1)


@pytest.mark.parametrize("name", ["diffeomorphism", "rotation", "translation"])
def test_images_without_channels_are_refused(name):
    with pytest.raises(ArgumentError, match=r"images must have shape \(., C, H, W\)"):
        BUILDERS[name](torch.zeros(3, 16, 16), generator=seeded())


@pytest.mark.parametrize("name", BUILDERS)
def test_integer_images_are_refused(name):
    with pytest.raises(ArgumentError, match=r"(images|points) must be float"):
        BUILDERS[name](torch.zeros(3, 1, 16, 16, dtype=torch.uint8), generator=seeded())
