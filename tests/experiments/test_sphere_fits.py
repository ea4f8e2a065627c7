import dataclasses
import math

import numpy as np
import pytest
import torch

from diffstab.experiments.sphere import SphereExperiment, SphereMethod
from diffstab.experiments.sphere_fits import error_columns, fit, rotation_columns
from diffstab.experiments.unit import Cell, Workplace
from diffstab.kernels import NTKRegressor, ntk, random_feature_kernel
from diffstab.solvers.sphere import train_sphere
from diffstab.solvers.sphere_net import SphereTraining
from diffstab.sphere import GaussianField, GaussianFieldTarget, TeacherTarget
from diffstab.streams import integer_seed, stream

TEACHER = {"class_path": "diffstab.sphere.TeacherTarget", "init_args": {"exponent": 1.0, "width": 50}}
FIELD = {"class_path": "diffstab.sphere.GaussianFieldTarget", "init_args": {"smoothness": 1.5}}


def tiny(**changes):
    return SphereExperiment(**{"n_test": 300, "degrees": 8, "spectrum_points": 200, **changes})


def at(dimension, target, n_train, seed):
    return Cell(n_train=n_train, dimension=dimension, target=target, seed=seed)


def record(experiment, place, method):
    cell = Cell(**place, method=method)
    return experiment.run(cell, experiment.prepare(place), Workplace(None, {}, print))


def test_points_and_values_belong_together():
    experiment = tiny(targets=[TEACHER])
    place = at(3, "abs_teacher_1", 20, 4)
    drawn = experiment.prepare(place)
    assert drawn.train.shape == (20, 3)
    assert drawn.test.shape == drawn.rotated.shape == (300, 3)
    assert isinstance(drawn.target, TeacherTarget)
    again = experiment.prepare(place)
    for name in ("train", "values", "test", "test_values", "rotated"):
        assert torch.equal(getattr(drawn, name), getattr(again, name))
    # A teacher is a function: its values at the test points do not depend on the training points beside them.
    alone = drawn.target.values(drawn.test, generator=_realisation(place))
    torch.testing.assert_close(alone, drawn.test_values, rtol=1e-12, atol=1e-12)


def _realisation(place):
    return stream(place["seed"], "target", place["dimension"], place["n_train"], place["target"])


def test_what_a_draw_depends_on():
    experiment = tiny(targets=[TEACHER, FIELD], n_train=[10, 20], seeds=[0, 1])
    one = experiment.prepare(at(3, "abs_teacher_1", 10, 0))
    larger = experiment.prepare(at(3, "abs_teacher_1", 20, 0))
    other = experiment.prepare(at(3, "abs_teacher_1", 10, 1))
    field = experiment.prepare(at(3, "gaussian_1.5", 10, 0))
    assert torch.equal(one.test, larger.test)
    assert torch.equal(one.rotated, larger.rotated)
    assert not torch.equal(one.train, larger.train[:10])
    assert not torch.equal(one.test, other.test)
    assert torch.equal(one.train, field.train)
    assert isinstance(field.target, GaussianFieldTarget)


def test_convention_rotations_are_by_the_asked_angle():
    drawn = tiny(rotation_deg=10.0).prepare(at(5, "constant", 8, 0))
    angles = torch.rad2deg((drawn.test * drawn.rotated).sum(1).arccos())
    torch.testing.assert_close(angles, torch.full((300,), 10.0, dtype=torch.float64), rtol=1e-9, atol=0)


@pytest.mark.parametrize(("predictor", "kernel"), [("ntk", ntk), ("random_features", random_feature_kernel)])
@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_a_lazy_fit_is_kernel_regression(predictor, kernel, ridge):
    drawn = tiny(targets=[TEACHER]).prepare(at(3, "abs_teacher_1", 12, 0))
    fitted = fit(SphereMethod(predictor=predictor, ridge=ridge), drawn, seed=0)
    matrix = kernel(drawn.train) + ridge * torch.eye(12, dtype=torch.float64)
    expected = kernel(drawn.test, drawn.train) @ torch.linalg.solve(matrix, drawn.values)
    torch.testing.assert_close(fitted.predict(drawn.test), expected, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(
        kernel(drawn.test, fitted.centres) @ fitted.coefficients, expected, rtol=1e-7, atol=1e-9
    )


def test_an_exact_fit_interpolates_with_few_neurons():
    drawn = tiny(targets=[TEACHER]).prepare(at(3, "abs_teacher_1", 12, 0))
    fitted = fit(SphereMethod(predictor="exact"), drawn, seed=0)
    torch.testing.assert_close(fitted.predict(drawn.train), drawn.values, rtol=0, atol=1e-8)
    total = torch.relu(drawn.test @ fitted.centres.T) @ fitted.coefficients
    torch.testing.assert_close(fitted.predict(drawn.test), total, rtol=1e-10, atol=1e-10)
    assert fitted.columns["n_atoms"] <= 12
    assert fitted.columns["gap"] <= 1e-4
    assert fitted.columns["objective"] == pytest.approx(float(fitted.coefficients.abs().sum()))
    penalised = fit(SphereMethod(predictor="exact", penalty=0.1), drawn, seed=0)
    assert float(penalised.coefficients.abs().sum()) < fitted.columns["objective"]


def test_errors_are_mean_squares():
    drawn = tiny().prepare(at(3, "constant", 8, 0))
    columns = error_columns(lambda points: 1 + points[:, 0], drawn)
    squares = drawn.test[:, 0].square().numpy()
    assert columns["test_error"] == pytest.approx(squares.mean())
    assert columns["test_error_se"] == pytest.approx(squares.std(ddof=1) / math.sqrt(300))
    assert columns["train_error"] == pytest.approx(float(drawn.train[:, 0].square().mean()))


def test_lazy_errors_are_averaged_over_a_field_and_others_are_not():
    experiment = tiny(targets=[FIELD], n_test=100)
    place = at(3, "gaussian_1.5", 10, 0)
    drawn = experiment.prepare(place)
    rows = {name: record(experiment, place, name) for name in ("lazy_ntk", "feature_exact")}
    lazy, feature = rows["lazy_ntk"], rows["feature_exact"]
    assert lazy["averaged"]
    assert lazy["test_error"] != lazy["drawn_error"]
    # Over many realisations on the same points the mean of the drawn error is the averaged one.
    field, points = GaussianField(3, 1.5), torch.cat([drawn.train, drawn.test])
    values = field.sample(points, generator=torch.Generator().manual_seed(1), samples=400)
    estimator = NTKRegressor().fit(drawn.train.numpy(), values[:, :10].T.numpy())
    squares = (torch.from_numpy(estimator.predict(drawn.test.numpy())).T - values[:, 10:]).square().mean(1)
    error = float(squares.std()) / math.sqrt(400)
    assert float(squares.mean()) == pytest.approx(lazy["test_error"], abs=4 * error)
    assert not feature["averaged"]
    assert feature["test_error"] == feature["drawn_error"]
    assert (lazy["power_kind"], feature["power_kind"]) == ("averaged", "estimated")
    assert len(lazy["error_power"]) == len(lazy["target_power"]) == len(lazy["theory_power"])
    assert "theory_error" not in feature


def test_without_degrees_there_is_theory_but_no_spectrum():
    experiment = tiny(targets=[FIELD], n_test=100, degrees=0)
    lazy = record(experiment, at(3, "gaussian_1.5", 10, 0), "lazy_ntk")
    assert lazy["theory_error"] > 0
    assert not {"error_power", "target_power", "theory_power", "learnt_degree"} & lazy.keys()


def test_rotation_of_a_linear_predictor_has_a_closed_form():
    """f = e.x: E|f(Rx) - f(x)|^2 = (2 - 2 cos a)/d, E|f(x) - f(z)|^2 = 2/d."""
    drawn = tiny(n_test=20_000).prepare(at(3, "constant", 8, 0))
    columns = rotation_columns(lambda points: points[:, 0], drawn)
    expected = 1 - math.cos(math.radians(10))
    assert columns["D_rotation"] == pytest.approx(expected, rel=5 * 1.5 / math.sqrt(20_000))
    assert columns["D_rotation_numerator"] / columns["D_rotation_denominator"] == columns["D_rotation"]


def test_a_constant_predictor_has_no_ratio():
    drawn = tiny().prepare(at(3, "constant", 8, 0))
    columns = rotation_columns(lambda points: torch.ones(len(points), dtype=torch.float64), drawn)
    assert columns["D_rotation"] is None
    assert columns["D_rotation_numerator"] == 0


def test_a_row_has_everything_and_the_first_seed_its_neurons():
    experiment = tiny(seeds=[3, 4])
    rows = {}
    for seed in (3, 4):
        rows[seed] = record(experiment, at(2, "constant", 8, seed), "feature_exact")
    assert rows[3]["dataset"] == "constant, d = 2"
    assert rows[3]["regime"] == "feature"
    assert math.isinf(rows[3]["smoothness"])
    assert rows[3]["isotropic"]
    for column in (
        "test_error",
        "test_error_se",
        "n_atoms",
        "objective",
        "gap",
        "certificate",
    ):
        assert column in rows[3], column
    assert len(rows[3]["centres"]) == 2 * rows[3]["n_atoms"]
    assert len(rows[3]["points"]) == 16
    assert "centres" not in rows[4]
    directions = np.reshape(rows[3]["centres"], (-1, 2))
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, rtol=1e-12)


def test_a_trained_fit_is_that_of_train_sphere_with_the_seed_of_the_run():
    drawn = tiny().prepare(at(3, "constant", 8, 0))
    settings = SphereTraining(width=30, max_steps=200, seed=4)
    fitted = fit(SphereMethod(predictor="trained", training=settings), drawn, seed=2)
    own = integer_seed(2, "start of training", 4, below=2**63)
    expected = train_sphere(drawn.train, drawn.values, dataclasses.replace(settings, seed=own))
    torch.testing.assert_close(fitted.predict(drawn.test), expected.predict(drawn.test), rtol=0, atol=0)
    total = torch.relu(drawn.test @ fitted.centres.T) @ fitted.coefficients
    torch.testing.assert_close(fitted.predict(drawn.test), total, rtol=1e-10, atol=1e-10)
    assert fitted.columns["steps"] == 200
    assert fitted.columns["history_objective"][-1] == fitted.columns["objective"]


@pytest.mark.parametrize("penalty", [0.1, 10.0])
def test_neurons_that_have_vanished_are_no_obstacle(penalty):
    training = SphereTraining("path_norm", width=30, penalty=penalty, max_steps=300)
    experiment = tiny(methods={"a": SphereMethod(predictor="trained", training=training)})
    row = record(experiment, at(3, "constant", 8, 0), "a")
    assert 0 in row["coefficients"]
    assert row["n_atoms"] == 0 if penalty == 10 else row["n_atoms"] > 0
    # All that is left of nothing is the target's own power, 1 in degree 0.
    assert (row["error_power"][0] == pytest.approx(1)) == (penalty == 10)
