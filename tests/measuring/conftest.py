"""A small trained-like model and images for measurements."""

import pytest
import torch
from torch import nn

from diffstab.nets.initial import initial_weights


class SmallNet(nn.Module):
    """Two stages and a linear layer; counts the images that it has seen."""

    def __init__(self, classes=3):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.ReLU())
        self.head = nn.Linear(6 * 16, classes)
        self.seen = 0

    def forward(self, x):
        self.seen += len(x)
        return self.head(self.second(self.first(x)).flatten(1))


def small_net(seed=0, **options):
    with initial_weights(seed):
        return SmallNet(**options)


def smooth_images(count, *, side=8, seed=0):
    """Images (count, 1, side, side) in [0, 1] of a few waves."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 1, 4, 4, generator=generator)
    return nn.functional.interpolate(coarse, size=side, mode="bicubic").clamp(0, 1)


@pytest.fixture
def net():
    return small_net()


@pytest.fixture
def labelled():
    """A data set of 70 images with labels."""
    images = smooth_images(70)
    labels = torch.randint(3, (70,), generator=torch.Generator().manual_seed(1))
    return torch.utils.data.TensorDataset(images, labels)
