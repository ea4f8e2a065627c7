"""The part of D that is no mere moving of a layer's map."""

import math

import pytest
import torch
from torch import nn

from diffstab.stability import LayerPass, diffeomorphism, random_rotation, random_scaling, random_translation

COUNT = 12


def images(size=16):
    return torch.rand(COUNT, 2, size, size, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def measured(net, deformation, layers=("",), **options):
    x = images()
    with LayerPass(net, layers=layers, deformations=[deformation], equivariant=True, **options) as measuring:
        for numbers in torch.arange(COUNT).split(5):
            measuring.update(x[numbers], numbers)
    return {name: sums for (_, name), sums in measuring.sums().items()}


def pointwise():
    with torch.random.fork_rng():
        return nn.Conv2d(2, 2, 1).double()


def circular(stride=1):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Conv2d(2, 3, 3, stride, padding=1, padding_mode="circular").double()


@pytest.mark.parametrize(
    "deformation", [diffeomorphism(0.5), random_rotation(5.0), random_scaling(0.1), random_translation(1.3)]
)
def test_what_only_moves_with_the_image_is_equivariant(deformation):
    sums = measured(nn.Sequential(nn.Identity(), pointwise()), deformation, layers=["0", "1"])
    for name in ("0", "1"):  # 1 x 1 convolutions and linear interpolation commute
        assert float(sums[name].equivariance) < 1e-25
        assert float(sums[name].stability().deformation) > 0.01


@pytest.mark.parametrize("stride", [1, 2])
def test_a_circular_convolution_moves_with_whole_circular_shifts(stride):
    """By an even number of pixels, which its map at stride 2 follows by half of them."""
    even = random_translation(2.0, circular=True, whole=True)
    net = circular(stride)

    class Even(type(even)):
        def draw(self, source, shape):
            return 2 * super().draw(source, shape)

    sums = measured(net, Even(**vars(even)))[""]
    assert float(sums.equivariance) < 1e-25
    assert float(sums.stability().deformation) > 0.1


def test_what_does_not_move_with_the_image_is_told_apart():
    class Fixed(nn.Module):
        """A map that depends on the mean alone, with a pattern that stays in its place."""

        def forward(self, x):
            return x.mean(dim=(1, 2, 3), keepdim=True) * torch.arange(8.0, dtype=x.dtype).expand(1, 1, 8, 8)

    sums = measured(Fixed(), random_translation(2.0, circular=True, whole=True))[""]
    assert float(sums.stability().deformation) < 1e-25
    assert float(sums.equivariance) > 0.1


def test_outputs_that_are_no_maps_have_none():
    sums = measured(nn.Flatten(), diffeomorphism(0.5))[""]
    assert math.isnan(float(sums.equivariance))
    assert float(sums.stability().deformation) > 0
    assert math.isnan(float(measured(nn.Identity(), lambda x: x.flip(-1))[""].equivariance))


def test_it_stands_beside_the_floor_and_averages_fields():
    net = circular()
    both = measured(net, diffeomorphism(0.5), floor=True, fields_per_image=2)[""]
    assert both.per_image.shape == (COUNT, 5)
    parts = [measured(net, diffeomorphism(0.5), first_field=field)[""].equivariance for field in (0, 1)]
    assert float(both.equivariance) == pytest.approx(float(sum(parts) / 2), rel=1e-9)
    for value in (both.floor, both.equivariance):
        assert 0 < float(value) < 0.5 * float(both.stability().deformation)
