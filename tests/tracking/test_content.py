"""What is drawn of records, from records written down by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from diffstab.experiments.images import ImageExperiment
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
        "image/n_train": 64,
        "image/test_error": 0.25,
        "image/D": 0.1,
        "image/R": 2.0,
        "image/init_D": 0.3,
    }


def test_single_values_and_what_a_batch_shares():
    assert "config" not in content.scalars(ROW)
    assert "neurons_x" not in content.scalars(ROW)
    assert content.scalars(ROW)["R"] == 2.0
    other = {**ROW, "seed": 2, "D": 0.5}
    assert content.summary([ROW, other]).keys() == content.scalars(ROW).keys() - {"seed", "D"}
    assert content.summary([ROW])["seed"] == 1
    assert content.summary([]) == {}


def test_stability_before_and_after_has_its_intervals():
    table = content.stability_table([ROW])
    lines = [dict(zip(table.columns, line)) for line in table.data]
    assert [(line["quantity"], line["training"]) for line in lines] == [
        ("D", "before"),
        ("D", "after"),
        ("R", "after"),
    ]
    assert (lines[1]["value"], lines[1]["low"], lines[1]["high"]) == (0.1, 0.05, 0.2)
    assert math.isnan(lines[2]["low"])


def test_a_fit_is_measured_on_validation_images():
    table = content.stability_table([{"val_D": 0.1, "val_R": None}])
    assert [line[4:7] for line in table.data] == [["D", "after", 0.1]]
    assert content.pictures("fit", pd.DataFrame([{"val_D": 0.1}]), None) == {}


def test_records_of_different_columns_make_one_table():
    table = content.records_table([{"a": 1}, {"b": "x", "a": 2}])
    assert table == (["a", "b"], [[1, None], [2, "x"]])


def test_best_of_each_width():
    rows = [{"width": 4, "loss": 2.0}, {"width": 2, "loss": 5.0}, {"width": 4, "loss": 1.0}]
    assert content.best_points("plateau", rows) == [
        {"plateau_best/width": 2.0, "plateau_best/loss": 5.0},
        {"plateau_best/width": 4.0, "plateau_best/loss": 1.0},
    ]
    assert content.best_points("compare", rows) == []


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
    target = {"class_path": "diffstab.sphere.GaussianFieldTarget", "init_args": {"smoothness": 1.5}}
    cell = {
        "dimension": 3,
        "target": target,
        "n_train": 8,
        "seed": 0,
        "method": "feature",
        "settings": {"a": 1},
    }
    assert (
        content.line_name(cell, axis="n_train") == "dimension=3, GaussianFieldTarget smoothness=1.5, feature"
    )


def test_an_experiment_of_ones_own_is_drawn_by_what_it_says():
    curves = content.curves_of(Toy)
    assert content.point(curves, {"number": 3, "square": 9, "text": "x"}) == {
        "toy/number": 3,
        "toy/square": 9,
    }
    assert content.pictures("toy", pd.DataFrame(), None) == {}
