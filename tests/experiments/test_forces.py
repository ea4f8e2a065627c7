import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from diffstab.cli import main
from diffstab.errors import ArgumentError
from diffstab.experiments.force_trace import layer_numbers, layers_of, net_numbers, states
from diffstab.experiments.forces import ForcesExperiment
from diffstab.experiments.l2_points import load_points
from diffstab.grid.options import parse
from diffstab.grid.running import run_grid
from diffstab.l2.descent import DescentSettings
from diffstab.l2.forces import AT_REST
from diffstab.l2.kinks import stationarity
from diffstab.l2.network import draw_weights, weight_loss
from diffstab.l2.problem import L2Problem
from diffstab.report.claims.entries import sources_claims
from diffstab.results import read_records

QUIET = Console(quiet=True)
DIGITS = {"class_path": "datamodules.Digits", "init_args": {"labels": "classes", "n_test": 10}}
TEACHER = {"class_path": "datamodules.TeacherNetwork", "init_args": {"widths": [2, 2, 1], "n_test": 5}}
FILES = sorted((Path(__file__).parents[2] / "configs" / "forces").glob("*.yaml"))
FAST = DescentSettings(adam_steps=60, finish_steps=150)
TRACED = (
    "step",
    "loss",
    "residual_share",
    "moved_share",
    "attraction_1",
    "imbalance_3",
    "groups_2",
    "rank_1",
)


def tiny(**changes):
    settings = {"data": DIGITS, "n_train": 20, "hidden": [6, 5], "gd_steps": 20, "snapshots": [0, 6]}
    return ForcesExperiment(**{**settings, "penalty": 0.01, "descent": FAST, **changes})


def one_record(folder):
    (row,) = [row for _, row in read_records(folder).iterrows()]
    with np.load(folder / "snapshots" / f"{row['key']}.npz") as stored:
        return row, dict(stored)


def test_a_record_and_its_arrays_say_the_same(tmp_path):
    run_grid(tiny(), tmp_path, console=QUIET)
    row, arrays = one_record(tmp_path)
    assert row["kind"] == "forces"
    last = int(row["step"])
    assert {name.split("_")[0] for name in arrays} == {"step0", "step6", f"step{last}", "labels"}
    assert arrays["labels"].shape == (20,)
    for layer, width in ((1, 6), (2, 5)):
        names = [f"step{last}_{what}{layer}" for what in ("z", "attraction", "repulsion")]
        z, attraction, repulsion = (arrays[name].astype(np.float64) for name in names)
        assert z.shape == (width, 20)
        assert np.linalg.norm(attraction) == pytest.approx(row[f"attraction_{layer}"], rel=1e-5)
        total = np.linalg.norm(attraction + repulsion)
        sizes = np.linalg.norm(attraction) + np.linalg.norm(repulsion)
        assert total / sizes == pytest.approx(row[f"imbalance_{layer}"], rel=1e-3, abs=1e-6)
        assert row[f"separation_{layer}"] == row[f"trace_separation_{layer}"][-1]
    assert len({len(row[f"trace_{name}"]) for name in TRACED}) == 1
    assert list(row["trace_step"]) == sorted(set(row["trace_step"]))
    assert {0, 1, 2, 4, 6, 8, 16, 20} <= set(row["trace_step"])


def test_forces_start_apart_and_end_near_cancelling(tmp_path):
    descent = DescentSettings(adam_steps=4000, finish_steps=1000)
    run_grid(tiny(descent=descent), tmp_path, console=QUIET)
    row, _ = one_record(tmp_path)
    for layer in (1, 2, 3):
        assert row[f"trace_imbalance_{layer}"][0] > 0.3
        assert row[f"imbalance_{layer}"] < 0.02
    assert row["residual_share"] < 1e-3 < row["trace_residual_share"][0]
    assert row["converged"]


def points():
    return load_points(DIGITS, n_train=20, seed=0, cost="cross_entropy", dtype=torch.float64)


def test_training_starts_where_it_is_told_and_descends_to_the_end():
    experiment = tiny(snapshots=[0, 5])
    problem = experiment.problem(points())
    start = draw_weights(problem, [6, 5], generator=torch.Generator().manual_seed(1))
    kept = [weight.clone() for weight in start]
    course = list(states(problem, start, experiment))
    assert all(torch.equal(weight, before) for weight, before in zip(start, kept, strict=True))
    assert all(torch.equal(weight, before) for weight, before in zip(course[0].weights, kept, strict=True))
    assert [state.step for state in course if state.stage == "gd"] == [1, 2, 4, 5, 8, 16, 20]
    assert [state.step for state in course if state.stage == "adam"] == [30, 40, 50, 60, 70, 80]
    losses = {
        stage: [float(weight_loss(problem, state.weights)) for state in course if state.stage in stages]
        for stage, stages in {"gd": ("start", "gd"), "finish": ("finish",)}.items()
    }
    assert losses["gd"] == sorted(losses["gd"], reverse=True)
    assert losses["finish"] == sorted(losses["finish"], reverse=True)
    finished = [state.step for state in course if state.stage != "polish"]
    assert finished[-1] <= 20 + 60 + 150


@pytest.mark.parametrize(("gd_steps", "adam_steps", "finish_steps"), [(0, 0, 10), (3, 0, 0), (0, 2, 0)])
def test_a_stage_may_be_left_out(gd_steps, adam_steps, finish_steps):
    descent = DescentSettings(adam_steps=adam_steps, finish_steps=finish_steps)
    experiment = tiny(gd_steps=gd_steps, snapshots=[0], descent=descent)
    problem = experiment.problem(points())
    start = draw_weights(problem, [6, 5], generator=torch.Generator().manual_seed(1))
    assert [state.step for state in states(problem, start, experiment)][
        -1
    ] == gd_steps + adam_steps + finish_steps


def test_two_machines_roundings_end_at_the_same_verdict():
    # Rounding decides at which kinks a descent stops; a change of the start by 1e-12 stands for another machine.
    data = load_points(DIGITS, n_train=60, seed=0, cost="cross_entropy", dtype=torch.float64)
    descent = DescentSettings(adam_steps=3000, finish_steps=1000)
    experiment = tiny(n_train=60, hidden=[20, 20], penalty=1e-3, gd_steps=500, descent=descent)
    problem = experiment.problem(data)
    start = draw_weights(problem, [20, 20], generator=torch.Generator().manual_seed(0))
    for share in (1.0, 1 + 1e-12):
        *_, end = states(problem, [share * weight for weight in start], experiment)
        assert stationarity(problem, end.weights).relative <= AT_REST
        found = layers_of(problem, end.weights, inverse=experiment.inverse).forces
        (claim,) = (claim for claim in sources_claims() if claim.id == "forces-cancel")
        assert max(float(force.imbalance) for force in found) <= claim.rule.numbers[0]


def hand_made():
    """Two aligned neurons, one alone, one dead, on three points of two classes; weights hold more than they show."""
    inputs = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    problem = L2Problem(inputs, torch.ones(1, 3, dtype=torch.float64), penalty=0.1, depth=2)
    first = torch.tensor([[1.0, 2.0, 0.0], [2.0, 4.0, 0.0], [2.0, -1.0, 3.0], [-1.0, -1.0, 0.0]]).double()
    second = torch.tensor([[1.0, 1.0, 1.0, 5.0]]).double()
    return problem, [first, second]


def test_numbers_of_a_hand_made_layer():
    problem, weights = hand_made()
    experiment = tiny(hidden=[4], bias=0.0)
    layers = layers_of(problem, weights, inverse=experiment.inverse)
    rows = layer_numbers(problem, weights, layers, experiment=experiment, labels=torch.tensor([0, 1, 1]))
    hidden, outputs = rows
    assert hidden["dead_share"] == 0.25
    assert hidden["groups"] == 2
    assert hidden["aligned_share"] == pytest.approx(2 / 3)
    assert hidden["rank"] == 2
    assert "rank" not in outputs
    assert "imbalance" in outputs
    numbers = net_numbers(problem, weights, layers, inverse=experiment.inverse)
    # In the first layer the weight 3 on an input that is never on; in the second the 5 of the dead neuron, and
    # what (1, 1) has beside the aligned neurons' (1, 2).
    beside = 3**2 + 5**2 + (2 - 9 / 5)
    assert numbers["squared_norm"] == pytest.approx(41 + 28)
    assert numbers["residual_share"] == pytest.approx(beside / 69)
    assert numbers["moved_share"] < 1e-12


def test_targets_without_classes_have_no_separation(tmp_path):
    changes = {"data": TEACHER, "cost": "mse", "hidden": [4], "activation": "linear"}
    run_grid(tiny(**changes), tmp_path, console=QUIET)
    row, arrays = one_record(tmp_path)
    assert np.isnan(row["separation_1"])
    assert "labels" not in arrays
    assert row["kinks"] == 0


def test_a_tikhonov_term_makes_attraction_smaller(tmp_path):
    rows = []
    for name, ridge in (("none", 0.0), ("some", 10.0)):
        run_grid(tiny(tikhonov=ridge), tmp_path / name, console=QUIET)
        rows.append(one_record(tmp_path / name)[0])
    assert rows[0]["loss"] == rows[1]["loss"]
    assert rows[1]["tikhonov"] == 10
    assert rows[1]["attraction_1"] < rows[0]["attraction_1"]


def test_recorded_seeds_are_skipped_and_repeat_to_the_bit(tmp_path):
    run_grid(tiny(), tmp_path / "a", console=QUIET)
    (first,) = (tmp_path / "a" / "records").iterdir()
    before = first.read_bytes()
    run_grid(tiny(seeds=[0, 1]), tmp_path / "a", console=QUIET)
    assert first.read_bytes() == before
    run_grid(tiny(seeds=[0, 1]), tmp_path / "b", console=QUIET)
    frames = [read_records(tmp_path / name).sort_values("seed") for name in "ab"]
    assert len(frames[0]) == 2
    for name in TRACED:
        pairs = zip(*(frame[f"trace_{name}"] for frame in frames), strict=True)
        assert all(np.array_equal(one, other) for one, other in pairs)
    assert frames[0]["loss"].nunique() == 2


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_configuration_runs_in_small(path, tmp_path):
    experiment, folder, *_ = parse(ForcesExperiment, ["--config", str(path)])
    assert folder == Path("results") / f"forces_{path.stem}"
    changes = {"data": DIGITS, "n_train": 12, "seeds": [0], "gd_steps": 8, "snapshots": [0], "descent": FAST}
    run_grid(dataclasses.replace(experiment, **changes), tmp_path, console=QUIET)
    assert one_record(tmp_path)[0]["n_train"] == 12


def test_the_command_reports_what_it_ran(tmp_path, capsys):
    options = [
        "--n_train=12",
        "--gd_steps=4",
        "--snapshots=[0]",
        "--descent.adam_steps=5",
        "--descent.finish_steps=5",
    ]
    config = str(FILES[0].with_name("digits_small.yaml"))
    assert main(["forces", "--config", config, "--results", str(tmp_path / "x"), *options]) == 0
    assert f"diffstab report {tmp_path / 'x'}" in capsys.readouterr().out.replace("\n", "")
    assert main(["report", str(tmp_path / "x")]) == 0
    assert (tmp_path / "x" / "report" / "index.html").is_file()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": []}, "seeds must not be empty"),
        ({"hidden": []}, "hidden must not be empty"),
        ({"seeds": [1, 1]}, "seeds must hold different numbers of at least 0"),
        ({"seeds": [-1]}, "seeds must hold different numbers of at least 0"),
        ({"n_train": 0}, "n_train must be at least 1"),
        ({"gd_steps": -1}, "gd_steps must be at least 0"),
        ({"threads": 0}, "threads must be at least 1"),
        ({"snapshots": [4, 2]}, "snapshots must rise from 0 or above to gd_steps = 20"),
        ({"snapshots": [21]}, "snapshots must rise"),
        ({"tolerance": 0.0}, r"tolerance must lie in \(0, 1\)"),
        ({"tikhonov": -1.0}, "tikhonov must be finite and at least 0"),
        ({"aligned_deg": 90.0}, r"aligned_deg must lie in \[1e-5, 90\)"),
        ({"penalty": 0.0}, "penalty must be positive and finite"),
        ({"hidden": [3, 0]}, "widths must be 2 numbers of at least 1"),
        ({"cost": "hinge"}, "cost must be one of mse, cross_entropy"),
    ],
)
def test_wrong_settings_are_refused(changes, message):
    with pytest.raises(ArgumentError, match=message):
        tiny(**changes)


def test_wrong_options_and_data_leave_nothing_behind(tmp_path):
    with pytest.raises(ArgumentError, match="configuration must fit the options of diffstab forces"):
        parse(ForcesExperiment, ["--bogus=1"])
    with pytest.raises(ArgumentError, match="have classes for cross_entropy"):
        run_grid(tiny(data=TEACHER), tmp_path / "x", console=QUIET)
    assert not (tmp_path / "x").exists()
