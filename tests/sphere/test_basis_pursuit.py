import numpy as np
import pytest
from scipy.optimize import linprog

from diffstab.errors import ArgumentError
from diffstab.sphere.basis_pursuit import basis_pursuit
from diffstab.sphere.normal import NormalEquations
from diffstab.sphere.support import independent_support, merge_cells, merge_close


@pytest.fixture
def rng():
    return np.random.default_rng(2)


@pytest.mark.parametrize("size", [(1, 5), (10, 30), (40, 200)])
def test_agrees_with_the_simplex_method(rng, size):
    features, targets = rng.standard_normal(size), rng.standard_normal(size[0])
    solution = basis_pursuit(features, targets, tolerance=1e-9)
    both = np.hstack([features, -features])
    reference = linprog(np.ones(both.shape[1]), A_eq=both, b_eq=targets, method="highs").fun
    assert np.abs(solution.weights).sum() == pytest.approx(reference, rel=1e-8)
    assert targets @ solution.dual == pytest.approx(reference, rel=1e-8)
    assert np.abs(features.T @ solution.dual).max() < 1
    np.testing.assert_allclose(features @ solution.weights, targets, atol=1e-8)
    assert solution.converged


@pytest.mark.parametrize("ridge", [1e-3, 1.0])
def test_ridge_meets_the_conditions_of_optimality(rng, ridge):
    features, targets = rng.standard_normal((20, 60)), rng.standard_normal(20)
    solution = basis_pursuit(features, targets, ridge=ridge, tolerance=1e-10)
    np.testing.assert_allclose((targets - features @ solution.weights) / ridge, solution.dual, atol=1e-6)
    used = np.abs(solution.weights) > 1e-4
    correlation = features.T @ solution.dual
    np.testing.assert_allclose(correlation[used], np.sign(solution.weights[used]), atol=1e-5)


def test_warm_start_reaches_the_same_optimum(rng):
    features, targets = rng.standard_normal((30, 120)), rng.standard_normal(30)
    cold = basis_pursuit(features, targets, tolerance=1e-8)
    warm = basis_pursuit(features, targets, tolerance=1e-8, dual=cold.dual)
    assert np.abs(warm.weights).sum() == pytest.approx(np.abs(cold.weights).sum(), rel=1e-7)


@pytest.mark.parametrize("spread", [0, 3])
def test_agrees_with_the_simplex_method_where_columns_and_rows_differ_in_size(rng, spread):
    # Clusters of columns that nearly agree, and factors that span 2 * spread decades.
    base = np.repeat(rng.standard_normal((25, 60)), 4, axis=1)
    features = base + 1e-3 * rng.standard_normal(base.shape)
    features *= 10 ** rng.uniform(-spread, spread, 240)
    targets = features @ (rng.standard_normal(240) * (rng.uniform(size=240) < 0.2))
    solution = basis_pursuit(features, targets, tolerance=1e-7)
    both = np.hstack([features, -features])
    reference = linprog(np.ones(480), A_eq=both, b_eq=targets, method="highs").fun
    assert solution.converged
    assert np.abs(solution.weights).sum() == pytest.approx(reference, rel=1e-6)
    np.testing.assert_allclose(features @ solution.weights, targets, atol=1e-8 * np.abs(targets).max())


@pytest.mark.parametrize("decades", [0, 4, 12])
def test_normal_equations_are_solved_at_any_stiffness(rng, decades):
    features = rng.standard_normal((30, 80))
    stiffness = 10 ** rng.uniform(-decades, 0, 80)
    ridge = np.diag(rng.uniform(size=30)) * 1e-3
    solution = rng.standard_normal(30)
    # The matrix entry by entry, which shares nothing with the factor.
    matrix = np.einsum("ik,k,jk->ij", features, stiffness, features) + ridge
    right = matrix @ solution
    equations = NormalEquations(features, features.astype(np.float32), stiffness, ridge)
    step, change = equations.solve(right, accuracy=1e-12 * np.abs(right).max())
    np.testing.assert_allclose(matrix @ step, right, atol=1e-11 * np.abs(right).max())
    np.testing.assert_allclose(change, features.T @ step, atol=1e-9 * np.abs(change).max())


def test_normal_equations_fall_back_on_double_precision(rng):
    # Ten stiff columns span half of the rows; in single precision the other half is lost.
    features = rng.standard_normal((20, 60))
    stiffness = np.where(np.arange(60) < 10, 1.0, 1e-10)
    solution = rng.standard_normal(20)
    right = np.einsum("ik,k,jk,j->i", features, stiffness, features, solution)
    equations = NormalEquations(features, features.astype(np.float32), stiffness, np.zeros((20, 20)))
    step, _ = equations.solve(right, accuracy=1e-14 * np.abs(right).max())
    assert not equations.is_single
    np.testing.assert_allclose(step, solution, atol=1e-3)


@pytest.mark.parametrize("size", [1e-60, 1e60])
def test_normal_equations_beyond_the_range_of_single_precision(rng, size):
    features, solution = rng.standard_normal((6, 40)), rng.standard_normal(6)
    right = features @ (features.T @ solution)
    equations = NormalEquations(features, features.astype(np.float32), np.ones(40), np.zeros((6, 6)))
    step, _ = equations.solve(size * right, accuracy=1e-12 * size)
    assert equations.is_single
    np.testing.assert_allclose(step / size, solution, rtol=1e-9)


def test_a_ridge_far_above_the_stiffness_is_no_overflow(rng):
    features, ridge = rng.standard_normal((6, 40)), 2.0 * np.eye(6)
    equations = NormalEquations(features, features.astype(np.float32), np.full(40, 1e-60), ridge)
    step, _ = equations.solve(np.ones(6), accuracy=1e-12)
    np.testing.assert_allclose(step, 0.5)


def test_targets_out_of_reach_do_not_converge(rng):
    features = np.vstack([np.ones(20), np.ones(20)])
    solution = basis_pursuit(features, np.array([1.0, 2.0]))
    assert not solution.converged
    assert solution.residual > 0.1


def test_zero_targets_are_refused():
    with pytest.raises(ArgumentError, match="targets must not be all zero"):
        basis_pursuit(np.ones((2, 3)), np.zeros(2))


def test_independent_support_keeps_outputs_and_norm_with_as_many_columns_as_rows(rng):
    features = rng.standard_normal((12, 90))
    weights = rng.standard_normal(90)
    reduced = independent_support(features, weights)
    assert (reduced != 0).sum() <= 12
    assert np.abs(reduced).sum() <= np.abs(weights).sum() * (1 + 1e-12)
    np.testing.assert_allclose(features @ reduced, features @ weights, atol=1e-11)
    np.testing.assert_array_equal(independent_support(features, reduced), reduced)


def test_merged_cells_act_alike_on_the_data_at_no_larger_norm(rng):
    points = rng.standard_normal((6, 3))
    neurons = rng.standard_normal((200, 3))
    neurons /= np.linalg.norm(neurons, axis=1, keepdims=True)
    weights = rng.standard_normal(200)
    merged, masses = merge_cells(points, neurons, weights)
    # Six great circles cut the sphere into 6 * 5 + 2 cells, each with neurons of two signs.
    assert len(masses) <= 2 * 32
    assert np.abs(masses).sum() < np.abs(weights).sum()
    before = np.maximum(points @ neurons.T, 0) @ weights
    np.testing.assert_allclose(np.maximum(points @ merged.T, 0) @ masses, before, atol=1e-12)


def test_only_close_neurons_of_a_cell_become_one(rng):
    points = np.eye(3)
    base = np.array([[0.6, 0.64, 0.48], [-0.6, 0.64, 0.48]])
    close = base[[0, 0, 1]] + 1e-4 * rng.standard_normal((3, 3))
    apart = np.array([[0.98, 0.14, 0.14], [0.8, 0.36, 0.48]])
    neurons = np.concatenate([close, apart])
    neurons /= np.linalg.norm(neurons, axis=1, keepdims=True)
    stays, merged = merge_close(points, neurons, np.array([1.0, 2.0, 1.0, 1e-9, -1.0]), apart=1e-6)
    left = np.concatenate([neurons[stays], merged])
    # The two near the first base become one; the far one of its cell, and the one of the other sign, stay.
    assert len(left) == 4
    mean = neurons[0] + 2 * neurons[1]
    assert np.linalg.norm(left - mean / np.linalg.norm(mean), axis=1).min() < 1e-9
    for stays in (neurons[2], neurons[3], neurons[4]):
        assert np.linalg.norm(left - stays, axis=1).min() < 1e-12
