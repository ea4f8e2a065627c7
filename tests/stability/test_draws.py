"""Versions of images by number: the same for any cut of the data set, and like those of the batch functions."""

import pytest
import torch

from diffstab.errors import ArgumentError
from diffstab.stability import (
    change_norms,
    diffeomorphism,
    numbered_pairs,
    random_rotation,
    random_scaling,
    random_sphere_rotation,
    random_translation,
    scale,
    translate,
)

KINDS = {
    "diffeomorphism": diffeomorphism(0.5),
    "rotation": random_rotation(7.0),
    "translation": random_translation(0.6),
    "scaling": random_scaling(0.1),
    "sphere": random_sphere_rotation(10.0),
    "foreign": lambda x: x + torch.rand(x.shape),  # draws from the global generator
    "generator": lambda x, *, generator: x * torch.rand(1, generator=generator),
}


@pytest.fixture
def images(generator):
    return torch.rand(150, 1, 8, 8, generator=generator)


def drawn(images, numbers, seed=1, deform=KINDS["diffeomorphism"], **options):
    return numbered_pairs(images, numbers, deform=deform, seed=seed, **options)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("processes", "size"), [(1, 1), (1, 7), (3, 20)])
def test_a_cut_changes_nothing(images, kind, processes, size):
    options = {"deform": KINDS[kind], "fields_per_image": 2}
    whole = drawn(images, torch.arange(150), **options)
    for process in range(processes):
        for numbers in torch.split(torch.arange(150)[process::processes], size):
            part = drawn(images[numbers], numbers, **options)
            torch.testing.assert_close(part.deformed, whole.deformed[:, numbers], rtol=0, atol=1e-6)
            torch.testing.assert_close(part.noisy, whole.noisy[:, numbers], rtol=0, atol=1e-6)
            torch.testing.assert_close(part.draw.deformation_norms, whole.draw.deformation_norms[:, numbers])
            assert torch.equal(part.clean, images[numbers])


@pytest.mark.parametrize("kind", KINDS)
def test_seeds_numbers_and_fields_have_draws_of_their_own(images, kind):
    same = images[:1].expand(40, -1, -1, -1)
    options = {"deform": KINDS[kind], "fields_per_image": 2}
    found = drawn(same, torch.arange(40), **options)
    noise = found.noisy.flatten(0, 1).flatten(1)
    assert len(noise.unique(dim=0)) == 80
    # rotations and scalings have two values each
    assert len(found.deformed.flatten(0, 1).flatten(1).unique(dim=0)) == (
        2 if kind in ("rotation", "scaling") else 80
    )
    for other in (
        drawn(same, torch.arange(40), seed=2, **options),
        drawn(same, torch.arange(40) + 40, **options),
    ):
        assert not torch.equal(other.deformed, found.deformed)
        assert not torch.equal(other.noisy, found.noisy)


def test_fields_have_the_law_of_the_batch_function():
    count = 2000
    x = torch.zeros(count, 1, 20, 20)
    x[:, :, 10, 10] = 1
    numbered = drawn(x, torch.arange(count)).draw
    batch = diffeomorphism(0.5)(x, generator=torch.Generator().manual_seed(0))
    # the mean square of a field has a relative variance below 2
    assert numbered.measured_delta_px == pytest.approx(batch.measured_delta_px, rel=4 * (2 / count) ** 0.5)


def test_norms_are_matched(images):
    for noise in ("matched", "batch", 0.3):
        found = drawn(images, torch.arange(150), noise=noise)
        change, noise_norm = (change_norms(images, part)[0] for part in (found.deformed, found.noisy))
        expected = {"matched": change, "batch": change.mean().expand(150), 0.3: torch.full((150,), 0.3)}[
            noise
        ]
        torch.testing.assert_close(noise_norm, expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found.draw.noise_norms[0], expected, rtol=1e-4, atol=1e-5)


def test_noise_has_no_direction_of_its_own(images):
    noise = (drawn(images, torch.arange(150)).noisy[0] - images).flatten(1)
    unit = noise / noise.norm(dim=1, keepdim=True)
    # each of 64 coordinates has mean 0 and variance 1/64
    assert unit.mean(dim=0).abs().max() < 4.5 / (150 * 64) ** 0.5


def test_images_are_left_alone(images):
    before = images.clone()
    drawn(images, torch.arange(150))
    assert torch.equal(images, before)


@pytest.mark.parametrize("numbers", [[1, 1], [0, 1, 2], [-1, 0], [0.0, 1.0]])
def test_bad_numbers_are_refused(images, numbers):
    with pytest.raises(ArgumentError, match="numbers must be"):
        drawn(images[:2], torch.tensor(numbers))


def test_scaling_grows_or_shrinks_about_the_centre():
    column = torch.arange(11.0, dtype=torch.float64).expand(30, 1, 11, 11).contiguous()
    moved = random_scaling(0.25)(column, generator=torch.Generator().manual_seed(0)).images
    # on a ramp about the centre, the slope is divided by the factor
    slope = moved[:, 0, 5, 6] - moved[:, 0, 5, 5]
    assert set(slope.mul(1000).round().tolist()) == {800.0, 1250.0}
    assert torch.equal(scale(column, torch.ones(30)), column)
    with pytest.raises(ArgumentError, match=r"factor must be > 0, got 0\.0"):
        scale(column[:1], torch.zeros(1))
    with pytest.raises(ArgumentError, match="share must be > 0 and finite, got 0"):
        random_scaling(0.0)


def test_circular_shifts_come_back_on_the_other_side(images):
    x, seed = images[:20].double(), torch.Generator
    whole = random_translation(3.0, circular=True, whole=True)(x, generator=seed().manual_seed(0)).images
    shifts = [
        any(
            torch.equal(moved, torch.roll(one, (dy, dx), (1, 2)))
            for dx in range(-3, 4)
            for dy in range(-3, 4)
        )
        for moved, one in zip(whole, x, strict=True)
    ]
    assert all(shifts)
    # between pixels, inside, as the shift that repeats the border
    moved, clamped = (
        random_translation(1.5, circular=circular)(x, generator=seed().manual_seed(0)).images
        for circular in (True, False)
    )
    torch.testing.assert_close(moved[:, :, 2:-2, 2:-2], clamped[:, :, 2:-2, 2:-2])
    torch.testing.assert_close(moved.sum(dim=(2, 3)), x.sum(dim=(2, 3)))
    assert not torch.allclose(clamped.sum(dim=(2, 3)), x.sum(dim=(2, 3)))
    assert torch.equal(translate(x, torch.zeros(20, 2)), x)
    with pytest.raises(ArgumentError, match='mode must be "bilinear" for circular shifts'):
        random_translation(1.0, circular=True, mode="nearest")
