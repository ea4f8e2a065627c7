import math

import pytest
import torch

from diffstab.errors import ArgumentError
from diffstab.stability import add_noise, change_norms, noise_norms


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noise_has_the_norm_asked_for_image_by_image(generator, dtype):
    images = torch.randn(30, 2, 5, 4, generator=generator, dtype=dtype)
    norms = torch.linspace(0, 3, 30, dtype=dtype)
    copy = images.clone()
    noisy = add_noise(images, norms, generator=generator)
    # x + eta rounds each of 40 numbers below 10 to 10 * eps / 2
    round_off = 10 * torch.finfo(dtype).eps * math.sqrt(40)
    assert torch.allclose(change_norms(images, noisy[None])[0], norms, rtol=0, atol=round_off)
    assert torch.equal(images, copy)
    assert (noisy.dtype, noisy.shape) == (images.dtype, images.shape)


def test_a_norm_of_zero_changes_no_bit(generator):
    images = torch.randn(3, 7, generator=generator)
    assert torch.equal(add_noise(images, torch.zeros(3), generator=generator), images)


def test_noise_is_isotropic(generator):
    count, d = 20000, 3
    noise = add_noise(torch.zeros(count, d, dtype=torch.float64), torch.ones(count), generator=generator)
    # a coordinate squared is Beta(1/2, 1) in d = 3: mean 1/3, variance 4/45
    error = 4 * math.sqrt(1 / 3 / count)
    assert torch.allclose(noise.mean(0), torch.zeros(d, dtype=torch.float64), atol=error)
    assert torch.allclose(noise.T @ noise / count, torch.eye(d, dtype=torch.float64) / 3, atol=error)


def test_change_norms_are_those_of_the_flattened_images(generator):
    clean = torch.randn(4, 2, 3, 3, generator=generator)
    changed = torch.randn(5, 4, 2, 3, 3, generator=generator)
    expected = (changed - clean).reshape(5, 4, -1).square().sum(-1).sqrt()
    assert torch.allclose(change_norms(clean, changed), expected, rtol=1e-6)


def test_convention_matched_batch_and_fixed_norms():
    norms = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    assert torch.equal(noise_norms(norms, noise="matched"), norms)
    assert torch.equal(noise_norms(norms, noise="batch"), torch.full((2, 2), 3.0))
    assert torch.equal(noise_norms(norms, noise=0.5), torch.full((2, 2), 0.5))


@pytest.mark.parametrize("noise", ["matching", 0, -1.0, math.nan, math.inf, True, None])
def test_any_other_noise_is_refused(noise):
    with pytest.raises(ArgumentError, match='noise must be "matched", "batch" or a finite norm > 0, got'):
        noise_norms(torch.ones(1, 2), noise=noise)


def test_norms_that_do_not_fit_are_refused(generator):
    with pytest.raises(
        ArgumentError, match=r"norms must have shape \(3,\), one norm for each image, got.*\(2,\)"
    ):
        add_noise(torch.zeros(3, 4), torch.ones(2), generator=generator)


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf])
def test_negative_and_non_finite_norms_are_refused(generator, bad):
    with pytest.raises(ArgumentError, match="norms must be finite and >= 0"):
        add_noise(torch.zeros(2, 4), torch.tensor([1.0, bad]), generator=generator)
