"""Rank of a pair: bounds that hold, factors that give the pair back."""

import pytest
import torch
from scipy.optimize import check_grad

from diffstab.errors import ArgumentError, DegenerateError
from diffstab.l2.completely_positive import bipartite_gram
from diffstab.l2.covariances import CovariancePair, covariance_pair
from diffstab.l2.factorisation import factorise, goal_of
from diffstab.l2.problem import L2Problem
from diffstab.l2.rank import rank_bounds, reduce_rows


def problem_of(points, *, bias=0.0, activation="relu", dtype=torch.float64):
    """Only the number of points, the bias and the activation matter here."""
    inputs = torch.ones(1, points, dtype=dtype)
    return L2Problem(inputs, inputs, bias=bias, activation=activation)


def draw(rows, points, generator):
    return torch.randn(rows, points, generator=generator, dtype=torch.float64)


def assert_gives_the_pair(problem, factor, pair, tolerance=1e-6):
    made = covariance_pair(problem, factor)
    for one, other in zip(made, pair, strict=True):
        assert (one - other).norm() <= 2 * tolerance * max(float(pair.preactivations.norm()), 1e-300)


@pytest.mark.parametrize("bias", [0.0, 0.7])
@pytest.mark.parametrize(("rows", "points"), [(1, 1), (2, 1), (1, 5), (2, 4), (3, 6), (5, 12)])
def test_rank_of_few_random_rows_is_their_number(rows, points, bias, generator):
    problem = problem_of(points, bias=bias)
    z = draw(rows, points, generator)
    z[: min(rows, 2), 0] = torch.tensor([1.0, -1.0], dtype=torch.float64)[:rows]
    pair = covariance_pair(problem, z)
    bounds = rank_bounds(problem, pair, generator=generator, representations=z)
    assert bounds.lower == bounds.upper == rows
    assert bounds.residual < 1e-6
    assert_gives_the_pair(problem, bounds.representations, pair)


@pytest.mark.parametrize(("rows", "points"), [(2, 4), (3, 6), (4, 5)])
def test_rank_is_found_without_representations(rows, points, generator):
    problem = problem_of(points, bias=0.3)
    pair = covariance_pair(problem, draw(rows, points, generator))
    bounds = rank_bounds(problem, pair, generator=generator, restarts=32)
    assert bounds[:3] == (rows, rows, "rank of K")
    assert_gives_the_pair(problem, bounds.representations, pair)


def test_copies_and_aligned_and_zero_rows_are_not_counted(generator):
    problem = problem_of(7, bias=0.5)
    z = draw(3, 7, generator)
    wide = torch.cat([0.6 * z, 0 * z, 0.8 * z])
    pair = covariance_pair(problem, wide)
    torch.testing.assert_close(pair.preactivations, z.T @ z)
    bounds = rank_bounds(problem, pair, generator=generator, representations=wide, restarts=0)
    assert bounds.lower == bounds.upper == 3
    assert_gives_the_pair(problem, bounds.representations, pair, tolerance=1e-12)


def test_opposite_rows_are_two_neurons_of_relu_and_one_of_a_linear_net(generator):
    z = torch.cat([draw(1, 4, generator)] * 2) * torch.tensor([[1.0], [-1.0]]).double()
    relu, linear = problem_of(4), problem_of(4, activation="linear")
    found = rank_bounds(relu, covariance_pair(relu, z), generator=generator, representations=z)
    assert found[:2] == (2, 2)
    assert rank_bounds(linear, covariance_pair(linear, z), generator=generator)[:2] == (1, 1)


@pytest.mark.parametrize("points", [1, 2, 3, 4])
def test_more_rows_than_independent_pairs_are_cut_to_the_bound(points, generator):
    problem = problem_of(points)
    most = points * (points + 1)
    z = draw(3 * most, points, generator)
    reduced = reduce_rows(problem, z)
    assert len(reduced) <= most
    assert_gives_the_pair(problem, reduced, covariance_pair(problem, z), tolerance=1e-10)


def test_search_goes_below_the_independent_rows(generator):
    problem = problem_of(4)
    z = draw(20, 4, generator)
    pair = covariance_pair(problem, z)
    bounds = rank_bounds(problem, pair, generator=generator, representations=z)
    assert 4 <= bounds.lower <= bounds.upper < len(reduce_rows(problem, z))
    assert_gives_the_pair(problem, bounds.representations, pair)


@pytest.mark.parametrize("vertices", [4, 6, 10])
def test_bipartite_graph_needs_a_quarter_of_n_squared_neurons(vertices, generator):
    problem, gram = problem_of(vertices), bipartite_gram(vertices)
    bounds = rank_bounds(problem, CovariancePair(gram, gram), generator=generator)
    assert bounds[:3] == (vertices**2 // 4, vertices**2 // 4, "CP-rank of K^s")
    assert_gives_the_pair(problem, bounds.representations, CovariancePair(gram, gram))


def test_one_hot_outputs_need_one_neuron_per_class(generator):
    labels = torch.arange(12) % 3
    z = torch.nn.functional.one_hot(labels, 3).double().T * 0.5**0.5
    problem = problem_of(12)
    bounds = rank_bounds(problem, covariance_pair(problem, z), generator=generator)
    assert bounds[:2] == (3, 3)


def test_lower_bound_is_the_largest_of_four(generator):
    # K of rank 1, K^s of rank 2: the positive and the negative part of one row
    problem = problem_of(2)
    row = torch.tensor([[1.0, -2.0]], dtype=torch.float64)
    split = rank_bounds(problem, covariance_pair(problem, torch.cat([row, -row])), generator=generator)
    assert split[:3] == (2, 2, "rank of K^s")
    # one point whose representations have both signs
    one = problem_of(1)
    both = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    assert rank_bounds(one, covariance_pair(one, both), generator=generator)[:3] == (
        2,
        2,
        "both signs at a point",
    )


@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_rank_of_zero_covariances_is_zero(activation, generator):
    problem = problem_of(3, bias=0.5, activation=activation)
    pair = covariance_pair(problem, torch.zeros(4, 3, dtype=torch.float64))
    bounds = rank_bounds(problem, pair, generator=generator)
    assert bounds[:2] == (0, 0)
    assert bounds.representations.shape == (0, 3)
    assert len(reduce_rows(problem, torch.zeros(4, 3))) == 0


def test_linear_rank_is_that_of_the_covariance(generator):
    problem = problem_of(6, bias=0.5, activation="linear")
    pair = covariance_pair(problem, draw(4, 2, generator) @ draw(2, 6, generator))
    bounds = rank_bounds(problem, pair, generator=generator, restarts=0)
    assert bounds[:3] == (2, 2, "rank of K")
    assert_gives_the_pair(problem, bounds.representations, pair)


@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_factorise_gives_neurons_back(activation, generator):
    problem = problem_of(5, bias=0.4, activation=activation)
    pair = covariance_pair(problem, draw(3, 5, generator))
    for width in (3, 6):
        factor = factorise(problem, pair, width, generator=generator, restarts=32)
        assert factor.shape == (width, 5)
        assert_gives_the_pair(problem, factor, pair)


def test_factorise_below_the_rank_says_so(generator):
    problem = problem_of(4)
    pair = covariance_pair(problem, draw(3, 4, generator))
    with pytest.raises(DegenerateError, match="No factor of width 2 found: the best has a residual"):
        factorise(problem, pair, 2, generator=generator)


def test_derivative_of_the_residuals_is_that_of_finite_differences(generator):
    problem = problem_of(4, bias=0.2)
    goal = goal_of(problem, covariance_pair(problem, draw(5, 4, generator)), tolerance=1e-6)
    for place in range(4 * 5):
        for start in (draw(3, 4, generator), draw(5, 4, generator)):

            def residual(flat, shape=start.shape, place=place):
                return float(goal.residuals(torch.from_numpy(flat).reshape(shape))[place])

            def slope(flat, shape=start.shape, place=place):
                return goal.jacobian(torch.from_numpy(flat).reshape(1, *shape))[0, place].numpy()

            assert check_grad(residual, slope, start.flatten().numpy(), epsilon=1e-7) < 1e-6


def test_nothing_found_leaves_the_bound_of_caratheodory(generator):
    problem = problem_of(5)
    pair = covariance_pair(problem, draw(4, 5, generator))
    bounds = rank_bounds(problem, pair, generator=generator, restarts=0)
    assert bounds == (4, 30, "rank of K", None, float("inf"))


def test_scale_of_the_covariances_changes_nothing(generator):
    problem, z = problem_of(5), draw(3, 5, generator)
    for scale in (1e-8, 1e8):
        pair = covariance_pair(problem, scale * z)
        bounds = rank_bounds(problem, pair, generator=generator, representations=scale * z)
        assert bounds[:2] == (3, 3)
        assert bounds.residual < 1e-12


def test_small_rows_under_a_large_bias_are_ranked_by_the_representations(generator):
    problem, z = problem_of(5, bias=3.0), 1e-9 * draw(3, 5, generator)
    pair = covariance_pair(problem, z)
    assert rank_bounds(problem, pair, generator=generator, representations=z)[:2] == (3, 3)
    with pytest.raises(
        ArgumentError, match=r"exceed the rounding of the activations' covariance.*Give the repr"
    ):
        rank_bounds(problem, pair, generator=generator)


def test_same_generator_gives_the_same_factor():
    problem = problem_of(5)
    pair = covariance_pair(problem, draw(3, 5, torch.Generator().manual_seed(1)))
    found = [rank_bounds(problem, pair, generator=torch.Generator().manual_seed(2)) for _ in range(2)]
    assert torch.equal(found[0].representations, found[1].representations)


def test_single_precision_needs_a_larger_tolerance(generator):
    problem = problem_of(6, bias=0.5, dtype=torch.float32)
    z = draw(3, 6, generator).float()
    pair = covariance_pair(problem, z)
    bounds = rank_bounds(problem, pair, generator=generator, representations=z, tolerance=1e-5)
    assert bounds[:2] == (3, 3)
    with pytest.raises(ArgumentError, match=r"tolerance must lie in \[7.2e-07, 1\), above the rounding"):
        rank_bounds(problem, pair, generator=generator, tolerance=1e-8)


def test_pairs_outside_the_cone_are_refused(generator):
    problem, eye = problem_of(2), torch.eye(2, dtype=torch.float64)
    cases = [
        (CovariancePair(eye, 2 * eye), "activations must have no larger diagonal"),
        (CovariancePair(eye, eye - 0.5), "must have no negative entries to be completely positive"),
        (CovariancePair(eye - 2, eye), "preactivations must be positive semi-definite"),
        (CovariancePair(torch.eye(3), eye), r"preactivations must be a floating matrix \(2, 2\)"),
        (CovariancePair(torch.stack([eye, eye]), eye), r"preactivations must be one matrix, got \(2, 2, 2\)"),
        (CovariancePair(eye * torch.nan, eye), "preactivations must be finite"),
    ]
    for pair, message in cases:
        with pytest.raises(ArgumentError, match=message):
            rank_bounds(problem, pair, generator=generator)
    biased = problem_of(2, bias=2.0)
    with pytest.raises(ArgumentError, match=r"activations must exceed b\^2 1 1\^T"):
        rank_bounds(biased, CovariancePair(eye, eye), generator=generator)


def test_other_arguments_out_of_range_are_refused(generator):
    problem, z = problem_of(3), draw(2, 3, generator)
    pair = covariance_pair(problem, z)
    with pytest.raises(ArgumentError, match="restarts must be at least 0, got -1"):
        rank_bounds(problem, pair, generator=generator, restarts=-1)
    with pytest.raises(ArgumentError, match="width and restarts must be at least 1"):
        factorise(problem, pair, 0, generator=generator)
    with pytest.raises(
        ArgumentError, match="representations must have the covariances given, got a residual"
    ):
        rank_bounds(problem, pair, generator=generator, representations=2 * z)
    with pytest.raises(ArgumentError, match="representations must be a matrix of 3 columns"):
        rank_bounds(problem, pair, generator=generator, representations=z.T)
    with pytest.raises(ArgumentError, match="representations must be a matrix of 3 columns"):
        reduce_rows(problem, z[0])
    softplus = problem_of(3, activation="softplus")
    for call in (
        lambda: rank_bounds(softplus, pair, generator=generator),
        lambda: factorise(softplus, pair, 2, generator=generator),
        lambda: reduce_rows(softplus, z),
    ):
        with pytest.raises(ArgumentError, match="activation must be relu or linear for a rank"):
            call()
