"""Certificates of random problems that ask for care: judged by linear programs and maxima that share no code.

The 500 problems under the `slow` marker, on one BLAS kernel each:

    OPENBLAS_CORETYPE=Haswell pytest -m slow tests/sphere/test_minnorm_certificates.py
"""

import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning

from diffstab.sphere import MinNormReLU, uniform_points
from diffstab.sphere.arrangement import maxima_on_circle, maxima_on_sphere
from diffstab.sphere.basic import Cloud
from diffstab.sphere.certificate import certificate, group_by_line
from diffstab.sphere.conditioning import RowConditioning
from diffstab.sphere.problem import prepare
from diffstab.sphere.verdict import judge
from tests.references.minnorm import bounds, certificate_values, extrema
from tests.references.minnorm_problems import problem

EPS = np.finfo(np.float64).eps
# A miss of the simplex method's own tolerance, 1e-10 in the features of points that are closer than this.
RESOLVED = 1e7


def fitted(case):
    """The fit, and whether it warned."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model = MinNormReLU(penalty=case.penalty, tol=case.tol).fit(case.points, case.targets)
    return model, bool(caught)


def in_span(points):
    basis = np.linalg.svd(points, full_matrices=False)[2][: np.linalg.matrix_rank(points)]
    return points if len(basis) == points.shape[1] else points @ basis.T


def check(case, *, program):
    model, warned = fitted(case)
    count, weight = len(case.targets), np.abs(model.dual_).sum() * np.abs(case.targets).max()
    size = weight * (case.penalty or 1.0) / model.objective_
    rounding = 10 * EPS * max(1.0, size)
    assert model.gap_ >= -rounding
    assert warned or model.gap_ <= case.tol
    assert len(model.weights_) <= count
    assert model.certificate_ == "exact"
    points = in_span(case.points)
    largest = np.abs(certificate_values(points, model.dual_, extrema(points, model.dual_))).max()
    assert largest <= 1 + 1e-13
    wide = np.longdouble
    outputs = certificate_values(model.atoms_, model.weights_, case.points)
    norm, gain = np.abs(model.weights_).sum(), (model.dual_.astype(wide) * case.targets).sum()
    if case.penalty:
        objective = ((case.targets - outputs) ** 2).sum() / (2 * count) + case.penalty * norm
        gain = case.penalty * (gain - count * case.penalty * (model.dual_.astype(wide) ** 2).sum() / 2)
    else:
        objective = norm
    assert model.objective_ == pytest.approx(float(objective), rel=1e-12)
    gap = float((objective - gain) / objective)
    assert warned or (-rounding <= gap <= model.gap_ + rounding)
    if program and not case.penalty and weight / model.objective_ < RESOLVED:
        lower, upper = bounds(points, case.targets)
        slack = 1e-8 + rounding
        assert model.objective_ >= lower * (1 - slack)
        assert model.objective_ * (1 - model.gap_) <= upper * (1 + slack)


@pytest.mark.parametrize("seed", range(64))
def test_a_certificate_holds_on_what_is_returned(seed):
    check(problem(seed), program=seed % 8 == seed // 8)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(500))
def test_every_certificate_holds_and_lies_within_linear_programs(seed):
    check(problem(seed), program=True)


def gaussian_clusters(seed, *, width):
    """Clusters of points on the circle and a smooth target with roughness, as fits of random fields have."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 2 * np.pi, 8)[rng.integers(8, size=64)] + width * rng.standard_normal(64)
    degree = np.arange(1, 30)
    phase = rng.uniform(0, 2 * np.pi, 29)
    targets = (np.cos(2 * degree * angle[:, None] + phase) * degree**-2.5).sum(axis=1)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1), targets


@pytest.mark.parametrize("seed", range(6))
def test_clusters_on_the_circle_have_no_objective_below_their_bound(seed):
    points, targets = gaussian_clusters(seed, width=1e-3)
    model = MinNormReLU().fit(points, targets)
    assert 0 <= model.objective_ - model.dual_ @ targets <= 1e-4 * model.objective_


@pytest.mark.parametrize("separation", [1e-3, 1e-6, 1e-8])
@pytest.mark.parametrize("dimension", [2, 3])
def test_maxima_in_the_thin_cells_of_close_points_are_found(dimension, separation):
    rng = np.random.default_rng(5)
    maxima = maxima_on_circle if dimension == 2 else maxima_on_sphere
    for _ in range(10):
        points = np.repeat(rng.standard_normal((5, dimension)), 3, axis=0)
        points += separation * rng.standard_normal(points.shape)
        dual = rng.standard_normal(15) / separation
        dual -= np.repeat(dual.reshape(5, 3).mean(axis=1), 3)
        lines = group_by_line(points)
        if len(lines.directions) < 15:
            continue  # of lines that count as one, only the first is looked at
        found = maxima(certificate(lines, dual))
        there = np.abs(certificate_values(points, dual, found.neurons)).max()
        largest = np.abs(certificate_values(points, dual, extrema(points, dual))).max()
        rounding = 40 * EPS * np.abs(dual) @ np.linalg.norm(points, axis=1)
        assert found.largest >= largest - rounding
        assert abs(found.largest - there) <= rounding


def test_a_search_that_missed_the_maximum_makes_no_negative_gap():
    rng = np.random.default_rng(3)
    points, targets = rng.standard_normal((12, 5)), rng.standard_normal(12)
    data = prepare(points, targets, penalty=0.0)
    atoms = rng.standard_normal((12, 5))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    weights = np.linalg.lstsq(np.maximum(points @ atoms.T, 0), targets, rcond=None)[0]
    verdict = judge(data, Cloud(atoms, weights), 100 * targets, 1.0)
    assert verdict.gap >= 0
    assert np.abs(np.maximum(points @ atoms.T, 0).T @ verdict.dual).max() <= 1


def test_a_residual_counts_against_an_interpolant():
    points, targets = np.array([[1.0, 0.0], [0.6, 0.8]]), np.array([1.0, 2.0])
    model = MinNormReLU(tol=1e-8).fit(points, targets)
    data = prepare(points, targets, penalty=0.0)
    exact = judge(data, Cloud(model.atoms_, model.weights_), model.dual_, 1.0)
    short = judge(data, Cloud(model.atoms_, 0.999 * model.weights_), model.dual_, 1.0)
    assert exact.met
    assert not short.met
    assert short.objective < short.dual @ targets
    assert short.gap >= 0.999e-3


def test_conditioned_rows_are_orthonormal_and_keep_gains():
    rng = np.random.default_rng(4)
    features = rng.standard_normal((6, 40))
    features[1] = features[0] + 1e-6 * features[1]
    rows = RowConditioning(features, ridge=0.0)
    new = rows.rows(features)
    np.testing.assert_allclose(new @ new.T, np.eye(6), atol=1e-8)
    dual, targets = rng.standard_normal(6), rng.standard_normal(6)
    assert rows.new_dual(dual) @ rows.rows(targets) == pytest.approx(dual @ targets, rel=1e-8)
    np.testing.assert_allclose(rows.old_dual(rows.new_dual(dual)), dual, rtol=1e-8)
    loss = RowConditioning(features, ridge=0.5)
    assert loss.new_dual(dual) @ loss.ridge @ loss.new_dual(dual) == pytest.approx(0.5 * dual @ dual)


def test_rounds_that_make_no_headway_keep_more_neurons():
    # Seven points in d = 5 among which columns that go too early come back, for good, at a gap of 1.2e-4.
    points = uniform_points(7, 5, generator=torch.Generator().manual_seed(1034)).numpy()
    assert MinNormReLU(tol=1e-4).fit(points, np.ones(7)).gap_ <= 1e-4
