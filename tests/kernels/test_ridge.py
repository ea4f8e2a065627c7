import warnings

import numpy as np
import pytest
import torch
from scipy.linalg import LinAlgWarning
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.kernel_ridge import KernelRidge
from sklearn.utils.estimator_checks import estimator_checks_generator

import diffstab.kernels
from diffstab.errors import ArgumentError
from diffstab.kernels import NTKClassifier, NTKRegressor, as_predictor, ntk, random_feature_kernel

KERNELS = {"ntk": ntk, "random_feature": random_feature_kernel}


LEFT_OUT = {
    # These run under SCIPY_ARRAY_API only.
    *((name, "check_array_api_input") for name in ("NTKRegressor", "NTKClassifier")),
    # Labels are random there: no hard margin. Scikit-learn's own SVC is excused from this check too.
    ("NTKClassifier", "check_sample_weight_equivalence_on_dense_data"),
}


@pytest.fixture
def points(generator):
    return torch.randn(30, 6, dtype=torch.float64, generator=generator).numpy()


@pytest.fixture
def labels(points):
    return np.where(points[:, 0] * points[:, 1] > 0, 1.0, -1.0)


def expected_checks():
    for estimator in (NTKRegressor(), NTKRegressor(kernel="random_feature", ridge=1e-3), NTKClassifier()):
        for instance, check in estimator_checks_generator(estimator):
            if (type(instance).__name__, check.func.__name__) not in LEFT_OUT:
                yield pytest.param(instance, check, id=f"{estimator!r}-{check.func.__name__}")


@pytest.mark.parametrize(("estimator", "check"), list(expected_checks()))
def test_scikit_learn_habits_are_kept(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the checks provoke warnings on purpose
        check(estimator)


@pytest.mark.parametrize("activation", ["relu", "softplus"])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("depth", [1, 3])
def test_no_ridge_interpolates(points, labels, kernel, activation, depth):
    estimator = NTKRegressor(kernel=kernel, activation=activation, depth=depth).fit(points, labels)
    report = estimator.conditioning_
    assert (report.solver, report.rank) == ("cholesky", 30)
    # Rounding is amplified by the condition number at most.
    assert np.abs(estimator.predict(points) - labels).max() < 30 * 2e-16 / report.reciprocal_condition
    assert report.residual < 1e-11


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("outputs", [None, 3])
def test_ridge_agrees_with_scikit_learns_on_the_same_kernel(points, kernel, outputs):
    targets = points[:20, 0] if outputs is None else points[:20, :outputs]
    x, new = torch.from_numpy(points[:20]), torch.from_numpy(points[20:])
    reference = KernelRidge(alpha=0.1, kernel="precomputed").fit(KERNELS[kernel](x).numpy(), targets)
    estimator = NTKRegressor(kernel=kernel, ridge=0.1).fit(points[:20], targets)
    assert estimator.predict(points[20:]) == pytest.approx(
        reference.predict(KERNELS[kernel](new, x).numpy()), rel=1e-9, abs=1e-12
    )


def test_convention_ridge_penalises_the_mean_square_error_as_documented(points, labels):
    ridge, n = 0.3, len(points)
    estimator = NTKRegressor(ridge=ridge).fit(points, labels)
    gram, a = ntk(torch.from_numpy(points)).numpy(), estimator.dual_coef_
    # Gradient of 1/(2n) |y - K a|^2 + ridge/(2n) a K a.
    gradient = gram @ (gram @ a - labels) / n + ridge / n * gram @ a
    assert np.abs(gradient).max() < 1e-13


def test_regression_has_no_intercept_and_no_output_at_zero(points):
    estimator = NTKRegressor().fit(points, np.full(30, 7.0))
    assert estimator.predict(np.zeros((1, 6))) == pytest.approx([0.0])


def test_repeated_points_get_the_least_norm_least_squares_solution(points, labels):
    x, y = np.concatenate([points, points[:5]]), np.concatenate([labels, labels[:5] + 1.0])
    with pytest.warns(LinAlgWarning, match="does not interpolate"):
        estimator = NTKRegressor().fit(x, y)
    assert estimator.conditioning_.solver == "eigh"
    assert estimator.conditioning_.rank == 30
    assert estimator.conditioning_.residual == pytest.approx(0.5)
    gram = ntk(torch.from_numpy(x)).numpy()
    assert estimator.dual_coef_ == pytest.approx(np.linalg.pinv(gram, rcond=1e-12) @ y, rel=1e-8, abs=1e-9)
    assert estimator.predict(points[:5]) == pytest.approx(labels[:5] + 0.5)
    assert estimator.predict(points[5:]) == pytest.approx(labels[5:])


def test_missing_odd_modes_of_relu_on_the_circle_show_as_rank():
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    estimator = NTKRegressor().fit(circle, np.cos(2 * angle))
    # Without biases the kernel holds the modes 0, 1 and the even ones: of 64 modes 1 + 2 + 2 * 15 + 1.
    assert estimator.conditioning_.rank == 34
    assert estimator.conditioning_.residual < 1e-12
    with pytest.warns(LinAlgWarning, match=r"met only to 1\.0e\+00 of the largest target"):
        missed = NTKRegressor().fit(circle, np.cos(3 * angle))
    assert missed.conditioning_.residual == pytest.approx(1.0)


def test_zero_points_give_the_zero_predictor():
    with pytest.warns(LinAlgWarning, match="a point at the origin"):
        estimator = NTKRegressor().fit(np.zeros((3, 2)), np.ones(3))
    assert (estimator.conditioning_.solver, estimator.conditioning_.rank) == ("eigh", 0)
    assert np.array_equal(estimator.predict(np.ones((2, 2))), np.zeros(2))


def test_reciprocal_condition_is_that_of_the_system(points, labels):
    report = NTKRegressor(ridge=0.01).fit(points, labels).conditioning_
    system = ntk(torch.from_numpy(points)).numpy() + 0.01 * np.eye(30)
    exact = 1 / np.linalg.cond(system, 1)
    assert exact * 0.99 < report.reciprocal_condition < 3 * exact  # the estimate may be too hopeful


@pytest.mark.parametrize("kernel", KERNELS)
def test_hard_margin_machine_meets_the_optimality_conditions(points, labels, kernel):
    machine = NTKClassifier(kernel=kernel, tol=1e-8).fit(points, labels)
    margins = labels * machine.decision_function(points)
    support = machine.svc_.support_
    a = labels[support] * machine.svc_.dual_coef_[0]
    assert margins.min() > 1 - 1e-5
    assert margins[support] == pytest.approx(1, abs=1e-5)
    assert 2 <= len(support) <= 30
    assert np.all(a > 0)
    assert abs(machine.svc_.dual_coef_.sum()) < 1e-8 * a.sum()
    gram = KERNELS[kernel](torch.from_numpy(points)).numpy()
    expansion = gram[:, support] @ machine.svc_.dual_coef_[0] + machine.svc_.intercept_
    assert machine.decision_function(points) == pytest.approx(expansion)
    assert np.array_equal(machine.predict(points), labels)


def test_hard_margin_machine_has_the_largest_margin(points, labels):
    machine = NTKClassifier(tol=1e-8).fit(points, labels)
    coefficients = machine.svc_.dual_coef_[0]
    gram = ntk(torch.from_numpy(points)).numpy()
    support = machine.svc_.support_
    squared_norm = coefficients @ gram[np.ix_(support, support)] @ coefficients
    signed = labels[:, None] * gram * labels
    dual = minimize(
        lambda a: a @ signed @ a / 2 - a.sum(),
        np.ones(30),
        jac=lambda a: signed @ a - 1,
        bounds=[(0, None)] * 30,
        constraints={"type": "eq", "fun": lambda a: a @ labels, "jac": lambda a: labels},
        options={"maxiter": 1000, "ftol": 1e-14},
    )
    assert squared_norm == pytest.approx(-2 * dual.fun, rel=1e-6)


def test_soft_margin_bounds_the_dual_coefficients(points, labels):
    machine = NTKClassifier(C=0.5).fit(points, labels)
    assert np.abs(machine.svc_.dual_coef_).max() == pytest.approx(0.5)
    assert (labels * machine.decision_function(points)).min() < 1


def test_inseparable_points_end_with_a_warning():
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False) + 0.01
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    # Odd modes beyond the first are out of reach of a relu network without biases.
    with pytest.warns(ConvergenceWarning, match="max_iter=1000"):
        NTKClassifier(max_iter=1000).fit(circle, np.sign(np.cos(3 * angle)))


def test_several_classes_have_one_column_each(points):
    labels = np.array(["a", "b", "c"])[np.argmax(points[:, :3], axis=1)]
    machine = NTKClassifier().fit(points, labels)
    assert machine.decision_function(points).shape == (30, 3)
    assert np.array_equal(machine.predict(points), labels)


@pytest.mark.parametrize("estimator", [NTKRegressor(ridge=0.1), NTKClassifier()], ids=repr)
def test_blocks_of_predictions_do_not_show(points, labels, estimator, monkeypatch):
    whole = estimator.fit(points, labels).predict(points)
    monkeypatch.setattr("diffstab.kernels.ridge._ROWS_AT_ONCE", 7)
    assert estimator.predict(points) == pytest.approx(whole, rel=1e-12)


def test_predictor_of_images_is_the_estimator(points, labels):
    images = torch.from_numpy(points).float().reshape(30, 1, 2, 3)
    regressor, machine = NTKRegressor().fit(points, labels), NTKClassifier().fit(points, labels)
    values = as_predictor(regressor)(images)
    assert values.shape == (30,)
    assert values.dtype == torch.float64
    assert values.numpy() == pytest.approx(labels, abs=1e-4)  # the images were rounded to float32
    assert as_predictor(machine)(images).numpy() == pytest.approx(machine.decision_function(points), abs=1e-4)
    both = NTKRegressor().fit(points, np.stack([labels, -labels], axis=1))
    assert as_predictor(both)(images.requires_grad_()).shape == (30, 2)


def test_predictor_wants_a_fitted_estimator_of_ours_and_float_images(points, labels):
    with pytest.raises(
        ArgumentError, match="estimator must be an NTKRegressor or NTKClassifier, got KernelRidge"
    ):
        as_predictor(KernelRidge())
    with pytest.raises(NotFittedError):
        as_predictor(NTKRegressor())
    predictor = as_predictor(NTKRegressor().fit(points, labels))
    with pytest.raises(
        ArgumentError, match=r"images must be a floating-point tensor, got torch\.uint8\. Scale them"
    ):
        predictor(torch.zeros(2, 1, 2, 3, dtype=torch.uint8))
    with pytest.raises(ValueError, match="NaN"):
        predictor(torch.full((2, 1, 2, 3), torch.nan))


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (NTKRegressor(ridge=-1.0), "ridge must be finite and >= 0, got -1.0"),
        (NTKRegressor(ridge=float("nan")), "ridge must be finite and >= 0, got nan"),
        (NTKRegressor(kernel="rbf"), "kernel must be 'ntk' or 'random_feature', got 'rbf'"),
        (NTKClassifier(kernel="rbf"), "kernel must be 'ntk' or 'random_feature', got 'rbf'"),
        (NTKClassifier(depth=0), "depth must be an integer >= 1"),
        (NTKRegressor(activation="tanh"), "activation must be 'relu' or 'softplus'"),
    ],
    ids=repr,
)
def test_bad_parameters_are_named_when_fitting(points, labels, estimator, message):
    with pytest.raises(ArgumentError, match=message):
        estimator.fit(points, labels)


def test_room_offers_every_name_and_no_other():
    assert all(getattr(diffstab.kernels, name) for name in diffstab.kernels.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = diffstab.kernels.nothing
