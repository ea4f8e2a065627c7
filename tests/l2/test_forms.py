"""The three forms of the loss agree, their gradients are right, and maps between them lead back."""

import dataclasses

import numpy as np
import pytest
import torch

from diffstab.errors import ArgumentError
from diffstab.l2 import Inverse, L2Problem
from diffstab.l2.covariances import CovariancePair, covariance_loss, covariance_pair, covariances_of
from diffstab.l2.factorisation import factorise
from diffstab.l2.network import apply, draw_weights, forward, weight_gradient, weight_loss, widen
from diffstab.l2.representations import (
    constraint_violation,
    project,
    representation_cost_terms,
    representation_loss,
    weights_of,
)
from tests.references import l2_losses as reference

DEPTHS, BIASES = (2, 3, 4), (0.0, 0.7)


def problem_of(generator, *, cost="mse", points=6, features=5, outputs=3, **options):
    inputs = torch.randn(features, points, generator=generator, dtype=torch.float64)
    if cost == "mse":
        targets = torch.randn(outputs, points, generator=generator, dtype=torch.float64)
        return L2Problem(inputs, targets, penalty=0.03, **options)
    labels = torch.randint(outputs, (points,), generator=generator)
    return L2Problem(inputs, labels, cost=cost, classes=outputs, penalty=0.03, **options)


def settings_of(problem):
    return {
        "kind": problem.cost,
        "penalty": problem.penalty,
        "bias": problem.bias,
        "name": problem.activation,
    }


@pytest.mark.parametrize("cost", ["mse", "cross_entropy"])
@pytest.mark.parametrize("activation", ["relu", "linear"])
@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("depth", DEPTHS)
def test_the_three_losses_agree_at_matched_points(depth, bias, activation, cost, generator):
    problem = problem_of(generator, cost=cost, depth=depth, bias=bias, activation=activation)
    representations = forward(problem, draw_weights(problem, 4, generator=generator))
    weights = weights_of(problem, representations)
    matrices = [z.numpy() for z in representations]
    data, options = (problem.inputs.numpy(), problem.targets.numpy()), settings_of(problem)
    slow = reference.representation_loss(matrices, *data, **options)
    losses = {
        "weights": weight_loss(problem, weights),
        "weights, slowly": reference.weight_loss([w.numpy() for w in weights], *data, **options),
        "representations": representation_loss(problem, representations),
        "covariances": covariance_loss(
            problem, covariances_of(problem, representations), representations[-1]
        ),
        "covariances, slowly": reference.covariance_loss(matrices, *data, **options),
    }
    for name, loss in losses.items():
        assert float(loss) == pytest.approx(slow, rel=1e-8), name


@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("depth", DEPTHS)
def test_weights_and_representations_lead_back_to_each_other(depth, bias, generator):
    problem = problem_of(generator, depth=depth, bias=bias)
    weights = draw_weights(problem, 4, generator=generator)
    representations = forward(problem, weights)
    least = weights_of(problem, representations)
    for again, z in zip(forward(problem, least), representations, strict=True):
        torch.testing.assert_close(again, z, rtol=0, atol=1e-9)
    # The weights of least norm differ from the drawn ones by a part that the points do not see.
    assert sum((w**2).sum() for w in least) <= sum((w**2).sum() for w in weights) * (1 + 1e-12)


def test_wide_nets_lose_the_part_of_the_weights_that_no_point_sees(generator):
    problem = problem_of(generator, features=9, points=4)
    weights = draw_weights(problem, 7, generator=generator)
    representations = forward(problem, weights)
    assert float(representation_loss(problem, representations)) < float(weight_loss(problem, weights)) - 1e-3
    torch.testing.assert_close(
        forward(problem, weights_of(problem, representations))[-1], representations[-1]
    )


@pytest.mark.parametrize("cost", ["mse", "cross_entropy"])
@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("activation", ["relu", "linear", "softplus"])
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_gradient_in_the_weights_is_that_of_finite_differences(depth, activation, bias, cost, generator):
    problem = problem_of(generator, cost=cost, depth=depth, bias=bias, activation=activation)
    weights = draw_weights(problem, 4, generator=generator)
    value, loss, gradients = weight_gradient(problem, weights)
    assert float(loss) == pytest.approx(float(weight_loss(problem, weights)), rel=1e-13)
    assert float(value) == pytest.approx(float(problem.cost_of(forward(problem, weights)[-1])), rel=1e-13)
    for layer, gradient in enumerate(gradients):
        move = torch.randn(gradient.shape, generator=generator, dtype=torch.float64)
        change = []
        for sign in (1, -1):
            moved = list(weights)
            moved[layer] = weights[layer] + sign * 1e-6 * move
            change.append(float(weight_loss(problem, moved)))
        assert (change[0] - change[1]) / 2e-6 == pytest.approx(
            float((gradient * move).sum()), rel=1e-6, abs=1e-8
        )


def test_gradient_of_many_nets_is_that_of_each(generator):
    problem = problem_of(generator, depth=3, bias=0.5)
    weights = draw_weights(problem, (4, 3), generator=generator, nets=5)
    shift = torch.randn(5, 3, 6, generator=generator, dtype=torch.float64)
    together = weight_gradient(problem, weights, shift=shift)
    for net in range(5):
        alone = weight_gradient(problem, [weight[net] for weight in weights], shift=shift[net])
        torch.testing.assert_close(together[1][net], alone[1])
        for many, one in zip(together[2], alone[2], strict=True):
            torch.testing.assert_close(many[net], one)


@pytest.mark.parametrize("bias", BIASES)
def test_dead_neurons_change_nothing(bias, generator):
    problem = problem_of(generator, depth=3, bias=bias)
    weights = draw_weights(problem, 3, generator=generator)
    wide = widen(problem, weights, (5, 8))
    assert [weight.shape[0] for weight in wide] == [5, 8, 3]
    others = torch.randn(5, 20, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(apply(problem, wide, others), apply(problem, weights, others))
    assert float(weight_loss(problem, wide)) == pytest.approx(float(weight_loss(problem, weights)), rel=1e-14)
    gradients = weight_gradient(problem, wide)[2]
    assert gradients[0][3:].abs().max() == 0
    assert gradients[1][3:].abs().max() == 0
    narrow, broad = forward(problem, weights), forward(problem, wide)
    assert float(representation_loss(problem, broad)) == pytest.approx(
        float(representation_loss(problem, narrow)), rel=1e-9
    )
    for one, other in zip(covariances_of(problem, narrow), covariances_of(problem, broad), strict=True):
        torch.testing.assert_close(one.preactivations, other.preactivations)
        torch.testing.assert_close(one.activations, other.activations)


def test_convention_columns_are_points_and_the_bias_is_the_last_column():
    inputs = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    problem = L2Problem(inputs, torch.zeros(1, 2, dtype=torch.float64), bias=0.5, penalty=2.0)
    weights = [torch.tensor([[3.0, 4.0]]).double(), torch.tensor([[1.0, -2.0]]).double()]
    first, outputs = forward(problem, weights)
    assert first.tolist() == [[5.0, 8.0]]
    assert outputs.tolist() == [[4.0, 7.0]]
    assert float(weight_loss(problem, weights)) == pytest.approx((16 + 49) / 4 + 2 * (9 + 16 + 1 + 4))


def test_convention_covariances_contain_the_bias():
    problem = L2Problem(torch.eye(2).double(), torch.zeros(1, 2).double(), bias=2.0)
    pair = covariance_pair(problem, torch.tensor([[1.0, -1.0]]).double())
    assert pair.preactivations.tolist() == [[1, -1], [-1, 1]]
    assert pair.activations.tolist() == [[5, 4], [4, 4]]


def test_projection_meets_the_constraints_and_keeps_what_meets_them(generator):
    problem = problem_of(generator, depth=3, features=3)
    free = [torch.randn(n, 6, generator=generator, dtype=torch.float64) for n in (2, 4, 3)]
    assert float(constraint_violation(problem, free).min()) > 0.1
    projected = project(problem, free)
    assert float(constraint_violation(problem, projected).max()) < 1e-12
    for once, twice in zip(projected, project(problem, projected), strict=True):
        torch.testing.assert_close(once, twice, rtol=0, atol=1e-10)


def test_a_violated_constraint_is_refused(generator):
    problem = problem_of(generator, depth=2, features=3)
    free = [torch.randn(n, 6, generator=generator, dtype=torch.float64) for n in (4, 3)]
    with pytest.raises(ArgumentError, match=r"representations must have Im Z_l\^T in .* project\(\)"):
        representation_loss(problem, free)
    outputs = free[-1]
    pair = covariance_pair(problem, free[0])
    with pytest.raises(ArgumentError, match="covariance of layer 1 must lie in the image"):
        covariance_loss(problem, [pair], outputs)
    finite = representation_loss(problem, free, inverse=Inverse(tikhonov=1e-2))
    assert torch.isfinite(finite)


def test_tikhonov_form_is_that_of_weights_that_may_miss(generator):
    # min over W of |W|^2 + |Z - W B|^2 / e = Tr[Z^T Z (B^T B + e)^{-1}].
    problem = problem_of(generator, depth=2, features=3)
    free = [torch.randn(n, 6, generator=generator, dtype=torch.float64) for n in (4, 3)]
    terms = representation_cost_terms(problem, free, inverse=Inverse(tikhonov=0.1))
    bases = [problem.inputs, problem.activate(free[0])]
    for term, z, base in zip(terms, free, bases, strict=True):
        wide = np.vstack([base.T.numpy(), 0.1**0.5 * np.eye(len(base))])
        padded = np.vstack([z.T.numpy(), np.zeros((len(base), len(z)))])
        weight = np.linalg.lstsq(wide, padded, rcond=None)[0]
        value = (weight**2).sum() + ((z.T.numpy() - base.T.numpy() @ weight) ** 2).sum() / 0.1
        assert float(term) == pytest.approx(value, rel=1e-9)


def test_tikhonov_form_tends_to_the_exact_one(generator):
    problem = problem_of(generator, depth=3, bias=0.5)
    representations = forward(problem, draw_weights(problem, 4, generator=generator))
    exact = float(representation_loss(problem, representations))
    errors = [
        exact - float(representation_loss(problem, representations, inverse=Inverse(tikhonov=e)))
        for e in (1e-6, 1e-7)
    ]
    assert 0 < errors[1] < errors[0] / 5
    assert errors[0] < 1e-3 * exact


def test_rank_deficient_covariances_are_inverted_on_their_image(generator):
    problem = problem_of(generator, depth=3, features=8)
    weights = draw_weights(problem, 2, generator=generator)
    copies = [torch.cat([weights[0], weights[0]]), weights[1].repeat(1, 2) / 2, weights[2]]
    representations = forward(problem, copies)
    pairs = covariances_of(problem, representations)
    assert int(torch.linalg.matrix_rank(pairs[0].activations)) == 2
    loss = covariance_loss(problem, pairs, representations[-1])
    assert float(loss) == pytest.approx(float(representation_loss(problem, representations)), rel=1e-9)


def test_loss_without_penalty_is_the_cost(generator):
    problem = dataclasses.replace(problem_of(generator, depth=3), penalty=0.0)
    representations = forward(problem, draw_weights(problem, 4, generator=generator))
    cost = float(problem.cost_of(representations[-1]))
    assert float(representation_loss(problem, representations)) == cost
    assert (
        float(covariance_loss(problem, covariances_of(problem, representations), representations[-1])) == cost
    )


@pytest.mark.parametrize("bias", BIASES)
def test_one_point_and_one_neuron(bias, generator):
    problem = problem_of(generator, points=1, outputs=1, depth=3, bias=bias)
    weights = weights_of(problem, forward(problem, draw_weights(problem, 1, generator=generator)))
    representations = forward(problem, weights)
    loss = float(weight_loss(problem, weights))
    assert float(representation_loss(problem, representations)) == pytest.approx(loss, rel=1e-10)
    assert float(
        covariance_loss(problem, covariances_of(problem, representations), representations[-1])
    ) == pytest.approx(loss, rel=1e-10)


def test_covariance_loss_is_convex_in_one_pair(generator):
    problem = problem_of(generator, depth=3, points=4, features=4)
    runs = [forward(problem, draw_weights(problem, 9, generator=generator)) for _ in range(2)]
    outputs = runs[0][-1]
    pairs = [covariances_of(problem, run) for run in runs]
    mixed = CovariancePair(*((one + other) / 2 for one, other in zip(pairs[0][0], pairs[1][0], strict=True)))
    values = [
        float(covariance_loss(problem, [first, pairs[0][1]], outputs))
        for first in (pairs[0][0], mixed, pairs[1][0])
    ]
    assert values[1] <= (values[0] + values[2]) / 2


def test_wrong_weights_pairs_and_representations_are_refused(generator):
    problem = problem_of(generator, depth=3)
    weights = draw_weights(problem, 4, generator=generator)
    representations = forward(problem, weights)
    pairs = covariances_of(problem, representations)
    *pair, outputs = representations
    skew = CovariancePair(pairs[0].preactivations.triu(), pairs[0].activations)
    negative = CovariancePair(-pairs[0].preactivations, pairs[0].activations)
    lost = CovariancePair(torch.full_like(pairs[0].preactivations, torch.nan), pairs[0].activations)
    softplus = dataclasses.replace(problem, activation="softplus")
    cases = {
        r"weights must be 3 matrices, got 2": lambda: forward(problem, weights[:2]),
        r"weights\[1\] must have 4 columns": lambda: forward(problem, [weights[0], weights[1].T[:, :2], weights[2]]),
        r"weights\[2\] must have 3 rows, got 2": lambda: forward(problem, [*weights[:2], weights[2][:2]]),
        r"representations must be 3 matrices": lambda: representation_loss(problem, representations[:2]),
        r"representations\[0\] must have 6 columns": lambda: project(problem, [z[:, :4] for z in representations]),
        r"representations\[2\] must have 3 rows": lambda: project(problem, [*pair, outputs[:1]]),
        r"pairs must be those of 2 hidden layers": lambda: covariance_loss(problem, pairs[:1], representations[-1]),
        r"preactivations of layer 1 must be symmetric": lambda: covariance_loss(
            problem, [skew, pairs[1]], representations[-1]
        ),
        r"preactivations of layer 1 must be positive semi-definite": lambda: covariance_loss(
            problem, [negative, pairs[1]], representations[-1]
        ),
        r"preactivations of layer 1 must be finite": lambda: covariance_loss(
            problem, [lost, pairs[1]], representations[-1]
        ),
        r"activation must be relu or linear": lambda: covariance_loss(softplus, pairs, representations[-1]),
        r"hidden must be no narrower": lambda: widen(problem, weights, 3),
        r"widths must be 2 numbers of at least 1": lambda: problem.widths(0),
        r"widths must be 2 numbers": lambda: problem.widths([3]),
    }  # fmt: skip
    for message, call in cases.items():
        with pytest.raises(ArgumentError, match=message):
            call()


def test_covariances_lead_back_to_weights_of_the_same_loss(generator):
    problem = problem_of(generator, points=4, features=4, bias=0.5)
    representations = forward(
        problem, weights_of(problem, forward(problem, draw_weights(problem, 3, generator=generator)))
    )
    pair = covariances_of(problem, representations)[0]
    factor = factorise(problem, pair, 3, generator=generator, tolerance=1e-9)
    rebuilt = weights_of(problem, [factor, representations[-1]])
    loss = float(covariance_loss(problem, [pair], representations[-1]))
    assert float(weight_loss(problem, rebuilt)) == pytest.approx(loss, rel=1e-6)
