"""Normalised images against slow loops in NumPy."""

import numpy as np
import pytest
import torch

from datamodules import normalisation
from datamodules.normalisation import normalised, resized, statistics
from diffstab.errors import ArgumentError, DegenerateError


@pytest.fixture
def stored(generator):
    return torch.randint(0, 256, (23, 3, 6, 5), dtype=torch.uint8, generator=generator)


def _reference(stored, kind):
    pixels = stored.numpy().astype(np.float64) / 255
    result = np.empty_like(pixels)
    for index, image in enumerate(pixels):
        if kind == "sphere":
            centred = image - pixels.mean(axis=0)
            result[index] = centred / np.sqrt((centred**2).mean())
        elif kind == "standard":
            for channel in range(image.shape[0]):
                values = pixels[:, channel]
                result[index, channel] = (image[channel] - values.mean()) / values.std()
        else:
            result[index] = image
    return torch.from_numpy(result)


@pytest.mark.parametrize("chunk", [4, 4096])
@pytest.mark.parametrize("kind", ["sphere", "standard", "none"])
def test_matches_the_slow_reference_in_any_chunks(stored, kind, chunk, monkeypatch):
    monkeypatch.setattr(normalisation, "CHUNK", chunk)
    before = stored.clone()
    moments = statistics(stored, white=255, size=None)
    images = normalised(stored, moments, normalisation=kind, white=255, size=None)
    assert images.dtype == torch.float32
    assert images.is_contiguous()
    # Pixels of order 1, a handful of float32 operations each.
    torch.testing.assert_close(images.double(), _reference(stored, kind), rtol=0, atol=2e-6)
    assert torch.equal(stored, before)


def test_convention_sphere_has_radius_sqrt_d(stored):
    moments = statistics(stored, white=255, size=None)
    images = normalised(stored, moments, normalisation="sphere", white=255, size=None)
    norms = images.double().flatten(1).norm(dim=1)
    torch.testing.assert_close(norms, torch.full_like(norms, 90**0.5), rtol=1e-6, atol=0)


def test_sphere_does_not_see_brightness_and_contrast(stored):
    """Halving all stored values leaves the normalised images unchanged."""
    even = stored // 2 * 2
    one, half = (
        normalised(x, statistics(x, white=255, size=None), normalisation="sphere", white=255, size=None)
        for x in (even, even // 2)
    )
    torch.testing.assert_close(one, half, rtol=0, atol=2e-6)


def test_moments_are_those_of_the_resized_images(stored):
    moments = statistics(stored, white=255, size=4)
    images = resized(stored.double() / 255, 4)
    torch.testing.assert_close(moments.mean_image, images.mean(0))
    torch.testing.assert_close(moments.channel_mean.flatten(), images.mean((0, 2, 3)))
    torch.testing.assert_close(moments.channel_deviation.flatten(), images.std((0, 2, 3), correction=0))


def test_resizing_keeps_constants_shape_and_range(stored):
    assert resized(stored.float(), None).shape == (23, 3, 6, 5)
    assert resized(torch.full((2, 1, 8, 8), 0.3), 28).sub(0.3).abs().max() < 1e-6
    enlarged = resized(stored.float(), 28)
    assert enlarged.shape == (23, 3, 28, 28)
    assert 0 <= enlarged.min() <= enlarged.max() <= 255


def test_shrinking_averages():
    """A fine checkerboard becomes grey: without antialiasing it would alias."""
    board = (torch.arange(32)[:, None] + torch.arange(32)[None, :]).remainder(2).float().expand(1, 1, 32, 32)
    assert resized(board, 8)[..., 1:-1, 1:-1].sub(0.5).abs().max() < 1e-6


def test_image_equal_to_the_mean_is_refused(stored):
    same = stored[:1].expand(3, -1, -1, -1)
    moments = statistics(same, white=255, size=None)
    with pytest.raises(DegenerateError, match="equals the mean image"):
        normalised(same, moments, normalisation="sphere", white=255, size=None)


def test_constant_channel_is_refused(stored):
    constant = stored.clone()
    constant[:, 1] = 77
    moments = statistics(constant, white=255, size=None)
    assert moments.channel_deviation[1] == 0
    with pytest.raises(DegenerateError, match="constant"):
        normalised(constant, moments, normalisation="standard", white=255, size=None)


def test_nearly_constant_channel_is_kept():
    """One pixel one grey level off in 2 million is not rounding."""
    stored = torch.full((4, 1, 720, 720), 255, dtype=torch.uint8)
    stored[0, 0, 0, 0] = 254
    share = 1 / stored.numel()
    expected = (share * (1 - share)) ** 0.5 / 255
    assert statistics(stored, white=255, size=None).channel_deviation.item() == pytest.approx(
        expected, rel=1e-3
    )


def test_unknown_normalisation_is_refused(stored):
    moments = statistics(stored, white=255, size=None)
    with pytest.raises(
        ArgumentError, match='normalisation must be "sphere", "standard" or "none", got \'unit\''
    ):
        normalised(stored, moments, normalisation="unit", white=255, size=None)
