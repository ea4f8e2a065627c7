"""Weights of samples, extreme inputs and what a solution says of itself."""

import numpy as np
import pytest
import torch
from scipy.linalg import LinAlgWarning
from sklearn.exceptions import ConvergenceWarning
from sklearn.kernel_ridge import KernelRidge

from diffstab.errors import ArgumentError
from diffstab.kernels import NTKClassifier, NTKRegressor, as_predictor, ntk


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((25, 4))
    return x, np.sin(x[:, 0]) + x[:, 1], rng.uniform(0.1, 5, 25)


@pytest.mark.parametrize("outputs", [None, 2])
@pytest.mark.parametrize("zeros", [0, 5])
def test_weighted_ridge_is_the_closed_form(data, outputs, zeros):
    x, y, weights = data
    y = y if outputs is None else np.stack([y, x[:, 2]], axis=1)
    weights[:zeros] = 0
    gram = ntk(torch.from_numpy(x)).numpy()
    # The minimum over a of sum w (y - K a)^2 + ridge a K a: W (K a - y) + ridge a = 0.
    expected = np.linalg.solve(np.diag(weights) @ gram + 0.1 * np.eye(25), (weights * y.T).T)
    model = NTKRegressor(ridge=0.1).fit(x, y, sample_weight=weights)
    np.testing.assert_allclose(model.dual_coef_, expected, rtol=1e-9, atol=1e-12)
    reference = KernelRidge(alpha=0.1, kernel="precomputed").fit(gram, y, sample_weight=weights)
    np.testing.assert_allclose(model.predict(x), reference.predict(gram), rtol=1e-9)
    assert model.conditioning_.residual < 1e-10


def test_without_ridge_only_zero_weights_count(data):
    x, y, weights = data
    model = NTKRegressor().fit(x, y, sample_weight=weights)
    np.testing.assert_array_equal(model.dual_coef_, NTKRegressor().fit(x, y).dual_coef_)
    weights[:4] = 0
    model = NTKRegressor().fit(x, y, sample_weight=weights)
    np.testing.assert_array_equal(model.dual_coef_[:4], 0)
    np.testing.assert_allclose(model.predict(x), NTKRegressor().fit(x[4:], y[4:]).predict(x), rtol=1e-10)


def test_contradicting_targets_without_ridge_are_met_in_the_mean_of_the_weights(data):
    x, y, _ = data
    twice, targets = np.concatenate([x, x[:1]]), np.append(y, y[0] + 1)
    weights = np.append(np.ones(25), 3.0)
    with pytest.warns(LinAlgWarning, match="does not interpolate"):
        model = NTKRegressor().fit(twice, targets, sample_weight=weights)
    assert model.predict(x[:1]) == pytest.approx([y[0] + 0.75], rel=1e-8)
    assert model.conditioning_.residual == pytest.approx(0.75, rel=1e-8)


def test_weights_are_checked(data):
    x, y, weights = data
    with pytest.raises(ArgumentError, match="one of them positive, got zeros only"):
        NTKRegressor().fit(x, y, sample_weight=np.zeros(25))
    for wrong in (-weights, np.append(weights[1:], np.nan)):
        with pytest.raises(ArgumentError, match="sample_weight must hold finite weights >= 0"):
            NTKRegressor().fit(x, y, sample_weight=wrong)
    with pytest.raises(ArgumentError, match=r"sample_weight must have shape \(25,\), got \(24,\)"):
        NTKRegressor().fit(x, y, sample_weight=weights[1:])


@pytest.mark.parametrize("size", [1e-300, 1e-200, 1e-60, 1e60, 1e200])
@pytest.mark.parametrize("ridge", [0.0, 0.2])
def test_small_and_large_inputs_are_those_of_a_homogeneous_kernel(data, size, ridge):
    x, y, _ = data
    model = NTKRegressor(ridge=0.0 if ridge == 0 else min(ridge * size * size, 1e300)).fit(x * size, y)
    if ridge * size * size == 0:  # no ridge, or one that is too small for float64
        expected = NTKRegressor().fit(x, y)
    elif size > 1e150:  # the ridge itself would overflow
        expected = NTKRegressor(ridge=1e300 / size / size).fit(x, y)
    else:
        expected = NTKRegressor(ridge=ridge).fit(x, y)
    np.testing.assert_allclose(model.predict(2 * x * size), expected.predict(2 * x), rtol=1e-8)


def test_a_ridge_far_above_the_kernel_gives_zero(data):
    x, y, _ = data
    assert np.abs(NTKRegressor(ridge=0.1).fit(x * 1e-200, y).predict(x * 1e-200)).max() < 1e-250


def test_lengths_far_apart_keep_their_kernel():
    x = torch.tensor([[3e-200, 4e-200], [1e150, 0.0]], dtype=torch.float64)
    one = torch.tensor([[3.0, 4.0], [1.0, 0.0]], dtype=torch.float64)
    # Between both: K(a x, b y) = a b K(x, y).
    assert float(ntk(x)[0, 1]) == pytest.approx(1e-50 * float(ntk(one)[0, 1]), rel=1e-12)


def test_kernels_that_overflow_are_refused(data):
    x, y, _ = data
    with pytest.raises(ArgumentError, match="X must have finite kernel values"):
        NTKClassifier().fit(x * 1e200, y > 0)


def test_a_hard_margin_that_is_held_back_is_told(data):
    x, y, _ = data
    with pytest.warns(ConvergenceWarning, match="the margin is not hard"):
        NTKClassifier().fit(x * 1e-7, y > 0)


def test_weights_of_a_classifier_scale_its_bound(data):
    x, y, weights = data
    machine = NTKClassifier(C=0.01).fit(x, y > 0, sample_weight=weights)
    bound = 0.01 * weights[machine.svc_.support_]
    assert (np.abs(machine.svc_.dual_coef_[0]) <= bound * (1 + 1e-12)).all()
    assert np.isclose(np.abs(machine.svc_.dual_coef_[0]), bound).any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_tensors_are_taken_and_left_alone(data, dtype):
    x, y, weights = data
    points = torch.from_numpy(x).to(dtype).requires_grad_()
    targets = torch.from_numpy(y).to(dtype)
    model = NTKRegressor(ridge=0.1).fit(points, targets, sample_weight=torch.from_numpy(weights))
    same = NTKRegressor(ridge=0.1).fit(points.detach().double().numpy(), targets.double().numpy(), weights)
    assert isinstance(model.predict(points), np.ndarray)
    np.testing.assert_array_equal(model.predict(points), same.predict(points.detach().double().numpy()))
    found = as_predictor(model)(points)
    assert (found.dtype, found.requires_grad, points.grad) == (torch.float64, False, None)
    np.testing.assert_array_equal(found.numpy(), model.predict(points))
