import dataclasses

import pytest
import torch

from diffstab.errors import ArgumentError
from diffstab.experiments.l2_points import load_points
from diffstab.experiments.plateau import PlateauExperiment
from diffstab.experiments.unit import Cell
from diffstab.grid.options import parse
from diffstab.l2.descent import DescentSettings

ALL = ["weights", "representations", "covariances"]


def test_the_grid_is_every_width_and_restart_and_one_run_of_the_covariances():
    experiment = PlateauExperiment(n_train=[20, 10], seeds=[0, 1], widths=[4, 2], restarts=2, optimisers=ALL)
    cells = list(experiment.cells())
    assert len(cells) == len(set(cells)) == 2 * 2 * (4 + 4 + 1)
    place = {"n_train": 10, "seed": 0, "optimiser": "weights"}
    assert cells[:3] == [
        Cell(**place, width=width, restart=restart) for width, restart in ((2, 0), (2, 1), (4, 0))
    ]
    assert cells[8] == {**place, "optimiser": "covariances", "width": 0, "restart": 0}
    assert [len(batch) for batch in experiment.batches()] == 4 * [4, 4, 1]
    assert experiment.settings(cells[1]) == {
        "n_train": 10,
        "seed": 0,
        "optimiser": "weights",
        "width": 2,
        "restart": 1,
    }


def test_the_problem_is_that_of_the_points():
    experiment = PlateauExperiment(
        data={"class_path": "datamodules.Digits", "init_args": {"labels": "classes"}},
        cost="cross_entropy",
        penalty=0.02,
        depth=4,
        bias=0.5,
        dtype="float32",
    )
    points = load_points(
        experiment.data, n_train=20, seed=0, cost="cross_entropy", dtype=experiment.torch_dtype
    )
    problem = experiment.problem(points)
    assert (problem.penalty, problem.depth, problem.bias, problem.outputs) == (0.02, 4, 0.5, 10)
    assert problem.inputs.dtype == torch.float32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_train": []}, "n_train must not be empty"),
        ({"n_train": [0]}, "n_train must hold different numbers of at least 1"),
        ({"seeds": [-1]}, "seeds must hold different numbers of at least 0"),
        ({"widths": [2, 2]}, "widths must hold different numbers of at least 1"),
        ({"widths": [0]}, "widths must hold different numbers of at least 1"),
        ({"optimisers": []}, "optimisers must not be empty"),
        ({"optimisers": ["sgd"]}, "optimisers must be among weights, shrinking, representations"),
        ({"optimisers": ["weights", "weights"]}, "optimisers must hold each value once"),
        ({"restarts": 0}, "restarts must be at least 1"),
        ({"depth": 1}, "depth must be at least 2"),
        ({"threads": 0}, "threads must be at least 1"),
        ({"dtype": "float16"}, "dtype must be float32 or float64"),
        ({"plateau_tolerance": 0.0}, r"plateau_tolerance must lie in \(0, 1\)"),
        ({"prune_angle_deg": 0.0}, r"prune_angle_deg must lie in \[1e-5, 90\)"),
        ({"cost": "hinge"}, "cost must be one of mse, cross_entropy"),
        ({"activation": "tanh"}, "activation must be one of relu, linear, softplus"),
        ({"bias": -1.0}, "bias must be finite and at least 0"),
        ({"penalty": -1.0}, "penalty must be finite and at least 0"),
        ({"penalty": 0.0}, "penalty must be positive, got 0.0. .* interpolation: true"),
        ({"interpolation": True, "cost": "cross_entropy"}, "interpolation must be false but for cost mse"),
        ({"interpolation": True, "optimisers": ALL}, "interpolation must be false but for cost mse"),
        (
            {"activation": "softplus", "optimisers": ["covariances"]},
            "activation must be relu or linear for covariances",
        ),
        ({"dtype": "float32", "optimisers": ["covariances"]}, "dtype must be float64 for covariances"),
    ],
)
def test_a_wrong_experiment_is_refused_before_any_data_are_read(changes, message):
    with pytest.raises(ArgumentError, match=message):
        PlateauExperiment(data={"class_path": "nowhere.Nothing"}, **changes)


def test_command_line_beats_the_file(tmp_path):
    path = tmp_path / "curve.yaml"
    path.write_text(
        "widths: [1, 2]\ndata: {class_path: datamodules.OneHotClasses, init_args: {classes: 2}}\n"
    )
    experiment, folder, *_ = parse(
        PlateauExperiment,
        [
            "--config",
            str(path),
            "--widths",
            "[3]",
            "--data.init_args.classes",
            "4",
            "--descent.adam_steps",
            "7",
        ],
    )
    assert experiment.widths == [3]
    assert experiment.data == {"class_path": "datamodules.OneHotClasses", "init_args": {"classes": 4}}
    assert experiment.descent == DescentSettings(adam_steps=7)
    assert str(folder) == "results/plateau_curve"
    assert str(parse(PlateauExperiment, ["--results", "elsewhere"])[1]) == "elsewhere"


def test_a_parsed_experiment_is_the_one_made_in_python():
    parsed, *_ = parse(PlateauExperiment, ["--data", "datamodules.ScalarFunction", "--penalty", "0.5"])
    made = PlateauExperiment(penalty=0.5)
    assert dataclasses.replace(parsed, data=made.data) == made
    assert parsed.data["class_path"].endswith("ScalarFunction")
