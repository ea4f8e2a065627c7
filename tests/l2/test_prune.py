"""Pruning keeps the function and never raises the norm."""

import dataclasses
from itertools import pairwise

import pytest
import torch

from diffstab.errors import ArgumentError
from diffstab.l2.network import apply, draw_weights, forward, squared_norm, weight_loss, widen
from diffstab.l2.problem import L2Problem
from diffstab.l2.prune import balance, groups_of, prune, shrink

PRECISE = {"rtol": 0, "atol": 1e-12}


def problem_of(generator, *, depth=3, bias=0.5, activation="relu", points=9, dtype=torch.float64):
    inputs = torch.randn(4, points, generator=generator, dtype=dtype)
    targets = torch.randn(2, points, generator=generator, dtype=dtype)
    return L2Problem(inputs, targets, depth=depth, bias=bias, activation=activation, penalty=0.01)


def visible_net(problem, width, generator):
    """Weights whose hidden neurons are all on at some point."""
    weights = draw_weights(problem, width, generator=generator)
    for z, weight in zip(forward(problem, weights)[:-1], weights, strict=False):
        weight[z.amax(1) <= 0] *= -1
        if z.amax(1).min() <= 0:
            return visible_net(problem, width, generator)
    return weights


def split(problem, weights, copies, generator):
    """Split every hidden neuron in copies, scaled in and out, that add up to it; shuffled."""
    for layer in range(problem.depth - 1):
        incoming, outgoing = weights[layer], weights[layer + 1]
        count = len(incoming)
        scale = torch.rand(copies, count, generator=generator, dtype=incoming.dtype) + 0.5
        shares = torch.rand(copies, count, generator=generator, dtype=incoming.dtype) + 0.1
        shares = shares / shares.sum(0) / scale
        order = torch.randperm(copies * count, generator=generator)
        rows = (scale[:, :, None] * incoming).flatten(0, 1)[order]
        columns = (shares[:, :, None] * outgoing[:, :count].T).flatten(0, 1)[order].T
        weights = [*weights]
        weights[layer] = rows
        weights[layer + 1] = torch.cat([columns, outgoing[:, count:]], dim=1)
    return weights


@pytest.mark.parametrize("activation", ["relu", "linear"])
@pytest.mark.parametrize("bias", [0.0, 0.5])
@pytest.mark.parametrize("depth", [2, 3, 4])
def test_split_neurons_are_joined_and_the_function_is_the_same_everywhere(depth, bias, activation, generator):
    problem = problem_of(generator, depth=depth, bias=bias, activation=activation)
    slim = visible_net(problem, 3, generator)
    wide = split(problem, slim, 3, generator)
    pruned = prune(problem, wide, angle_deg=1e-3)
    assert pruned.widths == (3,) * (depth - 1)
    assert pruned.max_change < 1e-12
    elsewhere = 5 * torch.randn(4, 50, generator=generator, dtype=torch.float64)
    size = float(apply(problem, slim, elsewhere).abs().max())
    for before in (slim, wide):
        difference = apply(problem, pruned.weights, elsewhere) - apply(problem, before, elsewhere)
        assert difference.abs().max() < 1e-13 * max(size, 1) * 100
        assert pruned.norm_after <= float(squared_norm(before)) * (1 + 1e-14)
    assert pruned.norm_before == pytest.approx(float(squared_norm(wide)), rel=1e-15)
    assert pruned.norm_after == pytest.approx(float(squared_norm(pruned.weights)), rel=1e-15)


def test_groups_are_those_of_pairwise_angles(generator):
    problem = problem_of(generator, depth=3)
    wide = split(problem, visible_net(problem, 3, generator), 3, generator)
    unit = wide[0] / wide[0].norm(dim=1, keepdim=True)
    expected = {frozenset(j for j in range(9) if unit[i] @ unit[j] > 1 - 1e-10) for i in range(9)}
    groups = prune(problem, wide).groups[0]
    assert {frozenset(group) for group in groups} == expected
    masses = wide[0].norm(dim=1) * wide[1][:, :9].norm(dim=0)
    assert all(masses[group[0]] == masses[group].max() for group in groups)
    assert groups_of(problem, wide) == (3, 3)


def test_convention_merged_neuron_is_balanced(generator):
    problem = problem_of(generator, depth=2)
    direction = torch.tensor([0.6, 0.0, 0.0, 0.0, 0.8], dtype=torch.float64)
    factors, out = (
        torch.tensor([0.5, 2.0], dtype=torch.float64),
        torch.randn(2, 2, generator=generator, dtype=torch.float64),
    )
    bias = torch.ones(2, 1, dtype=torch.float64)
    weights = [factors[:, None] * direction, torch.cat([out, bias], dim=1)]
    pruned = prune(problem, weights)
    strength = (out @ factors).norm()
    torch.testing.assert_close(pruned.weights[0], strength.sqrt() * direction[None], **PRECISE)
    torch.testing.assert_close(pruned.weights[1][:, 0].norm(), strength.sqrt(), **PRECISE)
    torch.testing.assert_close(pruned.weights[1][:, 1:], bias, **PRECISE)
    assert pruned.norm_after == pytest.approx(float(2 * strength + 2), rel=1e-14)


def test_dead_neurons_go_and_the_loss_stays(generator):
    problem = problem_of(generator, depth=4)
    slim = visible_net(problem, 3, generator)
    padded = widen(problem, slim, [5, 4, 7])
    padded[0][3] = 1.0  # in-weights without out-weights
    padded[2][:, 3] = 1.0  # out-weights of a neuron of zero in-weights
    pruned = prune(problem, padded)
    assert pruned.widths == (3, 3, 3)
    assert weight_loss(problem, pruned.weights) <= weight_loss(problem, slim)
    torch.testing.assert_close(forward(problem, pruned.weights)[-1], forward(problem, slim)[-1], **PRECISE)


def test_neuron_off_at_all_training_points_goes_and_only_elsewhere_is_it_missed(generator):
    problem = problem_of(generator, depth=2, bias=0.0)
    problem = dataclasses.replace(problem, inputs=problem.inputs.abs())
    weights = [torch.tensor([[1.0] * 4, [-1.0] * 4]).double(), torch.ones(2, 2).double()]
    pruned = prune(problem, weights)
    assert pruned.groups == [[[0]]]
    assert pruned.max_change < 1e-14
    assert (apply(problem, pruned.weights, -problem.inputs) == 0).all()
    assert (apply(problem, weights, -problem.inputs) > 0).all()


def test_neuron_that_reaches_only_dead_ones_goes(generator):
    problem = problem_of(generator, depth=3, bias=0.0)
    problem = dataclasses.replace(problem, inputs=problem.inputs.abs())
    weights = [weight.abs() for weight in draw_weights(problem, 3, generator=generator)]
    weights[2][:, 0] = 0  # the first neuron of layer 2 is dead ...
    weights[1][1:, 0] = 0  # ... and the only one that the first neuron of layer 1 reaches
    pruned = prune(problem, weights)
    assert pruned.widths == (2, 2)
    assert pruned.max_change < 1e-12


def test_layer_of_dead_neurons_keeps_one_of_zero_weights(generator):
    problem = problem_of(generator, depth=3)
    weights = visible_net(problem, 3, generator)
    weights[2][:, :3] = 0
    pruned = prune(problem, weights)
    assert pruned.widths == (1, 1)
    assert pruned.groups == [[], []]
    assert groups_of(problem, weights) == (0, 0)
    assert pruned.weights[0].abs().sum() == pruned.weights[1].abs().sum() == 0
    torch.testing.assert_close(forward(problem, pruned.weights)[-1], forward(problem, weights)[-1])
    zeros = [torch.zeros_like(weight) for weight in weights]
    assert prune(problem, zeros).widths == (1, 1)


def test_group_whose_out_weights_cancel_goes(generator):
    problem = problem_of(generator, depth=2, bias=0.0)
    row = problem.inputs[:, 0]
    weights = [torch.stack([row, 3 * row]), torch.tensor([[3.0, -1.0], [-1.5, 0.5]]).double()]
    pruned = prune(problem, weights)
    assert pruned.groups == [[]]
    assert pruned.norm_after == 0
    assert pruned.max_change < 1e-12


@pytest.mark.parametrize(("angle_deg", "count"), [(0.5, 2), (2.0, 1)])
def test_neurons_are_joined_within_the_angle_only(angle_deg, count, generator):
    problem = problem_of(generator, depth=2, bias=0.0)
    angle = torch.tensor(1.0, dtype=torch.float64).deg2rad()
    rows = torch.zeros(2, 4, dtype=torch.float64)
    rows[0, 0], rows[1, 0], rows[1, 1] = 1, angle.cos(), angle.sin()
    weights = [rows, torch.eye(2, dtype=torch.float64)]
    pruned = prune(problem, weights, angle_deg=angle_deg)
    assert groups_of(problem, weights, angle_deg=angle_deg) == (count,)
    largest = problem.inputs.norm(dim=0).max()
    assert pruned.max_change <= 2 * largest * 2 * (angle / 4).sin() * (1 + 1e-9)
    assert (pruned.max_change > 1e-6) == (count == 1)
    assert pruned.norm_after <= pruned.norm_before


def test_norm_never_grows_however_wide_the_angle(generator):
    for depth in (2, 3, 4):
        problem = problem_of(generator, depth=depth)
        weights = draw_weights(problem, 12, generator=generator)
        for angle_deg in (1.0, 30.0, 60.0, 89.0):
            pruned = prune(problem, weights, angle_deg=angle_deg)
            assert pruned.norm_after <= pruned.norm_before * (1 + 1e-14)


def test_opposite_neurons_are_one_where_the_activation_is_linear_only(generator):
    weights = [
        torch.tensor([[1.0, 0, 0, 0], [-2.0, 0, 0, 0]]).double(),
        torch.tensor([[1.0, 1], [0, 1]]).double(),
    ]
    linear = problem_of(generator, depth=2, bias=0.0, activation="linear")
    assert groups_of(linear, weights) == (1,)
    assert prune(linear, weights).max_change < 1e-14
    assert groups_of(dataclasses.replace(linear, activation="relu"), weights) == (2,)


@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_shrink_joins_the_closest_first(activation, generator):
    problem = problem_of(generator, depth=2, bias=0.0, activation=activation)
    angles = torch.tensor([0.0, 40.0, 44.0, 85.0], dtype=torch.float64).deg2rad()
    rows = torch.zeros(4, 4, dtype=torch.float64)
    rows[:, 0], rows[:, 1] = angles.cos(), angles.sin()
    weights = [rows, torch.eye(4, dtype=torch.float64)[:2] + 1]
    shrunk = shrink(problem, weights, 3)
    found = torch.atan2(shrunk[0][:, 1], shrunk[0][:, 0]).rad2deg().sort().values
    torch.testing.assert_close(found, torch.tensor([0.0, 42.0, 85.0]).double(), rtol=0, atol=0.5)
    assert [len(shrink(problem, weights, width)[0]) for width in (1, 2, 4, 9)] == [1, 2, 4, 4]


def test_shrink_to_the_groups_keeps_the_function_and_never_raises_the_norm(generator):
    problem = problem_of(generator, depth=4)
    slim = visible_net(problem, 3, generator)
    wide = split(problem, slim, 3, generator)
    shrunk = shrink(problem, wide, [5, 3, 4])
    assert [len(weight) for weight in shrunk] == [3, 3, 3, 2]
    torch.testing.assert_close(forward(problem, shrunk)[-1], forward(problem, slim)[-1], **PRECISE)
    weights = draw_weights(problem, 12, generator=generator)
    for width in range(12, 0, -1):
        shrunk = shrink(problem, weights, width)
        assert max(len(weight) for weight in shrunk[:-1]) <= width
        assert squared_norm(shrunk) <= squared_norm(weights)


def test_shrink_drops_the_lighter_of_two_opposite_relu_neurons(generator):
    problem = problem_of(generator, depth=2, bias=0.0)
    row = problem.inputs[:, :1].T
    weights = [torch.cat([2 * row, -row]), torch.ones(2, 2, dtype=torch.float64)]
    expected = prune(problem, [weights[0][:1], weights[1][:, :1]]).weights
    for one, other in zip(shrink(problem, weights, 1), expected, strict=True):
        torch.testing.assert_close(one, other)


def test_shrink_refuses_widths_that_do_not_fit(generator):
    problem = problem_of(generator, depth=3)
    weights = draw_weights(problem, 4, generator=generator)
    for hidden in (0, [3], [3, 0]):
        with pytest.raises(ArgumentError, match="widths must be 2 numbers of at least 1"):
            shrink(problem, weights, hidden)


def test_balance_gives_the_least_norm_under_scaling(generator):
    problem = problem_of(generator, depth=4)
    weights = visible_net(problem, 3, generator)
    found = balance(problem, weights)
    for lower, upper in pairwise(found):
        torch.testing.assert_close(lower.norm(dim=1), upper[:, : len(lower)].norm(dim=0), rtol=1e-6, atol=0)
    torch.testing.assert_close(forward(problem, found)[-1], forward(problem, weights)[-1], **PRECISE)
    for _ in range(20):
        moved = [weight.clone() for weight in found]
        for layer in range(3):
            scale = 1 + 0.1 * torch.rand(3, generator=generator, dtype=torch.float64)
            moved[layer] *= scale[:, None]
            moved[layer + 1][:, :3] /= scale
        assert squared_norm(moved) > squared_norm(found)


def test_one_neuron_one_point_and_single_precision(generator):
    problem = problem_of(generator, depth=2, points=1, dtype=torch.float32)
    weights = [torch.ones(1, 5), torch.ones(2, 2)]
    if forward(problem, weights)[0].max() <= 0:
        weights[0] *= -1
    pruned = prune(problem, weights)
    assert pruned.widths == (1,)
    assert pruned.weights[0].dtype == torch.float32
    assert pruned.max_change < 1e-5
    assert pruned.norm_after <= pruned.norm_before * (1 + 1e-6)


def test_given_weights_stay(generator):
    problem = problem_of(generator, depth=3)
    weights = split(problem, visible_net(problem, 3, generator), 2, generator)
    copies = [weight.clone() for weight in weights]
    prune(problem, weights)
    shrink(problem, weights, 2)
    balance(problem, weights)
    assert all(torch.equal(one, other) for one, other in zip(weights, copies, strict=True))


def test_depth_one_has_nothing_to_prune(generator):
    problem = problem_of(generator, depth=1)
    weights = draw_weights(problem, [], generator=generator)
    pruned = prune(problem, weights)
    assert pruned.widths == ()
    assert torch.equal(pruned.weights[0], weights[0])


def test_softplus_is_refused(generator):
    problem = problem_of(generator, depth=2, activation="softplus")
    weights = draw_weights(problem, 3, generator=generator)
    for call in (prune, groups_of, balance, lambda *given: shrink(*given, 2)):
        with pytest.raises(ArgumentError, match="activation must be relu or linear to scale neurons"):
            call(problem, weights)


def test_several_nets_and_bad_weights_are_refused(generator):
    problem = problem_of(generator, depth=2)
    with pytest.raises(ArgumentError, match=r"weights must be those of one net, got leading shape \(2,\)"):
        prune(problem, draw_weights(problem, 3, generator=generator, nets=2))
    weights = draw_weights(problem, 3, generator=generator)
    weights[1][0, 0] = torch.nan
    with pytest.raises(ArgumentError, match=r"weights\[1\] must be finite"):
        prune(problem, weights)
    with pytest.raises(ArgumentError, match=r"weights must be 2 matrices"):
        prune(problem, weights[:1])


@pytest.mark.parametrize("angle_deg", [0.0, -1.0, 90.0, float("nan")])
def test_angle_out_of_range_is_refused(angle_deg, generator):
    problem = problem_of(generator, depth=2)
    with pytest.raises(ArgumentError, match=r"angle_deg must lie in \[1e-5, 90\)"):
        prune(problem, draw_weights(problem, 2, generator=generator), angle_deg=angle_deg)


@pytest.mark.parametrize("dead", [-0.1, 1.0, float("nan")])
def test_threshold_out_of_range_is_refused(dead, generator):
    problem = problem_of(generator, depth=2)
    with pytest.raises(ArgumentError, match=r"dead must lie in \[0, 1\)"):
        prune(problem, draw_weights(problem, 2, generator=generator), dead=dead)
