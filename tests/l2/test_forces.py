import pytest
import torch

from diffstab.errors import ArgumentError
from diffstab.l2.descent import DescentSettings, train_widths
from diffstab.l2.forces import Forces, constrained_forces, forces
from diffstab.l2.inverse import Inverse
from diffstab.l2.network import draw_weights, forward
from diffstab.l2.problem import L2Problem
from diffstab.l2.representations import project, representation_loss
from tests.references.l2_forces import derivative_along_constraint, loss_by_inverses


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def problem(*, points=4, inputs=6, depth=2, bias=0.0, cost="mse", penalty=0.1, activation="relu"):
    targets = normal(2, points, seed=1) if cost == "mse" else torch.arange(points) % 3
    classes = None if cost == "mse" else 3
    options = {"penalty": penalty, "depth": depth, "bias": bias, "activation": activation, "classes": classes}
    return L2Problem(normal(inputs, points), targets, cost=cost, **options)


def drawn(of, width, seed=2):
    return forward(of, draw_weights(of, width, generator=torch.Generator().manual_seed(seed)))


def product(left, right):
    return float((left * right).sum())


@pytest.mark.parametrize("cost", ["mse", "cross_entropy"])
@pytest.mark.parametrize("bias", [0.0, 0.7])
@pytest.mark.parametrize("depth", [2, 3, 4])
def test_wide_layers_have_the_gradient_of_the_loss(depth, bias, cost):
    # With at least as many live neurons as points no constraint binds: any Z has a gradient.
    given = problem(depth=depth, bias=bias, cost=cost)
    layers = [z.requires_grad_() for z in drawn(given, 40)]
    gradients = torch.autograd.grad(loss_by_inverses(given, layers), layers)
    layers = [z.detach() for z in layers]
    found = forces(given, layers)
    constrained = constrained_forces(given, layers, kink=0.0)
    for index, gradient in enumerate(gradients):
        for each in (found[index], constrained[index]):
            total = each.attraction + each.repulsion
            torch.testing.assert_close(total, gradient, rtol=1e-7, atol=1e-9)
    assert float(representation_loss(given, layers)) == pytest.approx(float(loss_by_inverses(given, layers)))


def test_wide_layers_against_finite_differences():
    given = problem(depth=3, bias=0.7)
    layers = drawn(given, 40)
    for index, force in enumerate(forces(given, layers)):
        change = normal(*layers[index].shape, seed=7 + index)
        ends = []
        for step in (1e-6, -1e-6):
            moved = [z + step * change if place == index else z for place, z in enumerate(layers)]
            ends.append(float(representation_loss(given, moved)))
        expected = (ends[0] - ends[1]) / 2e-6
        assert product(force.attraction + force.repulsion, change) == pytest.approx(
            expected, rel=1e-5, abs=1e-8
        )


@pytest.mark.parametrize("bias", [0.0, 0.7])
@pytest.mark.parametrize("depth", [2, 3, 4])
def test_narrow_layers_have_the_derivative_along_the_constraint(depth, bias):
    given = problem(points=7, inputs=3, depth=depth, bias=bias)
    layers = drawn(given, 4)
    for index, force in enumerate(constrained_forces(given, layers, kink=0.0)):
        change = normal(*layers[index].shape, seed=7 + index)
        expected, along = derivative_along_constraint(given, layers, index, change)
        assert product(force.attraction + force.repulsion, along) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("depth", [2, 3])
def test_aligned_neurons_leave_the_derivative_along_the_constraint(depth):
    given = problem(points=7, inputs=3, depth=depth, bias=0.7)
    weights = draw_weights(given, 4, generator=torch.Generator().manual_seed(2))
    weights[0][1] = 2 * weights[0][0]
    layers = project(given, forward(given, weights))
    change = normal(*layers[0].shape, seed=7)
    # What keeps the two neurons on one ray keeps the rank.
    change[1] = 2 * change[0]
    force = constrained_forces(given, layers, kink=0.0)[0]
    expected, along = derivative_along_constraint(given, layers, 0, change)
    assert product(force.attraction + force.repulsion, along) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("of", [forces, lambda *args: constrained_forces(*args, kink=0.0)])
def test_aligned_neurons_have_aligned_forces(of):
    given = problem(points=7, inputs=3, depth=3, bias=0.7)
    weights = draw_weights(given, 5, generator=torch.Generator().manual_seed(2))
    weights[0][1] = 2.5 * weights[0][0]
    found = of(given, forward(given, weights))[0]
    for part in found:
        assert part[0].norm() > 0
        torch.testing.assert_close(part[1], 2.5 * part[0], rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("depth", [2, 3])
@pytest.mark.parametrize("activation", ["relu", "softplus"])
def test_tikhonov_forces_are_the_gradient_of_the_tikhonov_loss(activation, depth):
    given = problem(points=7, inputs=3, depth=depth, bias=0.5, activation=activation)
    inverse = Inverse(tikhonov=0.1)
    layers = [z.requires_grad_() for z in drawn(given, 4)]
    gradients = torch.autograd.grad(representation_loss(given, layers, inverse=inverse), layers)
    found = forces(given, [z.detach() for z in layers], inverse=inverse)
    for force, gradient in zip(found, gradients, strict=True):
        torch.testing.assert_close(force.attraction + force.repulsion, gradient, rtol=1e-9, atol=1e-11)


def test_forces_of_one_neuron_at_one_point():
    given = L2Problem(torch.tensor([[2.0]]).double(), torch.tensor([[3.0]]).double(), penalty=0.1)
    first, last = forces(given, [torch.tensor([[1.5]]).double(), torch.tensor([[2.5]]).double()])
    # |z_1|^2 / x^2 and |z_2|^2 / z_1^2.
    assert float(first.attraction) == pytest.approx(2 * 0.1 * 1.5 / 4)
    assert float(first.repulsion) == pytest.approx(-2 * 0.1 * 2.5**2 / 1.5**3)
    assert float(last.attraction) == pytest.approx(2 * 0.1 * 2.5 / 1.5**2)
    assert float(last.repulsion) == pytest.approx(2.5 - 3)


def test_convention_attraction_points_away_from_the_origin_as_a_gradient_does():
    given = problem(depth=3, bias=0.7)
    layers = drawn(given, 5)
    assert all(
        product(z, force.attraction) > 0 for z, force in zip(layers, forces(given, layers), strict=True)
    )


def test_without_penalty_hidden_layers_feel_nothing_of_it():
    given = problem(depth=3, penalty=0.0)
    first, second, last = forces(given, drawn(given, 5))
    assert all(not part.any() for force in (first, second) for part in force)
    assert float(first.imbalance) == 0
    assert float(last.imbalance) == 1


@pytest.mark.parametrize(("activation", "smallest"), [("softplus", 1e-4), ("relu", 2e-2)])
def test_forces_cancel_at_a_stationary_point(activation, smallest):
    given = problem(points=8, inputs=4, depth=3, bias=1.0, penalty=0.01, activation=activation)
    settings = DescentSettings(adam_steps=1000, finish_steps=2000, tolerance=1e-9)
    (net,) = train_widths(given, [3], restarts=1, seed=0, settings=settings)
    inverse = Inverse(tolerance=1e-3)
    start = draw_weights(given, 3, generator=torch.Generator().manual_seed(0))
    before, after = (
        [float(force.imbalance) for force in constrained_forces(given, layers, inverse=inverse)]
        for layers in (
            project(given, forward(given, weights), inverse=inverse) for weights in (start, net.weights)
        )
    )
    assert max(after) < smallest
    assert min(before) > 10 * smallest


def test_imbalance_lies_between_cancelled_and_one_sided():
    force = normal(2, 3, 4)
    assert Forces(force, -force).imbalance.tolist() == [0, 0]
    torch.testing.assert_close(Forces(force, 3 * force).imbalance, torch.ones(2).double())
    assert Forces(0 * force, 0 * force).imbalance.tolist() == [0, 0]
    assert Forces(force, -3 * force).imbalance.tolist() == pytest.approx([0.5, 0.5])


def test_nets_side_by_side_have_their_own_forces():
    given = problem(depth=3, bias=0.7)
    nets = draw_weights(given, 5, generator=torch.Generator().manual_seed(2), nets=2)
    layers = forward(given, nets)
    for index in range(2):
        alone = forces(given, [z[index] for z in layers])
        for force, single in zip(forces(given, layers), alone, strict=True):
            torch.testing.assert_close(force.repulsion[index], single.repulsion)


@pytest.mark.parametrize("of", [forces, constrained_forces])
def test_layers_that_do_not_fit_are_refused(of):
    given = problem(depth=3)
    with pytest.raises(ArgumentError, match="representations must be 3 matrices"):
        of(given, drawn(given, 5)[:2])
    with pytest.raises(ArgumentError, match="have 4 columns"):
        of(given, [z[:, :3] for z in drawn(given, 5)])
