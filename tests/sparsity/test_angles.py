import math

import pytest
import torch

from diffstab import sparsity
from diffstab.errors import ArgumentError, DegenerateError
from tests.references.sparsity import (
    angle_deg,
    cap_share_by_sum,
    nearest_angles_by_loops,
    top_eigenvalue_by_powers,
)


@pytest.mark.parametrize("dimension", [1, 2, 5])
@pytest.mark.parametrize("block", [1, 4, 1024])
def test_nearest_angles_are_those_of_the_loops(random_layer, dimension, block):
    theta = random_layer(11, dimension, 1).theta
    found = sparsity.nearest_angles_deg(theta, block=block)
    assert found.tolist() == pytest.approx(nearest_angles_by_loops(theta.tolist()), abs=1e-6)


@pytest.mark.parametrize("angle", [1e-5, 1e-3, 30.0, 90.0, 179.9999, 180.0])
def test_angles_are_resolved_from_nought_to_half_a_turn(angle):
    turned = [3 * math.cos(math.radians(angle)), 3 * math.sin(math.radians(angle))]
    theta = torch.tensor([[1.0, 0.0], turned], dtype=torch.float64)
    assert sparsity.nearest_angles_deg(theta).tolist() == pytest.approx([angle, angle], abs=1e-9)


def test_convention_zero_neurons_have_no_angle_and_are_nobodys_neighbour():
    theta = torch.tensor([[1.0, 0.0], [0.0, 0.0], [-1.0, 1e-3]])
    first, zero, last = sparsity.nearest_angles_deg(theta).tolist()
    assert math.isnan(zero)
    assert first == last == pytest.approx(180 - math.degrees(1e-3), abs=1e-6)
    assert sparsity.nearest_angles_deg(theta[:2]).isnan().all()


@pytest.mark.parametrize("dimension", [2, 3, 4, 10, 50])
def test_cap_share_is_the_integral(dimension):
    angles = [0.0, 3.0, 60.0, 90.0, 130.0, 180.0]
    expected = [cap_share_by_sum(angle, dimension) for angle in angles]
    assert sparsity.cap_share(torch.tensor(angles), dimension).tolist() == pytest.approx(expected, abs=1e-6)


def test_cap_share_on_the_line_the_circle_and_the_sphere():
    angles = torch.tensor([0.0, 60.0, 120.0, 180.0], dtype=torch.float64)
    assert sparsity.cap_share(angles, 1).tolist() == [0.5, 0.5, 0.5, 1.0]
    assert sparsity.cap_share(angles, 2).tolist() == pytest.approx((angles / 180).tolist(), abs=1e-12)
    assert sparsity.cap_share(angles, 3).tolist() == pytest.approx(
        ((1 - torch.deg2rad(angles).cos()) / 2).tolist(), abs=1e-12
    )


@pytest.mark.parametrize(("neurons", "dimension"), [(2, 3), (40, 2), (40, 5), (40, 60)])
def test_uniform_law_is_that_of_drawn_directions(random_layer, neurons, dimension):
    # One angle from each of 2000 draws, hence independent; Kolmogorov distance below 1.95 / sqrt(2000) at 0.1 %.
    theta = random_layer(2000 * neurons, dimension, 1).theta.view(2000, neurons, dimension)
    unit = theta / theta.norm(dim=2, keepdim=True)
    cosine = (unit[:, 1:] @ unit[:, :1].mT).amax(dim=(1, 2))
    angles = torch.rad2deg(cosine.clamp(-1, 1).acos()).sort().values
    law = sparsity.uniform_nearest_angle_share(angles, neurons=neurons, dimension=dimension)
    steps = torch.arange(2000) / 2000
    distance = max(float((law - steps).max()), float((steps + 1 / 2000 - law).max()))
    assert distance < 1.95 / math.sqrt(2000)


@pytest.mark.parametrize("quantile", [0.01, 0.5, 0.9])
@pytest.mark.parametrize(("neurons", "dimension"), [(2, 2), (2, 3), (1000, 2), (1000, 784)])
def test_quantiles_invert_the_law(neurons, dimension, quantile):
    angle = torch.tensor(
        sparsity.uniform_nearest_angle_deg(neurons, dimension, quantile=quantile), dtype=torch.float64
    )
    law = sparsity.uniform_nearest_angle_share(angle, neurons=neurons, dimension=dimension)
    assert float(law) == pytest.approx(quantile, rel=1e-9)


def test_two_points_on_a_line_agree_or_oppose():
    assert sparsity.uniform_nearest_angle_deg(2, 1, quantile=0.4) == 0
    assert sparsity.uniform_nearest_angle_deg(2, 1, quantile=0.6) == 180
    assert sparsity.uniform_nearest_angle_deg(20, 1) == 0


def test_alignment_and_principal_share_are_those_of_the_loops(random_layer, generator):
    theta = random_layer(15, 4, 1).theta
    target, masses = theta[3] + 0.1, torch.rand(15, generator=generator, dtype=torch.float64)
    share = (masses / masses.sum()).tolist()
    cosines = [abs(math.cos(math.radians(angle_deg(row, target.tolist())))) for row in theta.tolist()]
    expected = math.fsum(p * c for p, c in zip(share, cosines, strict=True))
    assert sparsity.alignment(theta, 5 * target, masses=masses) == pytest.approx(expected, rel=1e-9)
    unit = sparsity.unit_directions(theta)
    moment = sum(p * torch.outer(row, row) for p, row in zip(share, unit, strict=True))
    expected = top_eigenvalue_by_powers(moment.tolist())
    assert sparsity.principal_share(theta, masses=masses) == pytest.approx(expected, rel=1e-9)


def test_alignment_limits(random_layer):
    theta = random_layer(1, 5, 1).theta * torch.tensor([[1.0], [-3.0], [0.0]])
    assert sparsity.alignment(theta, theta[0]) == pytest.approx(1, rel=1e-12)
    assert sparsity.principal_share(theta) == pytest.approx(1, rel=1e-12)
    axes = torch.eye(5)
    assert sparsity.principal_share(axes) == pytest.approx(1 / 5, rel=1e-12)
    assert sparsity.alignment(axes, axes[0], masses=torch.tensor([3.0, 1, 1, 1, 0])) == pytest.approx(
        0.5, rel=1e-12
    )


@pytest.mark.parametrize("dimension", [1, 2, 3, 30])
def test_uniform_alignment_is_that_of_drawn_directions(random_layer, dimension):
    theta, target = random_layer(20_000, dimension, 1).theta, torch.ones(dimension)
    # The deviation of |cos| is at most its mean: four standard errors.
    assert sparsity.alignment(theta, target) == pytest.approx(
        sparsity.uniform_alignment(dimension), rel=4 / math.sqrt(20_000)
    )
    assert sparsity.uniform_alignment(2) == pytest.approx(2 / math.pi, rel=1e-12)
    assert sparsity.uniform_alignment(3) == pytest.approx(1 / 2, rel=1e-12)


def test_unit_directions_survive_tiny_weights():
    unit = sparsity.unit_directions(torch.tensor([[3e-200, 4e-200], [0.0, 0.0]], dtype=torch.float64))
    assert unit.tolist() == [pytest.approx([0.6, 0.8]), [0.0, 0.0]]


def test_weighted_median_reaches_half_of_the_weight():
    values = torch.tensor([3.0, 1.0, math.nan, 2.0])
    assert sparsity.weighted_median(values, torch.tensor([1.0, 1.0, 9.0, 1.0])) == 2
    assert sparsity.weighted_median(values, torch.tensor([5.0, 1.0, 9.0, 1.0])) == 3
    assert sparsity.weighted_median(values, torch.tensor([0.0, 1.0, 9.0, 1.0])) == 1
    assert math.isnan(sparsity.weighted_median(values, torch.tensor([0.0, 0.0, 1.0, 0.0])))


def test_arguments_are_checked():
    theta = torch.eye(3)
    with pytest.raises(ArgumentError, match="theta must hold at least two neurons, got 1"):
        sparsity.nearest_angles_deg(theta[:1])
    with pytest.raises(ArgumentError, match="theta must be finite"):
        sparsity.nearest_angles_deg(theta / 0)
    with pytest.raises(ArgumentError, match=r"angle_deg must lie in \[0, 180\]"):
        sparsity.cap_share(torch.tensor([-1.0]), 3)
    with pytest.raises(ArgumentError, match="dimension must be at least 1, got 0"):
        sparsity.cap_share(torch.tensor([1.0]), 0)
    with pytest.raises(
        ArgumentError, match=r"neurons must be at least 2, got 1\. One neuron has no neighbour"
    ):
        sparsity.uniform_nearest_angle_deg(1, 3)
    with pytest.raises(ArgumentError, match="quantile must lie strictly between 0 and 1, got 1"):
        sparsity.uniform_nearest_angle_deg(3, 3, quantile=1)
    with pytest.raises(ArgumentError, match="target must be a matrix of 3 columns"):
        sparsity.alignment(theta, torch.ones(2))
    with pytest.raises(DegenerateError, match="target is zero and has no direction"):
        sparsity.alignment(theta, torch.zeros(3))
    with pytest.raises(DegenerateError, match="zero mass"):
        sparsity.principal_share(torch.zeros(3, 2))
    with pytest.raises(ArgumentError, match=r"masses must have shape \(3,\)"):
        sparsity.principal_share(theta, masses=torch.ones(2))
