"""Probes by number: the same for any cut of the data set."""

import pytest
import torch

from diffstab.errors import ArgumentError
from diffstab.stability import diffeomorphism, numbered_pairs
from diffstab.stability.numbered import BLOCK
from diffstab.streams import stream


@pytest.fixture
def images(generator):
    return torch.rand(150, 1, 8, 8, generator=generator)


def drawn(images, numbers, seed=1, **options):
    return numbered_pairs(
        images,
        numbers,
        deform=diffeomorphism(0.5),
        block_stream=lambda block: stream(seed, "probes", block),
        **options,
    )


@pytest.mark.parametrize("noise", ["matched", 0.3])
@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 7, 150])
def test_a_cut_changes_nothing(images, noise, processes, size):
    whole = drawn(images, torch.arange(150), noise=noise, fields_per_image=2)
    for process in range(processes):
        for numbers in torch.split(torch.arange(150)[process::processes], size):
            part = drawn(images[numbers], numbers, noise=noise, fields_per_image=2)
            assert torch.equal(part.deformed, whole.deformed[:, numbers])
            assert torch.equal(part.noisy, whole.noisy[:, numbers])
            assert torch.equal(part.draw.deformation_norms, whole.draw.deformation_norms[:, numbers])
            assert torch.equal(part.clean, images[numbers])


def test_all_images_have_draws_of_their_own(images):
    same = images[:1].expand(150, -1, -1, -1)
    found = drawn(same, torch.arange(150))
    assert len(found.deformed[0].flatten(1).unique(dim=0)) == 150
    other = drawn(same, torch.arange(150) + BLOCK)
    assert torch.equal(other.deformed[0, :86], found.deformed[0, 64:])
    assert not torch.equal(other.deformed[0, 86:], found.deformed[0, :64])
    assert not torch.equal(drawn(same, torch.arange(150), seed=2).deformed, found.deformed)


def test_norms_are_matched(images):
    for noise in ("matched", "batch"):
        found = drawn(images, torch.arange(150), noise=noise)
        change, noise_norm = (
            (part[0] - images).flatten(1).norm(dim=1) for part in (found.deformed, found.noisy)
        )
        expected = change if noise == "matched" else change.mean().expand(150)
        torch.testing.assert_close(noise_norm, expected, rtol=1e-4, atol=1e-5)


def test_images_are_left_alone(images):
    before = images.clone()
    drawn(images, torch.arange(150))
    assert torch.equal(images, before)


@pytest.mark.parametrize("numbers", [[1, 0], [1, 1], [0, 1, 2]])
def test_numbers_ascend(images, numbers):
    with pytest.raises(ArgumentError, match="numbers must ascend, one for each of 2 images"):
        drawn(images[:2], torch.tensor(numbers))
