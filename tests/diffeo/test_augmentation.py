"""The law of the augmentation: cut-offs and temperatures uniform over what is admissible."""

import math

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from diffstab.diffeo import warp_by_coefficients
from diffstab.diffeo.augmentation import DeformationAugmentation
from diffstab.errors import ArgumentError

MANY = 20_000


@pytest.fixture(scope="module")
def drawn():
    augment = DeformationAugmentation((3, 6), generator=torch.Generator().manual_seed(0))
    return augment.generate_parameters((MANY, 1, 28, 28))


def test_convention_cutoffs_are_uniform_over_the_whole_numbers(drawn):
    counts = torch.bincount(drawn["cutoff"])
    assert counts[:3].sum() == 0
    deviation = math.sqrt(MANY * 0.25 * 0.75)
    assert ((counts[3:] - MANY / 4).abs() < 4 * deviation).all()


@pytest.mark.parametrize("cutoff", [3, 6])
def test_convention_temperatures_are_uniform_over_the_admissible_range(cutoff, drawn):
    """Between T_min = 1 / (pi n^2 ln c) and T_max = 4 / (pi^3 c^2 ln c): by the largest gap to the uniform law."""
    found = drawn["temperature"][drawn["cutoff"] == cutoff]
    low = 1 / (math.pi * 28**2 * math.log(cutoff))
    high = 4 / (math.pi**3 * cutoff**2 * math.log(cutoff))
    place = ((found - low) / (high - low)).sort().values
    assert 0 <= place[0] <= place[-1] <= 1
    gap = (place - torch.linspace(0, 1, len(place), dtype=place.dtype)).abs().max()
    assert gap < 1.95 / math.sqrt(len(place))  # Kolmogorov's 0.1 %


def test_coefficients_have_the_variance_of_their_own_temperature_and_cutoff(drawn):
    chosen = drawn["cutoff"] == 4
    coefficients, temperature = drawn["coefficients"][chosen], drawn["temperature"][chosen]
    scaled = (coefficients.square() / temperature[:, None, None, None]).mean((0, 1))
    tolerance = 4 * math.sqrt(2 / (2 * len(temperature)))
    for i in range(1, 7):
        for j in range(1, 7):
            inside = math.hypot(i, j) < 4.5
            expected = 1 / (i * i + j * j) if inside else 0.0
            assert float(scaled[i - 1, j - 1]) == pytest.approx(expected, rel=tolerance, abs=0)


def test_images_are_warped_by_their_own_fields():
    images = torch.rand(4, 3, 20, 24, generator=torch.Generator().manual_seed(1))
    augment = DeformationAugmentation((2, 4), generator=torch.Generator().manual_seed(2))
    found = augment(images)
    parameters = augment._params
    torch.testing.assert_close(found, warp_by_coefficients(images, parameters["coefficients"], "bilinear"))
    assert torch.equal(augment(images, params=parameters), found)
    assert not torch.equal(augment(images), found)


class OneImage(Dataset):
    def __init__(self, augment):
        self.augment, self.image = augment, torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(9))

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return self.augment(self.image)


def test_workers_and_epochs_have_draws_of_their_own():
    augment = DeformationAugmentation((2, 4), generator=torch.Generator().manual_seed(0))
    options = {
        "num_workers": 2,
        "multiprocessing_context": "fork",
        "generator": torch.Generator().manual_seed(0),
    }
    loader = DataLoader(OneImage(augment), batch_size=1, **options)
    images = torch.cat([torch.cat(list(loader)) for _ in range(3)])
    assert len(torch.unique(images.flatten(1), dim=0)) == 18


@pytest.mark.parametrize(
    ("cutoffs", "match"),
    [
        ((1, 5), "cutoff must be an integer of at least 2"),
        ((5, 3), "the smaller one first"),
        ((2, 3.5), "whole numbers"),
    ],
)
def test_cutoffs_out_of_range(cutoffs, match):
    with pytest.raises(ArgumentError, match=match):
        DeformationAugmentation(cutoffs)


def test_cutoffs_that_admit_no_temperature_at_a_size():
    """T_min > T_max from c = 2 n / pi on: 17.8 at 28 px, 10.2 at 16 px."""
    images = torch.zeros(1, 1, 16, 16)
    DeformationAugmentation((2, 10), generator=torch.Generator())(images)
    with pytest.raises(ArgumentError, match="cutoffs must stay below 11 for images of 16 x 16 px"):
        DeformationAugmentation((2, 12), generator=torch.Generator())(images)
