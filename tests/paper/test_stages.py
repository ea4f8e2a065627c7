"""The stages of the paper: their configurations are read as they are and run in small."""

import dataclasses
from pathlib import Path

import pytest
from rich.console import Console

from diffstab.errors import ArgumentError
from diffstab.grid.running import run_grid
from diffstab.paper import stages
from diffstab.paper.stages import STAGES, chosen
from diffstab.report.claims.entries import sources_claims
from diffstab.report.paper.figures import FIGURES
from diffstab.results import read_records

FILES = sorted((stages.CONFIGS / "paper").rglob("*.yaml"))
DIGITS = {"class_path": "datamodules.Digits", "init_args": {"n_test": 20}}


def in_seconds(name, experiment):
    """A configuration with its own methods and settings, at sizes of a second."""
    if name == "compare":
        stability = dataclasses.replace(experiment.stability, images=10, fields_per_image=1, bootstrap=5)
        net = dataclasses.replace(experiment.net, hidden=[20])
        changes = {"data": DIGITS, "n_train": [8], "more_seeds": {}, "stability": stability, "net": net}
    elif name == "sphere curve":
        methods = {label: small_method(method) for label, method in experiment.methods.items()}
        changes = {
            "n_train": [6],
            "more_seeds": {},
            "n_test": 30,
            "spectrum_points": 20,
            "degrees": 6,
            "methods": methods,
        }
        changes |= {"dimensions": experiment.dimensions[-1:], "targets": experiment.targets[-1:]}
    elif name == "plateau":
        descent = dataclasses.replace(experiment.descent, adam_steps=20, finish_steps=5)
        projected = dataclasses.replace(experiment.projected, steps=20, projected_steps=5)
        changes = {"n_train": [12], "widths": [2], "restarts": 1, "descent": descent, "projected": projected}
        if "mnist" in str(experiment.data).lower():
            changes["data"] = {"class_path": "datamodules.Digits", "init_args": {"labels": "classes"}}
    else:
        descent = dataclasses.replace(experiment.descent, adam_steps=20, finish_steps=20)
        data = {"class_path": "datamodules.Digits", "init_args": {"labels": "classes", "n_test": 10}}
        changes = {"data": data, "n_train": 15, "hidden": [4, 4], "gd_steps": 4, "snapshots": [0, 2]}
        changes |= {"descent": descent}
    return dataclasses.replace(experiment, seeds=experiment.seeds[:1], **changes)


def small_method(method):
    training = dataclasses.replace(method.training, width=20, max_steps=50)
    return dataclasses.replace(method, training=training)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(stages.CONFIGS / "paper")))
def test_a_configuration_runs_in_small(path, tmp_path):
    request = STAGES[path.stem].request(tmp_path, full=path.parent.name == "full")
    assert request.folder == tmp_path / path.stem
    experiment = in_seconds(request.experiment.name, request.experiment)
    records = read_records(run_grid(experiment, request.folder, console=Console(quiet=True)))
    assert len(records) == len(list(experiment.cells()))
    assert set(records["seed"]) == {experiment.seeds[0]}


def test_every_file_belongs_to_a_stage():
    assert {path.stem for path in FILES} == set(STAGES)
    named = {stage.path(full=full) for stage in STAGES.values() for full in (False, True)}
    assert set(FILES) <= named


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_headers_say_what_it_is(path):
    figure, command, time, expected = path.read_text().splitlines()[:4]
    assert figure.startswith("# Figure")
    assert command.startswith(f"# Command: diffstab paper --stages {path.stem}")
    assert time.startswith("# Time: ")
    assert expected.startswith(("# Expected: ", "# Found: "))


@pytest.mark.parametrize("stage", STAGES.values(), ids=lambda stage: stage.name)
def test_no_draw_of_the_paper_was_seen_while_its_rules_were_made(stage):
    # Experiments of the project draw from seeds below 100.
    experiment = stage.request(Path("x")).experiment
    more = [seed for seeds in getattr(experiment, "more_seeds", {}).values() for seed in seeds]
    assert min([*experiment.seeds, *more]) >= 100


def test_an_hour_is_enough():
    assert sum(stage.minutes for stage in STAGES.values()) < 60


def test_figures_and_claims_know_the_stages():
    needed = {stage for figure in FIGURES.values() for stage in figure.stages}
    needed |= {stage for claim in sources_claims() for stage in claim.stage}
    assert needed == set(STAGES)


def test_stages_are_chosen_by_name_in_their_own_order():
    assert [stage.name for stage in chosen(["plateau_onehot", "images_mnist"])] == [
        "images_mnist",
        "plateau_onehot",
    ]
    assert len(chosen([])) == len(STAGES)
    with pytest.raises(ArgumentError, match=r"stages must be among images_mnist, .*, got nothing"):
        chosen(["nothing"])


def test_a_damaged_installation_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(stages, "CONFIGS", tmp_path)
    with pytest.raises(ArgumentError, match=r"configuration must come with diffstab, got .*Install it anew"):
        STAGES["images_mnist"].path()
