"""Every file of configs/sweep is read as it is, and one batch of it is run in small."""

import dataclasses
from pathlib import Path

import pytest

from diffstab.grid.batch import run_batch
from diffstab.grid.plan import make_batch, make_plan
from diffstab.grid.sweep_file import read_sweep
from diffstab.results import Records

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "configs" / "sweep").glob("*.yaml"))
RUNS = {
    "digits_small": 8,
    "fashion_adversarial": 4,
    "fashion_zoo": 36,
    "fit_digits": 6,
    "forces_depth": 9,
    "mnist_alpha": 63,
    "mnist_nets": 18,
    "plateau_penalty": 135,
    "sphere_dimensions": 84,
}

pytestmark = [
    # Of Lightning's own use of jsonargparse, and of few workers.
    pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
]


def small(experiment):
    """The experiment at a size of a second."""
    if experiment.name == "compare":
        data = {"class_path": "datamodules.Digits"}
        stability = dataclasses.replace(experiment.stability, images=20, fields_per_image=1, bootstrap=10)
        net = dataclasses.replace(experiment.net, hidden=[20])
        return dataclasses.replace(experiment, data=data, n_train=[8], net=net, stability=stability)
    if experiment.name == "sphere curve":
        return dataclasses.replace(experiment, n_train=[8], n_test=50, spectrum_points=50)
    if experiment.name == "plateau":
        descent = dataclasses.replace(experiment.descent, adam_steps=20, finish_steps=0)
        return dataclasses.replace(experiment, descent=descent)
    if experiment.name == "forces":
        descent = dataclasses.replace(experiment.descent, adam_steps=20, finish_steps=0)
        return dataclasses.replace(experiment, descent=descent, n_train=10, gd_steps=40)
    config = dict(experiment.config)
    given = {name: value for name, value in config["data"]["init_args"].items() if value is not None}
    few = {**given, "n_train": 100, "n_test": 20}
    config["data"] = {"class_path": "datamodules.Digits", "init_args": few}
    config["trainer"] = {**config["trainer"], "max_epochs": 1, "check_val_every_n_epoch": 1}
    return dataclasses.replace(experiment, config=config)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_sweep_file_runs_in_small(path, place, monkeypatch):
    monkeypatch.chdir(ROOT)
    plan = make_plan(read_sweep(path))
    assert len(set(plan.keys)) == RUNS[path.stem]
    experiment = small(plan.batches[-1].experiment)
    cells = next(iter(experiment.batches()))
    records = Records(place)
    experiment.begin(place)
    assert run_batch(make_batch(experiment, cells), records).outcome == "done"
    assert len(records.read()) == len(cells)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_sweep_file_says_what_it_shows(path):
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert any(f"diffstab sweep configs/sweep/{path.name}" in line for line in header)
    assert any("Time:" in line for line in header)
    assert any("Expected:" in line for line in header)
