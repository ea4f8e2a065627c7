import math

import pytest
import torch

from diffstab.errors import ArgumentError, DegenerateError
from diffstab.nets import FCN
from diffstab.sparsity import SparsityReport, sparsity_intervals, sparsity_report, sparsity_to_record

RECORD = {"n_atoms", "effective_neurons", "entropy_neurons", "stable_rank", "dead_share", "nearest_angle_deg"}


def test_report_of_seven_known_atoms(seven_atoms):
    layer, labels = seven_atoms
    report = sparsity_report(*layer, share=1.0)
    sizes = torch.bincount(labels).tolist()
    assert report.n_atoms == report.n_patterns == report.n_direction_atoms == 7
    assert report.effective_atoms == pytest.approx(28**2 / 140, rel=1e-9)
    # Atom k + 1 is shared equally by its copies.
    squares = math.fsum((k + 1) ** 2 / size for k, size in enumerate(sizes))
    assert report.effective_neurons == pytest.approx(28**2 / squares, rel=1e-9)
    assert report.nearest_angle_deg == pytest.approx(0, abs=1e-5)
    assert report.stable_rank <= 7
    assert report.dead_share == 0


def test_report_of_a_gaussian_net(random_layer):
    report = sparsity_report(*random_layer(400, 50, 100), share=1.0)
    assert report.n_atoms == report.n_patterns == report.n_direction_atoms == 400
    assert report.nearest_angle_deg == pytest.approx(report.uniform_nearest_angle_deg, abs=1.0)
    assert report.effective_atoms == pytest.approx(report.effective_neurons, rel=1e-12)
    assert report.principal_share < 3 / 50


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_report_of_a_hidden_layer(generator, dtype):
    net = FCN(6, (30, 20), out_features=3, generator=generator, dtype=dtype)
    hidden = torch.randn(40, 30, generator=generator, dtype=dtype)
    report = sparsity_report(net.weights[1], net.weights[2], hidden)
    assert report.n_patterns == 20
    assert 1 <= report.effective_neurons <= report.entropy_neurons <= 20


def test_a_single_neuron_and_a_single_dimension(random_layer):
    report = sparsity_report(*random_layer(1, 3, 4))
    assert report.n_atoms == report.n_patterns == report.n_direction_atoms == 1
    assert math.isnan(report.nearest_angle_deg)
    assert math.isnan(report.uniform_nearest_angle_deg)
    line = sparsity_report(*random_layer(30, 1, 4))
    assert line.n_patterns == line.n_direction_atoms == 2
    assert line.stable_rank == pytest.approx(1)
    assert line.nearest_angle_deg == 0


def test_record_holds_every_field_under_its_prefix(random_layer):
    report = sparsity_report(*random_layer(20, 3, 4))
    record = sparsity_to_record(report, "init_")
    assert list(record) == [f"init_{name}" for name in SparsityReport._fields]
    assert all(type(value) is float for value in record.values())
    assert set(sparsity_to_record(report)) >= RECORD
    assert sparsity_to_record(report)["n_atoms"] == report.n_atoms


def test_intervals_are_those_of_resampled_layers(random_layer, generator):
    theta, weights_out, x = random_layer(80, 2, 2)
    state = generator.get_state()
    found = sparsity_intervals(theta, weights_out, x, resamples=50, confidence=0.8, generator=generator)
    generator.set_state(state)
    draws = torch.randint(80, (50, 80), generator=generator)
    reports = [sparsity_report(theta[drawn], weights_out[:, drawn], x) for drawn in draws]
    for name in ("effective_neurons", "entropy_neurons", "dead_share"):
        values = torch.tensor([getattr(report, name) for report in reports], dtype=torch.float64)
        ends = torch.quantile(values, torch.tensor([0.1, 0.9], dtype=torch.float64)).tolist()
        assert getattr(found, name) == pytest.approx(ends, rel=1e-9)
    angle = sparsity_report(theta, weights_out, x).nearest_angle_deg
    assert found.nearest_angle_deg[0] <= angle <= found.nearest_angle_deg[1]


def test_intervals_cover_the_share_of_dead_neurons(generator):
    # One point: the true share is 1/2. 200 layers at 90 %: binomial, four standard errors, the percentile
    # bootstrap of a share of 100 neurons being within 2 points of its nominal coverage.
    covered = 0
    for _ in range(200):
        theta = torch.randn(100, 2, generator=generator)
        weights_out = torch.randn(100, generator=generator)
        ends = sparsity_intervals(
            theta, weights_out, torch.ones(1, 2), resamples=100, confidence=0.9, generator=generator
        ).dead_share
        covered += ends[0] <= 0.5 <= ends[1]
    assert abs(covered / 200 - 0.9) < 0.02 + 4 * math.sqrt(0.09 / 200)


def test_intervals_of_one_neuron(random_layer, generator):
    found = sparsity_intervals(*random_layer(1, 3, 4), resamples=5, generator=generator)
    assert found.effective_neurons == (1, 1)
    assert all(map(math.isnan, found.nearest_angle_deg))


def test_arguments_are_checked(random_layer, generator):
    layer = random_layer(5, 3, 4)
    with pytest.raises(ArgumentError, match="resamples must be at least 1, got 0"):
        sparsity_intervals(*layer, resamples=0, generator=generator)
    with pytest.raises(ArgumentError, match="confidence must lie strictly between 0 and 1, got 1"):
        sparsity_intervals(*layer, confidence=1.0, generator=generator)
    with pytest.raises(DegenerateError, match="zero mass"):
        sparsity_report(layer.theta, 0 * layer.weights_out, layer.x)
    with pytest.raises(ArgumentError, match="theta must be finite"):
        sparsity_report(layer.theta * math.nan, layer.weights_out, layer.x)
    with pytest.raises(ArgumentError, match=r"share must lie in \(0, 1\], got 2"):
        sparsity_report(*layer, share=2)
