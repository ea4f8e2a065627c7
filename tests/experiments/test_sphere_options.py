import dataclasses

import pytest
import yaml

from diffstab.errors import ArgumentError
from diffstab.experiments.sphere import SphereExperiment, SphereMethod, build_target
from diffstab.experiments.unit import Cell
from diffstab.grid.options import parse
from diffstab.solvers.sphere_net import SphereTraining

CONSTANT = {"class_path": "diffstab.sphere.ConstantTarget"}
FIELD = {"class_path": "diffstab.sphere.GaussianFieldTarget", "init_args": {"smoothness": 1.5}}


def test_the_grid_is_every_combination_smallest_sizes_first():
    experiment = SphereExperiment(
        dimensions=[2, 3],
        targets=[CONSTANT, FIELD],
        n_train=[16, 8],
        seeds=[0, 1],
        methods={"a": SphereMethod()},
    )
    cells = list(experiment.cells())
    assert len(set(cells)) == len(cells) == 16
    assert cells[0] == Cell(n_train=8, dimension=2, target="constant", seed=0, method="a")
    assert [cell["n_train"] for cell in cells] == [8] * 8 + [16] * 8


def test_a_method_may_stop_at_a_size_of_its_own():
    methods = {"a": SphereMethod(), "b": SphereMethod(predictor="exact", largest_n_train=8)}
    experiment = SphereExperiment(n_train=[8, 16], seeds=[0], methods=methods)
    assert [(cell["method"], cell["n_train"]) for cell in experiment.cells()] == [
        ("a", 8),
        ("b", 8),
        ("a", 16),
    ]
    cell = next(cell for cell in experiment.cells() if cell["method"] == "b")
    wider = dataclasses.replace(methods["b"], largest_n_train=16)
    larger = dataclasses.replace(experiment, methods={**methods, "b": wider})
    assert larger.settings(cell) == experiment.settings(cell)


def test_a_method_may_take_the_first_draws_alone():
    methods = {"a": SphereMethod(), "b": SphereMethod(predictor="exact", most_draws=2)}
    experiment = SphereExperiment(
        dimensions=[2, 3], n_train=[8, 16], seeds=[5, 4], more_seeds={8: [9]}, methods=methods
    )
    found = [
        (cell["n_train"], cell["dimension"], cell["seed"], cell["method"]) for cell in experiment.cells()
    ]
    every = {
        (n, d, seed, method)
        for n, seeds in ((8, (5, 4, 9)), (16, (5, 4)))
        for d in (2, 3)
        for seed in seeds
        for method in "ab"
    }
    assert len(found) == len(set(found))
    assert set(found) == every - {(8, d, 9, "b") for d in (2, 3)}
    fewer = dataclasses.replace(
        experiment, methods={**methods, "b": dataclasses.replace(methods["b"], most_draws=1)}
    )
    assert {fewer.key(cell) for cell in fewer.cells()} < {experiment.key(cell) for cell in experiment.cells()}


@pytest.mark.parametrize("predictor", ["exact", "trained"])
def test_a_penalty_may_be_that_of_a_dimension(predictor):
    def settings(dimension, **options):
        experiment = SphereExperiment(
            dimensions=[dimension], methods={"a": SphereMethod(predictor=predictor, **options)}
        )
        return experiment.settings(next(iter(experiment.cells())))["settings"]

    def penalty(found):
        return found["penalty"] if predictor == "exact" else found["training"]["penalty"]

    plain, both = settings(3), {2: 1e-6, 5: 1e-3}
    assert [penalty(settings(d, penalties=both)) for d in (2, 3, 5)] == [1e-6, penalty(plain), 1e-3]
    assert settings(3, penalties=both) == plain
    alone = {"penalty": 1e-6} if predictor == "exact" else {"training": SphereTraining(penalty=1e-6)}
    assert settings(2, penalties=both) == settings(2, **alone)


def test_penalties_of_dimensions_are_read_back(tmp_path):
    path = tmp_path / "one.yaml"
    path.write_text("methods: {a: {predictor: exact, penalties: {2: 1.0e-6}}}")
    experiment = parse(SphereExperiment, ["--config", str(path)])[0]
    path.write_text(yaml.safe_dump(experiment.resolved()))
    again = parse(SphereExperiment, ["--config", str(path)])[0]
    assert again == experiment
    assert again.methods["a"].penalties == {2: 1e-6}


def test_the_accuracy_of_a_flow_tells_flows_apart_alone():
    def settings(rule, tolerance):
        training = SphereTraining(rule, weight_tolerance=tolerance)
        experiment = SphereExperiment(methods={"a": SphereMethod(predictor="trained", training=training)})
        return experiment.settings(next(iter(experiment.cells())))

    assert settings("alpha_trick", 1e-3) != settings("alpha_trick", 1e-4)
    assert settings("conic", 1e-3) == settings("conic", 1e-4)


def test_a_cell_says_what_distinguishes_it():
    experiment = SphereExperiment(targets=[FIELD])
    config = experiment.settings(
        Cell(n_train=8, dimension=3, target="gaussian_1.5", seed=0, method="feature_exact")
    )
    assert config["target"] == FIELD
    assert config["settings"]["predictor"] == "exact"
    assert (config["dimension"], config["n_train"], config["seed"]) == (3, 8, 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dimensions": []}, "dimensions must not be empty"),
        ({"dimensions": [1]}, "dimensions must hold different numbers of at least 2"),
        ({"n_train": [8, 8]}, "n_train must hold different numbers of at least 1"),
        ({"seeds": [-1]}, "seeds must hold different numbers of at least 0"),
        ({"n_test": 1}, "n_test must be at least 2, got 1"),
        ({"degrees": -1}, "degrees must be at least 0"),
        ({"spectrum_points": 1}, "spectrum_points must be at least 2"),
        ({"threads": 0}, "threads must be at least 1"),
        ({"rotation_deg": 0.0}, "rotation_deg must lie above 0 and up to 180"),
        ({"targets": [CONSTANT, CONSTANT]}, "targets must hold each value once"),
        (
            {"targets": [CONSTANT, {**CONSTANT, "init_args": {}}]},
            "targets must have different names, got constant, constant",
        ),
        ({"targets": [{"init_args": {}}]}, "targets must have the keys class_path"),
        (
            {"targets": [{"class_path": "diffstab.sphere.Nothing"}]},
            "class_path must name an importable class",
        ),
        (
            {"targets": [{"class_path": "diffstab.sphere.uniform_points"}]},
            "class_path must name an importable class",
        ),
        ({"targets": [{"class_path": "pathlib.Path"}]}, "class_path must name a target of diffstab.sphere"),
        (
            {"targets": [{**CONSTANT, "init_args": {"size": 3}}]},
            "init_args must be among value, got size",
        ),
    ],
)
def test_a_wrong_experiment_is_refused(changes, message):
    with pytest.raises(ArgumentError, match=message):
        SphereExperiment(**changes)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"predictor": "magic"},
            r"methods\.\*\.predictor must be one of ntk, random_features, exact, trained",
        ),
        ({"ridge": -1.0}, r"methods\.\*\.ridge must be finite and at least 0"),
        ({"penalty": float("inf")}, r"methods\.\*\.penalty must be finite and at least 0"),
        ({"predictor": "exact", "penalties": {2: -1.0}}, r"methods\.\*\.penalty must be finite"),
        ({"predictor": "trained", "penalties": {2: -1.0}}, "penalty must be finite"),
        ({"penalties": {2: 1.0}}, r"methods\.\*\.penalties must be left out of lazy predictors"),
        ({"largest_n_train": 0}, r"methods\.\*\.largest_n_train must be at least 1"),
        ({"most_draws": 0}, r"methods\.\*\.most_draws must be at least 1"),
        ({"tolerance": 0.0}, r"methods\.\*\.tolerance must lie strictly between 0 and 1"),
    ],
)
def test_a_wrong_method_is_refused(settings, message):
    with pytest.raises(ArgumentError, match=message):
        SphereMethod(**settings)


def test_command_line_beats_the_file(tmp_path):
    path = tmp_path / "curve.yaml"
    path.write_text(
        "n_train: [8]\ntargets: [{class_path: diffstab.sphere.GaussianFieldTarget, init_args: {smoothness: 0.5}}]\n"
    )
    experiment, folder, *_ = parse(
        SphereExperiment, ["--config", str(path), "--n_train", "[16, 32]", "--seeds", "[7]"]
    )
    assert (experiment.n_train, experiment.seeds) == ([16, 32], [7])
    assert list(experiment.choices) == ["gaussian_0.5"]
    assert str(folder) == "results/curve"
    assert (
        str(parse(SphereExperiment, ["--output", "elsewhere"])[1])
        == str(parse(SphereExperiment, ["--results", "elsewhere"])[1])
        == "elsewhere"
    )
    ridge = parse(SphereExperiment, ["--methods.lazy_ntk.ridge", "1e-3"])[0]
    assert ridge.methods["lazy_ntk"].ridge == 1e-3


def test_a_parsed_experiment_is_the_one_made_in_python():
    parsed, *_ = parse(
        SphereExperiment,
        ["--targets", '[{"class_path": "diffstab.sphere.ConstantTarget", "init_args": {"value": 2.0}}]'],
    )
    assert build_target(parsed.targets[0]).name == "constant_2"
    default, *_ = parse(SphereExperiment, [])
    assert dataclasses.replace(default, targets=[CONSTANT]) == SphereExperiment()
