"""The floor of D: what it reads for reasons of interpolation alone."""

import math

import pytest
import torch
from torch import nn

from diffstab.diffeo import warp
from diffstab.errors import ArgumentError
from diffstab.stability import (
    LayerPass,
    diffeomorphism,
    measure_stability,
    random_rotation,
    random_translation,
)
from diffstab.stability.interpolation import blurred

COUNT = 40


def images(size=16, smooth=0):
    """Noise images, or ones that were made smoother."""
    x = torch.rand(COUNT, 1, size, size, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    for _ in range(smooth):
        x = sum(torch.roll(x, step, axis) for step in (-1, 1) for axis in (2, 3)) / 8 + x / 2
    return x


def measured(net, x, deformation):
    with LayerPass(net, deformations=[deformation], floor=True) as measuring:
        measuring.update(x, torch.arange(len(x)))
    return measuring.sums()[0, ""]


def constant_field(dx, dy, size=9):
    return torch.tensor([dx, dy], dtype=torch.float64)[None, :, None, None].expand(1, 2, size, size)


@pytest.mark.parametrize(("dx", "dy"), [(0.5, 0.0), (0.25, -1.5), (-3.2, 0.9), (0.1, 0.1)])
def test_convention_the_floor_is_a_blur_of_the_variance_of_the_interpolation(dx, dy):
    """Of a single bright pixel, the warp and the blur have the same spread; the blur alone has the same centre."""
    point = torch.zeros(1, 1, 9, 9, dtype=torch.float64)
    point[..., 4, 4] = 1
    row, column = torch.meshgrid(torch.arange(9.0), torch.arange(9.0), indexing="ij")
    field = constant_field(dx, dy)
    for moved, centre in ((warp(point, field), (4 + dx, 4 + dy)), (blurred(point, field), (4, 4))):
        mass = moved[0, 0]
        assert float(mass.sum()) == pytest.approx(1)
        for places, at, shift in ((column, centre[0], dx), (row, centre[1], dy)):
            share = shift % 1
            assert float((mass * places).sum()) == pytest.approx(at)
            assert float((mass * (places - at) ** 2).sum()) == pytest.approx(share * (1 - share))
    assert float(blurred(point, constant_field(0.5, 0.0))[0, 0, 4, 3]) == pytest.approx(1 / 8)


@pytest.mark.parametrize("waves", [1, 2])
def test_a_wave_is_damped_by_the_blur_as_by_the_interpolation(waves):
    phase = 2 * math.pi * waves * torch.arange(32, dtype=torch.float64) / 32
    wave = phase.sin().expand(1, 1, 32, 32).contiguous()
    field = constant_field(0.5, 0.0, 32)
    inside = (..., slice(4, -4))
    # sin and cos of the half-pixel shift make up the amplitude that is left
    shifted = torch.stack([(phase - phase[1] / 2).sin(), (phase - phase[1] / 2).cos()])
    left = torch.linalg.lstsq(shifted[:, 4:-4].T, warp(wave, field)[0, 0, 16, 4:-4, None]).solution.norm()
    kept = blurred(wave, field)[inside] / wave[inside]
    kept = kept[wave[inside].abs() > 0.1]
    k = float(phase[1])
    assert float(left) == pytest.approx(math.cos(k / 2), rel=1e-6)
    # the next order of the two differs: cos(k/2) against 1 - (1 - cos k) / 4
    torch.testing.assert_close(kept, torch.full_like(kept, float(left)), rtol=k**4 / 100, atol=0)


def test_convention_the_floor_of_other_interpolations():
    x, net = images(), nn.Flatten()
    assert float(measured(net, x, diffeomorphism(0.5, mode="nearest")).floor) == 0
    assert float(measured(net, x, random_translation(2.0, whole=True)).floor) == 0
    gaussian = measured(net, x, diffeomorphism(0.5, mode="gaussian"))
    still = warp(x, torch.zeros(1, 2, 16, 16, dtype=torch.float64), "gaussian")
    expected = (still - x).flatten(1).square().sum(dim=1).mean() / gaussian.denominator
    assert float(gaussian.floor) == pytest.approx(float(expected), rel=1e-10)


def test_the_floor_is_the_change_by_the_blur_over_the_denominator():
    x = images()
    sums = measured(nn.Flatten(), x, random_rotation(5.0))
    deform = random_rotation(5.0)
    field = deform.field(torch.full((COUNT,), 5.0, dtype=torch.float64), 16, 16)
    change = (blurred(x, field) - x).flatten(1).square().sum(dim=1).mean()
    # rotations of either sense have displacements of opposite signs, up to their second order
    assert float(sums.floor) == pytest.approx(float(change / sums.denominator), rel=0.05)


class Invariant(nn.Module):
    """Circular convolutions and a mean over all places: nothing changes where an image is shifted as a circle."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            layers = [nn.Conv2d(i, 8, 3, padding=1, padding_mode="circular") for i in (1, 8)]
        self.layers = nn.ModuleList(layers).double()

    def forward(self, x):
        for layer in self.layers:
            x = layer(x).relu()
        return x.mean(dim=(2, 3))


def test_an_invariant_net_reads_the_floor_under_circular_shifts():
    net, x = Invariant(), images(smooth=2)
    whole = measured(net, x, random_translation(3.0, circular=True, whole=True))
    assert float(whole.stability().deformation) < 1e-25
    assert float(whole.floor) == 0
    between = measured(net, x, random_translation(3.0, circular=True))
    found, floor = float(between.stability().deformation), float(between.floor)
    assert 0.5 * floor < found < 2 * floor
    # a net that is not invariant is far above its own
    other = measured(nn.Flatten(), x, random_translation(3.0, circular=True))
    assert float(other.stability().deformation) > 20 * float(other.floor)


def test_a_caution_is_given_where_d_reaches_down_to_twice_its_floor():
    x = images(smooth=2)
    deform = random_translation(3.0, circular=True)
    invariant = measure_stability(Invariant(), x, deform=deform, floor=True)
    assert "twice its floor of" in invariant.caution
    plain = measure_stability(nn.Flatten(), x, deform=deform, floor=True)
    assert "floor" not in plain.caution
    assert float(plain.floor) > 0
    unknown = measure_stability(nn.Flatten(), x, deform=deform)
    assert math.isnan(float(unknown.floor))
    assert "floor" not in unknown.caution


def test_the_floor_of_other_peoples_deformations_is_not_known():
    sums = measured(nn.Flatten(), images(), lambda x: x.flip(-1))
    assert math.isnan(float(sums.floor))
    assert float(sums.stability().deformation) > 0


def test_points_have_no_displacement_in_pixels():
    from diffstab.stability import random_sphere_rotation

    with pytest.raises(
        ArgumentError, match="deformation must move pixels of images, got a rotation of points"
    ):
        random_sphere_rotation(5.0).field(torch.zeros(2, 3), 4, 4)
