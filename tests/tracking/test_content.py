"""What is drawn of records, from records written down by hand."""

import math

import numpy as np
import pytest

from diffstab.experiments.fit import FitExperiment
from diffstab.experiments.images import ImageExperiment
from diffstab.experiments.plateau import PlateauExperiment
from diffstab.experiments.sphere import SphereExperiment
from diffstab.experiments.unit import Cell
from diffstab.tracking import content
from tests.references.toy_experiment import Toy

ROW = {
    "dataset": "Digits",
    "method": "feature",
    "n_train": 64,
    "seed": 1,
    "test_error": 0.25,
    "D": 0.1,
    "D_low": 0.05,
    "D_high": 0.2,
    "R": np.float64(2.0),
    "init_D": 0.3,
    "init_D_low": math.nan,
    "init_D_high": math.nan,
    "steps": 7,
    "neurons_x": [1.0, 2.0],
    "G": None,
    "config": "{" + " " * 500 + "}",
}


def test_a_record_is_a_point_of_its_curves():
    curves = content.curves_of(ImageExperiment)
    assert content.point(curves, ROW) == {
        "images/n_train": 64,
        "images/test_error": 0.25,
        "images/D": 0.1,
        "images/R": 2.0,
        "images/init_D": 0.3,
    }


def test_single_values_and_what_a_batch_shares():
    assert "config" not in content.scalars(ROW)
    assert "neurons_x" not in content.scalars(ROW)
    assert content.scalars(ROW)["R"] == 2.0
    other = {**ROW, "seed": 2, "D": 0.5}
    assert content.summary([ROW, other]).keys() == content.scalars(ROW).keys() - {"seed", "D"}
    assert content.summary([ROW])["seed"] == 1
    assert content.summary([]) == {}


def test_measurements_that_have_intervals_make_a_table():
    table = content.intervals_table([ROW, {"val_D": 0.1}], ["dataset", "n_train"])
    assert table.columns == ["dataset", "n_train", "quantity", "value", "low", "high"]
    after, before = table.data
    assert after == ["Digits", 64, "D", 0.1, 0.05, 0.2]
    assert before[2:4] == ["D before", 0.3]
    assert math.isnan(before[4])


def test_records_of_different_columns_make_one_table():
    table = content.records_table([{"a": 1}, {"b": "x", "a": 2}])
    assert table == (["a", "b"], [[1, None], [2, "x"]])


def test_best_of_each_width():
    rows = [{"width": 4, "loss": 2.0}, {"width": 2, "loss": 5.0}, {"width": 4, "loss": 1.0}]
    assert content.best_points(content.curves_of(PlateauExperiment), rows) == [
        {"plateau_best/width": 2.0, "plateau_best/loss": 5.0},
        {"plateau_best/width": 4.0, "plateau_best/loss": 1.0},
    ]
    assert content.best_points(content.curves_of(ImageExperiment), [ROW]) == []


@pytest.mark.parametrize(
    ("values", "axis"),
    [
        ({"steps": 3, "flow_time": 0.1}, "flow_time"),
        ({"steps": 3, "flow_time": math.nan}, "steps"),
        ({}, "steps"),
    ],
)
def test_a_flow_is_drawn_against_its_time(values, axis):
    assert content.training_axis(values) == axis


def test_steps_have_one_name():
    assert content.moment({"step": 3.0, "loss": 1.0}) == {"steps": 3.0, "loss": 1.0}


def test_recorded_histories():
    forces = {"trace_step": [0.0, 8.0], "trace_loss": [2.0, 1.0], "trace_stage": ["start", "gd"], "loss": 1.0}
    assert list(content.training_history(forces)) == [
        {"steps": 0.0, "loss": 2.0},
        {"steps": 8.0, "loss": 1.0},
    ]
    sphere = {"history_steps": np.array([1.0]), "history_objective": np.array([0.5])}
    assert list(content.training_history(sphere)) == [{"steps": 1.0, "objective": 0.5}]
    assert list(content.training_history(ROW)) == []


def test_lines_are_named_by_their_place_without_size_and_seed():
    field = {"class_path": "diffstab.sphere.GaussianFieldTarget", "init_args": {"smoothness": 1.5}}
    experiment = SphereExperiment(targets=[field], seeds=[0])
    names = {content.line_name(experiment, cell) for cell in experiment.cells()}
    assert names == {"d=3 gaussian_1.5 lazy_ntk", "d=3 gaussian_1.5 feature_exact"}
    assert content.line_name(FitExperiment({"seed_everything": 0}), Cell(seed=0)) == "fit"


def test_an_experiment_of_ones_own_is_drawn_by_what_it_says():
    curves = content.curves_of(Toy)
    assert content.point(curves, {"number": 3, "square": 9, "text": "x"}) == {
        "toy/number": 3,
        "toy/square": 9,
    }
