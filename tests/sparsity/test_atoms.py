import math

import pytest
import torch

from diffstab.errors import ArgumentError
from diffstab.sparsity import (
    activation_atoms,
    atoms,
    dead_neurons,
    dead_share,
    direction_atoms,
    mass,
    number_above,
    number_carrying,
    participation_ratio,
)
from tests.references.sparsity import atoms_by_loops, dead_by_loops, leaders_by_loops


def as_sets(labels):
    return {frozenset(torch.nonzero(labels == k).flatten().tolist()) for k in labels.unique()}


@pytest.mark.parametrize(("dimension", "points"), [(1, 5), (2, 3), (3, 9), (10, 1)])
@pytest.mark.parametrize("entries", [1, 2**22])
def test_activation_atoms_are_those_of_the_loops(random_layer, monkeypatch, dimension, points, entries):
    monkeypatch.setattr(atoms, "_BLOCK_ENTRIES", entries)
    theta, weights_out, x = random_layer(40, dimension, points)
    masses = mass(theta, weights_out)
    found = activation_atoms(theta, x, masses=masses)
    groups, totals = atoms_by_loops(theta.tolist(), x.tolist(), masses.tolist())
    assert as_sets(found.labels) == set(map(frozenset, groups.values()))
    assert found.masses.tolist() == pytest.approx(totals, rel=1e-12)


@pytest.mark.parametrize("angle", [0.5, 20.0, 80.0])
@pytest.mark.parametrize("entries", [1, 2**22])
def test_direction_atoms_are_those_of_the_loops(random_layer, monkeypatch, angle, entries):
    monkeypatch.setattr(atoms, "_BLOCK_ENTRIES", entries)
    theta, weights_out, _ = random_layer(40, 2, 1)
    masses = mass(theta, weights_out)
    found = direction_atoms(theta, angle_deg=angle, masses=masses)
    groups = leaders_by_loops(theta.tolist(), masses.tolist(), angle)
    assert as_sets(found.labels) == set(map(frozenset, groups))
    totals = sorted((float(masses[group].sum()) for group in groups), reverse=True)
    assert found.masses.tolist() == pytest.approx(totals, rel=1e-12)


@pytest.mark.parametrize("noise", [0.0, 1e-7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("grouping", ["activation", "direction"])
def test_copies_of_seven_directions_are_seven_atoms(seven_atoms, generator, grouping, dtype, noise):
    layer, labels = seven_atoms
    theta = layer.theta + noise * torch.randn(layer.theta.shape, generator=generator, dtype=torch.float64)
    theta, masses = theta.to(dtype), mass(theta, layer.weights_out)
    if grouping == "activation":
        found = activation_atoms(theta, layer.x.to(dtype), masses=masses)
    else:
        found = direction_atoms(theta, angle_deg=0.1, masses=masses)
    assert (
        found.labels.tolist() == (6 - labels).tolist()
    )  # atom k has mass k + 1, and the heaviest comes first
    assert found.masses.tolist() == pytest.approx([7, 6, 5, 4, 3, 2, 1], rel=1e-4)
    assert number_carrying(found.masses) == number_above(found.masses) == 7
    assert participation_ratio(found.masses) == pytest.approx(28**2 / 140, rel=1e-4)


def test_every_neuron_of_a_gaussian_net_is_an_atom(random_layer):
    # 500 neurons in 50 dimensions on 100 points: two agree on all signs with probability about 5e5 / 2^100.
    theta, _, x = random_layer(500, 50, 100)
    assert len(activation_atoms(theta, x).masses) == 500
    assert len(direction_atoms(theta).masses) == 500


def test_number_of_patterns_in_the_plane_is_that_of_the_arcs(random_layer):
    # n lines through the origin cut the circle in 2 n arcs; 20000 directions find all but the smallest.
    theta, _, x = random_layer(20_000, 2, 8)
    assert len(activation_atoms(theta, x).masses) == 16


def test_convention_the_sign_of_the_outgoing_weight_does_not_separate_atoms(random_layer):
    theta, weights_out, x = random_layer(1, 3, 4)
    twice, signed = theta.repeat(2, 1), torch.cat([weights_out, -weights_out], dim=1)
    found = activation_atoms(twice, x, masses=mass(twice, signed))
    assert found.labels.tolist() == [0, 0]
    assert found.masses.tolist() == pytest.approx([2 * float(mass(theta, weights_out)[0])])


def test_convention_opposite_neurons_are_different_atoms(random_layer):
    theta, _, x = random_layer(1, 3, 4)
    both = torch.cat([theta, -theta])
    assert len(activation_atoms(both, x).masses) == len(direction_atoms(both).masses) == 2


def test_tolerance_joins_neurons_that_rounding_spreads_over_a_kink():
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    theta = torch.tensor([[1e-12, 1.0], [-1e-12, 1.0], [0.3, 1.0]], dtype=torch.float64)
    assert as_sets(activation_atoms(theta, x).labels) == {frozenset({0, 2}), frozenset({1})}
    assert as_sets(activation_atoms(theta, x, relative_tolerance=1e-9).labels) == {
        frozenset({0, 1}),
        frozenset({2}),
    }


def test_direction_atoms_do_not_chain():
    angles = torch.deg2rad(torch.tensor([0.0, 4.0, 8.0, 12.0], dtype=torch.float64))
    theta = torch.stack([angles.cos(), angles.sin()], dim=1)
    found = direction_atoms(theta, angle_deg=5.0, masses=torch.tensor([1.0, 9.0, 1.0, 1.0]))
    assert found.labels.tolist() == [0, 0, 0, 1]
    assert found.masses.tolist() == [11, 1]


def test_convention_first_neuron_leads_among_equals_and_zero_neurons_stand_alone():
    angles = torch.deg2rad(torch.tensor([0.0, 4.0, 8.0], dtype=torch.float64))
    theta = torch.stack([angles.cos(), angles.sin()], dim=1)
    assert as_sets(direction_atoms(theta).labels) == {frozenset({0, 1}), frozenset({2})}
    padded = torch.cat([theta, torch.zeros(2, 2)])
    assert len(direction_atoms(padded).masses) == 4


def test_order_of_neurons_does_not_matter(random_layer, generator):
    theta, weights_out, x = random_layer(200, 3, 6)
    masses, order = mass(theta, weights_out), torch.randperm(200, generator=generator)
    for group in (lambda t, m: activation_atoms(t, x, masses=m), lambda t, m: direction_atoms(t, masses=m)):
        straight, shuffled = group(theta, masses), group(theta[order], masses[order])
        assert shuffled.masses.tolist() == pytest.approx(straight.masses.tolist(), rel=1e-12)
        assert torch.equal(shuffled.labels, straight.labels[order])


@pytest.mark.parametrize("threshold", [0.0, 0.3])
def test_dead_neurons_are_those_of_the_loops(random_layer, threshold):
    theta, weights_out, x = random_layer(60, 2, 3)
    masses = mass(theta, weights_out)
    found = dead_neurons(theta, x, masses=masses, relative_threshold=threshold)
    expected = dead_by_loops(theta.tolist(), x.tolist(), masses.tolist(), threshold)
    assert found.tolist() == expected
    assert 0 < sum(expected) < 60
    assert dead_share(theta, x, masses=masses, relative_threshold=threshold) == sum(expected) / 60


def test_share_of_dead_neurons_at_initialisation_is_two_to_the_minus_n(random_layer):
    # On n orthogonal points the signs are independent: 2^-3, five standard errors of 20000 trials.
    theta, _, _ = random_layer(20_000, 10, 1)
    x = torch.eye(10, dtype=torch.float64)[:3]
    assert dead_share(theta, x) == pytest.approx(1 / 8, abs=5 * math.sqrt(7 / 64 / 20_000))


def test_arguments_stay_and_are_checked(random_layer):
    layer = random_layer(5, 3, 4)
    theta, _, x = layer
    copies = [part.clone() for part in layer]
    activation_atoms(theta, x)
    direction_atoms(theta)
    assert all(torch.equal(part, copy) for part, copy in zip(layer, copies, strict=True))
    with pytest.raises(
        ArgumentError, match=r"x must be a matrix of 3 columns, not empty, got shape \(4, 2\)"
    ):
        activation_atoms(theta, x[:, :2])
    with pytest.raises(ArgumentError, match=r"x must be of a floating type, got torch\.uint8"):
        dead_share(theta, x.to(torch.uint8))
    with pytest.raises(ArgumentError, match="theta must be finite"):
        activation_atoms(theta * math.nan, x)
    with pytest.raises(ArgumentError, match=r"masses must have shape \(5,\)"):
        direction_atoms(theta, masses=torch.ones(4))
    for angle in (0.0, 90.0):
        with pytest.raises(ArgumentError, match=r"angle_deg must lie in \[1e-5, 90\)"):
            direction_atoms(theta, angle_deg=angle)
    with pytest.raises(ArgumentError, match=r"relative_tolerance must lie in \[0, 1\), got 1"):
        activation_atoms(theta, x, relative_tolerance=1.0)
    with pytest.raises(ArgumentError, match=r"relative_threshold must lie in \[0, 1\), got -0.1"):
        dead_neurons(theta, x, relative_threshold=-0.1)
