import pickle
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import estimator_checks_generator

from diffstab.errors import ArgumentError, DegenerateError
from diffstab.sphere import MinNormReLU
from tests.references.minnorm import (
    circle_grid,
    largest_by_search,
    least_norm_on,
    penalised_on,
    relu_features,
    sphere_grid,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def unit(rng, count, dimension):
    points = rng.standard_normal((count, dimension))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def wave(points):
    """A smooth even target with structure."""
    return points[:, 0] ** 2 - points[:, -2] * points[:, -1] + np.sin(2 * points[:, 0]) ** 2


def constant(points):
    return np.ones(len(points))


@pytest.mark.parametrize("target", [constant, wave])
@pytest.mark.parametrize("dimension", [2, 3, 4, 6])
def test_solution_is_an_interpolant_with_few_atoms_and_a_small_gap(rng, dimension, target):
    points = unit(rng, 24, dimension)
    model = MinNormReLU().fit(points, target(points))
    assert np.abs(model.predict(points) - target(points)).max() < 1e-7
    assert len(model.weights_) <= len(points)
    assert -1e-12 <= model.gap_ <= 1e-4
    np.testing.assert_allclose(np.linalg.norm(model.atoms_, axis=1), 1, atol=1e-12)
    assert model.objective_ == pytest.approx(np.abs(model.weights_).sum())
    assert model.certificate_ == ("exact" if dimension <= 3 else "heuristic")
    assert len(model.history_) >= 1


@pytest.mark.parametrize("penalty", [0.0, 1e-3, 1e-1])
@pytest.mark.parametrize("dimension", [2, 3, 5])
def test_dual_proves_the_gap_and_a_dense_search_finds_no_violation(rng, dimension, penalty):
    points = unit(rng, 20, dimension)
    model = MinNormReLU(penalty=penalty).fit(points, wave(points))
    assert largest_by_search(points, model.dual_, 400_000, rng) <= 1 + 1e-9
    dual_value = model.dual_ @ wave(points)
    if penalty:
        dual_value = penalty * (dual_value - len(points) * penalty / 2 * (model.dual_ @ model.dual_))
    assert (model.objective_ - dual_value) / model.objective_ == pytest.approx(model.gap_, abs=1e-9)
    assert -1e-9 <= model.gap_ <= 1e-4


@pytest.mark.parametrize("target", [constant, wave])
@pytest.mark.parametrize(
    ("dimension", "grid", "tol", "step"),
    [
        (2, circle_grid(4000), 1e-7, 2 * np.pi / 4000),
        (3, sphere_grid(20_000), 1e-6, np.sqrt(4 * np.pi / 20_000)),
    ],
    ids=["circle", "sphere"],
)
def test_a_linear_program_over_a_fine_grid_agrees(rng, dimension, grid, tol, step, target):
    points = unit(rng, 16, dimension)
    exact = MinNormReLU(tol=tol).fit(points, target(points)).objective_
    # Moving an atom by half a step changes features by that at most, which to first order costs nothing.
    upper = least_norm_on(grid, points, target(points))
    assert exact <= upper * (1 + tol)
    assert upper <= exact * (1 + (dimension - 1) * step)


@pytest.mark.parametrize("penalty", [1e-3, 1e-2])
def test_penalised_form_agrees_with_a_quasi_newton_method_over_a_fine_grid(rng, penalty):
    points = unit(rng, 16, 2)
    exact = MinNormReLU(penalty=penalty, tol=1e-7).fit(points, wave(points)).objective_
    upper = penalised_on(circle_grid(1000), points, wave(points), penalty)
    assert exact <= upper * (1 + 1e-6)
    assert upper <= exact * (1 + 2 * np.pi / 1000)


def test_penalty_tends_to_the_interpolant(rng):
    points = unit(rng, 20, 3)
    norm = MinNormReLU(tol=1e-6).fit(points, wave(points)).objective_
    penalty = 1e-7
    model = MinNormReLU(penalty=penalty, tol=1e-6).fit(points, wave(points))
    assert model.objective_ / penalty == pytest.approx(norm, rel=1e-3)
    assert np.abs(model.predict(points) - wave(points)).max() < 1e-3


def test_large_penalty_leaves_no_neuron(rng):
    points = unit(rng, 20, 3)
    model = MinNormReLU(penalty=10.0).fit(points, wave(points))
    assert len(model.weights_) == 0
    assert model.objective_ == pytest.approx((wave(points) ** 2).mean() / 2)
    assert model.gap_ == pytest.approx(0, abs=1e-12)
    assert not model.predict(points).any()


def test_one_dimension_has_two_neurons():
    model = MinNormReLU().fit([[2.0], [-1.0]], [4.0, -3.0])
    np.testing.assert_allclose(model.predict([[1.0], [-2.0]]), [2.0, -6.0])
    assert model.objective_ == pytest.approx(5)


def test_one_point_takes_one_neuron_along_it():
    model = MinNormReLU().fit([[0.0, 3.0, 4.0]], [2.5])
    np.testing.assert_allclose(model.atoms_, [[0, 0.6, 0.8]], atol=1e-8)
    np.testing.assert_allclose(model.weights_, [0.5], rtol=1e-8)


def test_fewer_points_than_dimensions_stay_in_their_span(rng):
    points, basis = unit(rng, 2, 2), np.linalg.qr(rng.standard_normal((7, 2)))[0]
    inside = MinNormReLU(tol=1e-6).fit(points, [1.0, -2.0])
    lifted = MinNormReLU(tol=1e-6).fit(points @ basis.T, [1.0, -2.0])
    assert lifted.objective_ == pytest.approx(inside.objective_, rel=2e-6)
    assert lifted.certificate_ == "exact"
    np.testing.assert_allclose(lifted.atoms_ @ basis @ basis.T, lifted.atoms_, atol=1e-10)


def test_zero_targets_give_the_zero_function(rng):
    model = MinNormReLU().fit(unit(rng, 5, 3), np.zeros(5))
    assert (model.objective_, model.gap_, len(model.weights_)) == (0, 0, 0)


def test_convention_target_of_a_longer_point_scales_with_it(rng):
    points = unit(rng, 12, 3)
    plain = MinNormReLU(tol=1e-6).fit(points, wave(points))
    scaled = MinNormReLU(tol=1e-6).fit(3 * points, 3 * wave(points))
    assert scaled.objective_ == pytest.approx(plain.objective_, rel=2e-6)


def test_duplicates_with_one_target_change_nothing(rng):
    points = unit(rng, 12, 3)
    targets = wave(points)
    plain = MinNormReLU(tol=1e-6).fit(points, targets)
    doubled = MinNormReLU(tol=1e-6).fit(np.vstack([points, points[:4]]), np.append(targets, targets[:4]))
    assert doubled.objective_ == pytest.approx(plain.objective_, rel=2e-6)


def test_duplicates_with_different_targets_are_refused_and_averaged_by_a_penalty(rng):
    points = np.vstack([unit(rng, 6, 3)] * 2)
    targets = np.concatenate([np.ones(6), 2 * np.ones(6)])
    with pytest.raises(DegenerateError, match=r"points 0 and 6 coincide .* contradict"):
        MinNormReLU().fit(points, targets)
    model = MinNormReLU(penalty=1e-6).fit(points, targets)
    np.testing.assert_allclose(model.predict(points), 1.5, atol=1e-2)


def test_close_points_with_different_targets_take_a_large_norm(rng):
    points = unit(rng, 20, 3)
    points[1] = points[0] + 1e-4 * unit(rng, 1, 3)
    targets = rng.standard_normal(20)
    model = MinNormReLU().fit(points, targets)
    assert model.residual_ < 1e-6
    # f has slope at most |gamma|, and must climb from one point to the other.
    assert model.objective_ > abs(targets[1] - targets[0]) / 1e-4 / 2
    assert -1e-9 < model.gap_ <= 1e-4


def test_pairs_a_billionth_apart_are_met_at_the_norm_that_they_ask_for(rng):
    points = np.repeat(unit(rng, 6, 3), 2, axis=0)
    points[1::2] += 1e-9 * unit(rng, 6, 3)
    targets = rng.standard_normal(12)
    model = MinNormReLU(tol=1e-2).fit(points, targets)
    assert model.residual_ < 1e-6
    assert 0 <= model.gap_ <= 1e-2
    steepest = np.abs(targets[1::2] - targets[::2]) / np.linalg.norm(points[1::2] - points[::2], axis=1)
    assert model.objective_ > steepest.max() / 2


@pytest.mark.filterwarnings("always")
def test_an_interpolant_that_misses_its_targets_is_told_or_refused():
    with pytest.raises(DegenerateError, match="points lie too close"):
        MinNormReLU._check_residual(1e-2, met=False)
    with pytest.warns(ConvergenceWarning, match="below that of every interpolant"):
        MinNormReLU._check_residual(1e-9, met=False)
    MinNormReLU._check_residual(1e-9, met=True)


def test_antipodal_points_share_a_kink(rng):
    points = unit(rng, 8, 3)
    points = np.vstack([points, -points])
    model = MinNormReLU(tol=1e-6).fit(points, wave(points))
    assert np.abs(model.predict(points) - wave(points)).max() < 1e-7
    assert model.objective_ <= least_norm_on(sphere_grid(5000), points, wave(points)) * (1 + 1e-6)
    assert largest_by_search(points, model.dual_, 200_000, rng) <= 1 + 1e-9


def test_antipodal_targets_with_a_cubic_odd_part_are_refused(rng):
    points = unit(rng, 8, 3)
    points = np.vstack([points, -points])
    with pytest.raises(DegenerateError, match="odd part of a predictor without bias is linear"):
        MinNormReLU().fit(points, points[:, 0] ** 3)
    linear = MinNormReLU(tol=1e-6).fit(points, points[:, 0])
    np.testing.assert_allclose(linear.predict(points), points[:, 0], atol=1e-6)
    # x_1 = relu(x_1) - relu(-x_1), and a linear function needs no less than twice its slope.
    assert linear.objective_ == pytest.approx(2, rel=0.1)


def test_regular_polygon_with_its_antipodes(rng):
    points = circle_grid(12)
    model = MinNormReLU(tol=1e-6).fit(points, np.ones(12))
    assert np.abs(model.predict(points) - 1).max() < 1e-7
    assert largest_by_search(points, model.dual_, 200_000, rng) <= 1 + 1e-9


def test_cross_polytope_where_many_kinks_meet(rng):
    points = np.vstack([np.eye(3), -np.eye(3)])
    model = MinNormReLU(tol=1e-6).fit(points, np.ones(6))
    assert np.abs(model.predict(points) - 1).max() < 1e-7
    # Two neurons along the diagonal, theta and -theta, reach 1 at every point with weights sqrt(3).
    assert model.objective_ <= 2 * 3**0.5 * (1 + 1e-6)
    assert largest_by_search(points, model.dual_, 200_000, rng) <= 1 + 1e-9


def test_origin_is_met_by_zero_only(rng):
    points = np.vstack([unit(rng, 5, 3), np.zeros((1, 3))])
    targets = np.append(np.ones(5), 0.0)
    assert np.abs(MinNormReLU().fit(points, targets).predict(points) - targets).max() < 1e-7
    targets[-1] = 2.0
    with pytest.raises(DegenerateError, match="point 5 is the origin"):
        MinNormReLU().fit(points, targets)
    model = MinNormReLU(penalty=1e-3).fit(points, targets)
    assert model.gap_ <= 1e-4
    assert model.objective_ > 2.0**2 / (2 * 6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"penalty": -1.0}, "penalty must be >= 0"),
        ({"penalty": float("nan")}, "penalty must be >= 0"),
        ({"tol": 0.0}, r"tol must lie in \(0, 1\)"),
        ({"max_rounds": 0}, "max_rounds must be >= 1"),
        ({"n_starts": 0}, "n_starts must be >= 1"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        MinNormReLU(**options).fit([[1.0, 0.0]], [1.0])


def test_too_few_rounds_are_told(rng):
    points = unit(rng, 40, 3)
    with pytest.warns(ConvergenceWarning, match="stopped at a relative gap"):
        model = MinNormReLU(max_rounds=1).fit(points, wave(points))
    assert model.gap_ > 1e-4
    assert np.abs(model.predict(points) - wave(points)).max() < 1e-6


def test_clone_and_pickle(rng):
    points = unit(rng, 10, 3)
    model = MinNormReLU(tol=1e-3).fit(points, wave(points))
    assert clone(model).get_params() == model.get_params()
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(points), model.predict(points))
    np.testing.assert_array_equal(
        clone(model).fit(points, wave(points)).predict(points), model.predict(points)
    )


def test_training_outputs_are_those_of_the_atoms(rng):
    points = unit(rng, 10, 4)
    model = MinNormReLU().fit(points, wave(points))
    np.testing.assert_allclose(model.predict(points), relu_features(points, model.atoms_) @ model.weights_)


NOT_INTERPOLABLE = ("check_estimators_dtypes", "check_fit2d_1feature")
"""Checks whose data hold the origin, or many points of one ray, with targets that no predictor meets."""


@pytest.mark.slow
@pytest.mark.parametrize("penalty", [0.0, 0.01])
def test_scikit_learn_checks(penalty):
    estimator = MinNormReLU(penalty=penalty, n_starts=16, tol=0.1)
    for instance, check in estimator_checks_generator(estimator):
        if check.func.__name__ in {"check_array_api_input", *(NOT_INTERPOLABLE if penalty == 0 else ())}:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            check(instance)
