"""The estimators inside scikit-learn's own machinery."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone, is_classifier
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from diffstab.kernels import NTKClassifier, NTKRegressor
from diffstab.sphere import MinNormReLU

ESTIMATORS = {
    "regressor": (NTKRegressor(ridge=1e-3), "ridge", [1e-3, 1.0]),
    "classifier": (NTKClassifier(C=10.0), "C", [0.01, 10.0]),
    "min_norm": (MinNormReLU(penalty=1e-2, tol=1e-2), "penalty", [1e-2, 1.0]),
}


@pytest.fixture(params=ESTIMATORS)
def case(request):
    """An estimator, one of its parameters with two values, points and targets."""
    estimator, name, values = ESTIMATORS[request.param]
    rng = np.random.default_rng(1)
    x = rng.standard_normal((24, 2))
    y = x[:, 0] + 0.5 * np.abs(x[:, 1])
    return estimator, name, values, x, np.where(y > y.mean(), "up", "down") if is_classifier(estimator) else y


def same(one, other):
    """Compare predictions: labels exactly, numbers to rounding."""
    if one.dtype.kind == "f":
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-8)
    else:
        np.testing.assert_array_equal(one, other)


def test_a_pipeline_is_the_estimator_on_scaled_points(case):
    estimator, _, _, x, y = case
    scaled = StandardScaler().fit(x)
    found = make_pipeline(StandardScaler(), clone(estimator)).fit(x, y).predict(x)
    same(found, clone(estimator).fit(scaled.transform(x), y).predict(scaled.transform(x)))


def test_a_grid_search_chooses_what_a_loop_chooses(case):
    estimator, name, values, x, y = case
    folds = KFold(3)
    search = GridSearchCV(estimator, {name: values}, cv=folds).fit(x, y)
    scores = [
        np.mean(
            [
                clone(estimator).set_params(**{name: value}).fit(x[train], y[train]).score(x[test], y[test])
                for train, test in folds.split(x)
            ]
        )
        for value in values
    ]
    assert search.best_params_[name] == values[int(np.argmax(scores))]
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], scores, rtol=1e-9)


def test_a_pickled_estimator_predicts_the_same(case):
    estimator, _, _, x, y = case
    fitted = clone(estimator).fit(x, y)
    same(pickle.loads(pickle.dumps(fitted)).predict(x), fitted.predict(x))
    assert clone(fitted).get_params() == fitted.get_params()
    assert not hasattr(clone(fitted), "n_features_in_")


@pytest.mark.parametrize("kind", ["list", "frame", "float32", "tensor"])
def test_points_of_any_kind_give_the_same(case, kind):
    estimator, _, _, x, y = case
    x = x.astype(np.float32).astype(np.float64)
    convert = {
        "list": np.ndarray.tolist,
        "frame": lambda values: pd.DataFrame(values, columns=["a", "b"]),
        "float32": lambda values: values.astype(np.float32),
        "tensor": torch.from_numpy,
    }[kind]
    same(clone(estimator).fit(convert(x), y).predict(convert(x)), clone(estimator).fit(x, y).predict(x))


def test_predictions_of_folds_are_those_of_a_loop(case):
    estimator, _, _, x, y = case
    found = cross_val_predict(estimator, x, y, cv=KFold(3))
    for train, test in KFold(3).split(x):
        same(found[test], clone(estimator).fit(x[train], y[train]).predict(x[test]))


@pytest.mark.contract
def test_processes_give_what_one_gives(case):
    estimator, _, _, x, y = case
    alone, together = (cross_val_score(estimator, x, y, cv=KFold(4), n_jobs=jobs) for jobs in (1, 2))
    np.testing.assert_allclose(alone, together, rtol=1e-9)
