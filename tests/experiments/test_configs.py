"""Every file of configs/experiment is read as it is and run in small."""

import dataclasses
from pathlib import Path

import pytest
from rich.console import Console

from diffstab.experiments.classes import build_data
from diffstab.experiments.images import ImageExperiment
from diffstab.experiments.sphere import SphereExperiment
from diffstab.grid.options import parse
from diffstab.grid.running import run_grid
from diffstab.results import read_records

ALL = sorted((Path(__file__).parents[2] / "configs" / "experiment").glob("*.yaml"))
SPHERE = [path for path in ALL if path.stem.startswith("sphere_")]
FILES = [path for path in ALL if not path.stem.startswith(("sphere_", "hierarchy"))]


def small(experiment, data):
    stability = dataclasses.replace(experiment.stability, images=20, fields_per_image=1, bootstrap=10)
    net = dataclasses.replace(experiment.net, hidden=[20])
    data = {**data, "init_args": {"labels": experiment.data.get("init_args", {}).get("labels", "parity")}}
    return dataclasses.replace(experiment, data=data, n_train=[8], seeds=[0], net=net, stability=stability)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_experiment_file_runs_in_small(path, tmp_path):
    experiment, folder, *_ = parse(ImageExperiment, ["--config", str(path)])
    assert folder == Path("results") / path.stem
    run_grid(small(experiment, {"class_path": "datamodules.Digits"}), tmp_path, console=Console(quiet=True))
    records = read_records(tmp_path)
    assert set(records["method"]) == set(experiment.methods)
    # Where a rule of its own stops a method earlier, its record says so.
    rules = {name: method.optimiser.stop.margin_share for name, method in experiment.methods.items()}
    assert (records["margin_share"] >= records["method"].map(rules)).all()


@pytest.mark.parametrize("path", SPHERE, ids=lambda path: path.stem)
def test_a_curve_file_runs_in_small(path, tmp_path):
    experiment, folder, *_ = parse(SphereExperiment, ["--config", str(path)])
    assert folder == Path("results") / path.stem
    changes = {"n_train": [8], "seeds": [0], "n_test": 50, "spectrum_points": 50}
    run_grid(dataclasses.replace(experiment, **changes), tmp_path, console=Console(quiet=True))
    records = read_records(tmp_path)
    assert set(records["method"]) == set(experiment.methods)
    assert set(records["dimension"]) == set(experiment.dimensions)
    assert records["test_error"].gt(0).all()


@pytest.mark.data
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_data_of_an_experiment_file_are_there(path, data_root):
    experiment, *_ = parse(ImageExperiment, ["--config", str(path)])
    choice = dict(experiment.data)
    choice["init_args"] = {**choice.get("init_args", {}), "root": str(data_root)}
    data = build_data(choice, n_train=max(experiment.n_train), seed=0)
    assert len(data.train_images) == max(experiment.n_train)
    assert len(data.test_images) >= experiment.stability.images
