"""Examples of the source with known answers (Jacot et al. 2022, arXiv 2205.15809)."""

import math

import pytest
import torch

from diffstab.l2 import L2Problem
from diffstab.l2.completely_positive import cp_rank_bounds
from diffstab.l2.covariances import covariances_of
from diffstab.l2.descent import DescentSettings, representation_cost
from diffstab.l2.frank_wolfe import FrankWolfeSettings, minimise_covariances
from diffstab.l2.kinks import stationarity
from diffstab.l2.network import forward, weight_loss
from diffstab.l2.plateau import plateau_start

QUICK = DescentSettings(adam_steps=2500, finish_steps=200)


def bipartite(vertices):
    half = vertices // 2
    gram = vertices / 2 * torch.eye(vertices).double()
    gram[:half, half:] = gram[half:, :half] = 1
    return gram


@pytest.mark.parametrize(("vertices", "edges"), [(4, 4), (6, 9)])
def test_bipartite_plateau_starts_at_the_number_of_edges_with_cost_n_squared(vertices, edges, generator):
    # Propositions 13 and 14: X = I, (Y^T Y)^(1/2) = B; R = 2 Tr B.
    gram = bipartite(vertices)
    assert cp_rank_bounds(gram).lower == edges
    problem = L2Problem(torch.eye(vertices).double(), gram, penalty=0.0)
    widths = [edges - 2, edges - 1, edges, edges + 1, edges + 3]
    runs = representation_cost(problem, widths, restarts=3, seed=0, settings=QUICK)
    losses = torch.tensor([run.loss for run in runs]).view(len(widths), 3)
    start = plateau_start(widths, losses, tolerance=1e-3, generator=generator)
    assert start.width == edges
    assert start.reached
    assert start.floor == pytest.approx(vertices**2, rel=1e-3)
    assert start.best[widths.index(edges - 1)] > vertices**2 * (1 + 2e-3)
    best = min(runs[-3:], key=lambda run: run.loss)
    pair = covariances_of(problem, forward(problem, best.weights))[0]
    torch.testing.assert_close(pair.preactivations, gram, rtol=0, atol=0.02)
    torch.testing.assert_close(pair.activations, gram, rtol=0, atol=0.02)


def test_bipartite_cost_is_certified_by_the_dual(generator):
    penalty = 1e-4
    problem = L2Problem(torch.eye(4).double(), bipartite(4), penalty=penalty)
    settings = FrankWolfeSettings(tolerance=1e-5)
    found = minimise_covariances(problem, generator=generator, settings=settings)
    assert found.oracle == "exact"
    # R - O(penalty) <= loss / penalty <= R.
    assert found.bound / penalty <= 16
    assert found.loss / penalty == pytest.approx(16, rel=1e-3)
    assert found.widths == (4,)


@pytest.mark.parametrize("classes", [2, 3])
def test_one_hot_plateau_starts_at_the_number_of_classes(classes, generator):
    labels = torch.arange(8) % classes
    targets = torch.nn.functional.one_hot(labels).T.double()
    problem = L2Problem(torch.eye(8).double(), targets, penalty=0.0)
    widths = [max(1, classes - 1), classes, classes + 1, classes + 3]
    runs = representation_cost(problem, widths, restarts=3, seed=0, settings=QUICK)
    losses = torch.tensor([run.loss for run in runs]).view(len(widths), 3)
    start = plateau_start(widths, losses, tolerance=1e-3, generator=generator)
    assert start.width == classes
    sizes = torch.bincount(labels).double()
    assert start.floor == pytest.approx(2 * float(sizes.sqrt().sum()), rel=1e-3)


def test_scalar_plateau_starts_before_four_n(generator):
    # Proposition 15, and the certified minimum needs no more neurons either.
    inputs = torch.randn(1, 4, generator=generator, dtype=torch.float64)
    targets = torch.randn(1, 4, generator=generator, dtype=torch.float64)
    problem = L2Problem(inputs, targets, penalty=1e-3, bias=1.0)
    found = minimise_covariances(problem, generator=generator)
    assert found.oracle == "exact"
    assert found.gap < 2e-4
    assert found.widths[0] <= 16


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_linear_covariances_interpolate_geometrically(depth, generator):
    # K_l = X^T (M^T M)^(l/L) X with Y = M X, as section 3.1 says for linear nets; for X = I this is (Y^T Y)^(l/L).
    inputs = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    mapping = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    problem = L2Problem(inputs, mapping @ inputs, activation="linear", depth=depth, penalty=0.0)
    settings = DescentSettings(adam_steps=2000, finish_steps=1000, tolerance=1e-10)
    run = representation_cost(problem, [4], restarts=1, seed=0, settings=settings)[0]
    _, values, basis = torch.linalg.svd(mapping, full_matrices=False)
    assert run.loss == pytest.approx(depth * float((values ** (2 / depth)).sum()), rel=1e-5)
    for layer, pair in enumerate(covariances_of(problem, forward(problem, run.weights)), start=1):
        power = (basis.T * values ** (2 * layer / depth)) @ basis
        expected = inputs.T @ power @ inputs
        torch.testing.assert_close(
            pair.preactivations, expected, rtol=0, atol=1e-3 * float(expected.abs().max())
        )


def local_minimum(share, penalty):
    """Weights (a, b) in and out with a^2 + b^2 = 1 - 4 lambda, on points 1 and -1 with targets 1 and 1.

    Proposition 19, with the cost (1/2N) sum |y - z|^2: where all weights are positive the loss is
    ((1 - s)^2 + 1) / 4 + 2 lambda s at s = w.v at best, least at s = 1 - 4 lambda.
    """
    problem = L2Problem(torch.tensor([[1.0, -1.0]]).double(), torch.ones(1, 2).double(), penalty=penalty)
    mass = 1 - 4 * penalty
    sides = torch.tensor([share * mass, (1 - share) * mass], dtype=torch.float64).sqrt()
    return problem, [sides[:, None], sides[None]]


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_local_minimum_in_weights_that_is_none_in_covariances(share, generator):
    problem, weights = local_minimum(share, 0.1)
    least = float(weight_loss(problem, weights))
    assert stationarity(problem, weights).relative < 1e-12
    for size in (1e-1, 1e-2, 1e-3):
        for _ in range(300):
            moved = [w + size * torch.randn(w.shape, generator=generator, dtype=w.dtype) / 4 for w in weights]
            if all((w > 0).all() for w in moved):
                assert float(weight_loss(problem, moved)) >= least - 1e-14
    # The same covariances and outputs, with all mass in one neuron; the free one lowers the loss at any small size.
    _, other = local_minimum(1.0, 0.1)
    one, two = (covariances_of(problem, forward(problem, net))[0] for net in (weights, other))
    torch.testing.assert_close(one.preactivations, two.preactivations)
    torch.testing.assert_close(one.activations, two.activations)
    assert float(weight_loss(problem, other)) == pytest.approx(least, rel=1e-12)
    for size in (1e-1, 1e-2, 1e-3):
        moved = [other[0] - torch.tensor([[0], [size]]), other[1] + torch.tensor([[0, size]])]
        gain = least - float(weight_loss(problem, moved))
        assert gain == pytest.approx(size**2 * (1 / 2 - 2 * 0.1), rel=0.05)


def test_the_covariances_escape_from_that_local_minimum(generator):
    problem, weights = local_minimum(0.5, 0.1)
    found = minimise_covariances(problem, generator=generator)
    assert found.loss < float(weight_loss(problem, weights)) - 0.05
    # Both points are met alike: two neurons, one for each sign.
    assert found.loss == pytest.approx(2 * (0.4**2 / 4 + 2 * 0.1 * 0.6), rel=1e-4)
    assert found.widths == (2,)
    assert not math.isnan(found.gap)
