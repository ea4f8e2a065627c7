import dataclasses
import json
import math
from pathlib import Path

import pandas as pd
import pytest
import torch
from rich.console import Console

from diffstab.cli import main
from diffstab.errors import ArgumentError, ResultsError
from diffstab.experiments import plateau as module
from diffstab.experiments import plateau_minima
from diffstab.experiments.l2_points import load_points
from diffstab.experiments.plateau import PlateauExperiment
from diffstab.experiments.unit import Cell, Workplace
from diffstab.grid.options import parse
from diffstab.grid.running import run_grid
from diffstab.l2 import weight_loss
from diffstab.l2.descent import DescentSettings
from diffstab.l2.network import apply
from diffstab.l2.projected import ProjectedSettings
from diffstab.results import Records, read_config, read_records

QUIET = Console(quiet=True)
FAST = DescentSettings(adam_steps=100, finish_steps=200)
ONE_HOT = {"class_path": "datamodules.OneHotClasses", "init_args": {"classes": 2}}
TEACHER = {"class_path": "datamodules.TeacherNetwork", "init_args": {"widths": [2, 2, 1], "n_test": 20}}
FILES = sorted((Path(__file__).parents[2] / "configs" / "plateau").glob("*.yaml"))


def tiny(**changes):
    settings = {"data": TEACHER, "n_train": [8], "widths": [1, 2], "restarts": 2, "depth": 2, "descent": FAST}
    return PlateauExperiment(**{**settings, **changes})


def records(folder):
    return read_records(folder).sort_values(["seed", "optimiser", "width", "restart"], ignore_index=True)


def numbers(folder):
    """The measured columns of the records, without times and machines."""
    left_out = {
        "started_at",
        "wall_seconds",
        "train_seconds",
        "runs_together",
        "git_commit",
        "git_dirty",
        "config",
    }
    frame = records(folder)
    return frame[[column for column in frame.columns if column not in left_out]]


def net_of(row, depth=2):
    """The weights of a record, from its one list of numbers."""
    flat, below, net = torch.tensor(row.weights.tolist(), dtype=torch.float64), row.input_dimension, []
    outputs = 1
    for above in [*row.hidden_widths, outputs]:
        size = int(above) * (int(below) + 1)
        net.append(flat[:size].reshape(int(above), -1))
        flat, below = flat[size:], above
    assert len(net) == depth
    assert not len(flat)
    return net


def test_a_record_is_that_of_its_net(tmp_path):
    experiment = tiny()
    run_grid(experiment, tmp_path, console=QUIET)
    frame = records(tmp_path)
    points = load_points(TEACHER, n_train=8, seed=0, cost="mse", dtype=torch.float64)
    problem = experiment.problem(points)
    assert frame[["width", "restart"]].to_numpy().tolist() == [[1, 0], [1, 1], [2, 0], [2, 1]]
    least = frame.groupby("width")["loss"].transform("min")
    for row, best in zip(frame.itertuples(), frame["loss"] == least, strict=True):
        net = net_of(row)
        assert row.loss == pytest.approx(float(weight_loss(problem, net)), rel=1e-10)
        assert row.loss == pytest.approx(row.cost + problem.penalty * row.squared_norm, rel=1e-10)
        squares = (apply(problem, net, points.test_inputs) - points.test_targets).square()
        assert row.test_error == pytest.approx(float(squares.mean()), rel=1e-10)
        # The cost is half the mean square error.
        assert row.train_error == pytest.approx(2 * row.cost, rel=1e-10)
        assert row.history_loss[-1] == pytest.approx(row.loss, rel=1e-10)
        assert row.pruned_loss <= row.loss * (1 + 1e-3)
        # The rank takes longest: it is bounded for the best net of a width.
        assert (row.rank_lower is not None) == best
        if best:
            assert row.rank_lower[0] <= row.rank_upper[0] <= row.n_groups[0] <= row.width
    assert set(frame["kind"]) == {"plateau"}
    assert set(frame["runs_together"]) == {4}
    assert json.loads(frame["config"][3])["cell"]["width"] == 2


def test_classes_give_shares_of_errors(tmp_path):
    data = {"class_path": "datamodules.Digits", "init_args": {"labels": "classes", "n_test": 40}}
    changes = {"cost": "cross_entropy", "n_train": [30], "widths": [3], "restarts": 1, "dtype": "float32"}
    run_grid(tiny(data=data, **changes), tmp_path, console=QUIET)
    (row,) = records(tmp_path).itertuples()
    assert row.error_kind == "misclassified"
    assert row.test_error * 40 == pytest.approx(round(row.test_error * 40))
    # Ten classes: chance is 0.9.
    assert row.train_error < 0.7
    assert row.input_dimension == 30
    assert "rank_lower" not in row._fields


def test_a_toy_has_no_test_error_and_its_known_numbers(tmp_path):
    run_grid(tiny(data=ONE_HOT, bias=0.0, widths=[2], restarts=1), tmp_path, console=QUIET)
    (row,) = records(tmp_path).itertuples()
    assert pd.isna(row.test_error)
    assert (row.known_width, row.known_cost) == (2, 8.0)
    run_grid(tiny(data=ONE_HOT, widths=[2], restarts=1), tmp_path / "bias", console=QUIET)
    assert "known_width" not in records(tmp_path / "bias")


def test_interpolation_gives_the_least_norm_of_nets_that_meet_the_targets(tmp_path):
    descent = DescentSettings(adam_steps=300, finish_steps=200)
    changes = {"widths": [1, 2], "n_train": [4], "bias": 0.0, "interpolation": True, "penalty": 0.0}
    run_grid(tiny(data=ONE_HOT, descent=descent, **changes), tmp_path, console=QUIET)
    narrow, _, *wide = records(tmp_path).itertuples()
    # Two classes need two neurons; R = 2 (sqrt 2 + sqrt 2).
    assert math.isinf(narrow.loss)
    assert not narrow.converged
    best = min(wide, key=lambda row: row.loss)
    assert best.converged
    assert best.loss == best.squared_norm == pytest.approx(best.known_cost, rel=1e-3)
    assert best.known_cost == pytest.approx(4 * math.sqrt(2))
    assert best.rank_lower == best.rank_upper == [2]
    assert best.pruned_loss == pytest.approx(best.loss, rel=1e-6)
    assert pd.isna(best.stationarity)


def test_three_optimisers_find_one_minimum_from_the_same_starts(tmp_path):
    experiment = tiny(
        widths=[2],
        n_train=[4],
        bias=0.0,
        penalty=0.05,
        optimisers=["weights", "representations", "covariances"],
        projected=ProjectedSettings(steps=1000),
        descent=DescentSettings(adam_steps=1000),
    )
    run_grid(experiment, tmp_path, console=QUIET)
    groups = records(tmp_path).groupby("optimiser")
    best = groups["loss"].min()
    assert best.max() == pytest.approx(best.min(), rel=0.01)
    assert groups.size().to_dict() == {"covariances": 1, "representations": 2, "weights": 2}
    (cone,) = groups.get_group("covariances").itertuples()
    assert cone.gap_kind == "duality"
    assert cone.loss * (1 - cone.gap) == pytest.approx(cone.bound)
    assert cone.width == cone.hidden_widths[0]
    assert pd.isna(cone.stationarity)


def test_a_net_whose_rank_cannot_be_bounded_is_recorded_without_bounds(tmp_path, monkeypatch):
    def refused(*args, **options):
        raise ArgumentError("activations", "have no larger diagonal than the preactivations", "a larger one")

    monkeypatch.setattr(plateau_minima, "rank_bounds", refused)
    run_grid(tiny(widths=[2], restarts=1), tmp_path, console=QUIET)
    frame = records(tmp_path)
    assert "rank_lower" not in frame
    assert frame["n_groups"].map(len).eq(1).all()


def test_an_unknown_optimiser_is_refused(tmp_path):
    experiment = tiny()
    points = load_points(TEACHER, n_train=8, seed=0, cost="mse", dtype=torch.float64)
    cells = [Cell(n_train=8, seed=0, optimiser="magic", width=2, restart=0)]
    with pytest.raises(ArgumentError, match="optimisers must be among weights, shrinking, representations"):
        list(experiment.run_together(cells, points, Workplace(tmp_path, {}, print)))


def test_softplus_neurons_do_not_merge(tmp_path):
    run_grid(tiny(activation="softplus", widths=[2], restarts=1), tmp_path, console=QUIET)
    frame = records(tmp_path)
    assert "n_groups" not in frame
    assert frame["loss"].gt(0).all()


def test_a_stopped_run_goes_on_where_it_was(tmp_path, monkeypatch):
    experiment = tiny(seeds=[0, 1])
    measured = []

    def interrupted(*args):
        if len(measured) == 5:
            raise KeyboardInterrupt
        measured.append(args[1])
        return run_columns(*args)

    run_columns = module.run_columns
    monkeypatch.setattr(module, "run_columns", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_grid(experiment, tmp_path / "a", console=QUIET)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "a" / "records").iterdir()}
    # A place is recorded as a whole: it is trained as a whole too.
    assert len(before) == 4
    monkeypatch.undo()
    run_grid(experiment, tmp_path / "a", console=QUIET)
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    run_grid(experiment, tmp_path / "b", console=QUIET)
    pd.testing.assert_frame_equal(numbers(tmp_path / "a"), numbers(tmp_path / "b"), check_exact=True)


def test_a_place_that_lacks_a_record_is_trained_again_as_a_whole(tmp_path):
    """What is recorded already does not change what the others are trained beside."""
    run_grid(tiny(), tmp_path / "a", console=QUIET)
    expected, stored = numbers(tmp_path / "a"), Records(tmp_path / "a")
    stored.remove(sorted(stored.keys())[1:3])
    run_grid(tiny(), tmp_path / "a", console=QUIET)
    pd.testing.assert_frame_equal(numbers(tmp_path / "a"), expected, check_exact=True)


def test_a_larger_grid_keeps_the_records_that_are_there(tmp_path):
    run_grid(tiny(), tmp_path, console=QUIET)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "records").iterdir()}
    run_grid(tiny(widths=[1, 2, 3], restarts=3, seeds=[0, 1]), tmp_path, console=QUIET)
    assert len(records(tmp_path)) == 3 * 3 * 2
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())


def test_the_folder_of_another_configuration_is_left_alone(tmp_path):
    run_grid(tiny(), tmp_path, console=QUIET)
    with pytest.raises(ResultsError, match=r"another configuration.*penalty \(0.001 there, 0.01 now\)"):
        run_grid(tiny(penalty=0.01), tmp_path, console=QUIET)
    assert len(records(tmp_path)) == 4


def test_wrong_data_leave_no_folder(tmp_path):
    with pytest.raises(ArgumentError, match="data must have classes"):
        run_grid(tiny(cost="cross_entropy"), tmp_path / "new", console=QUIET)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_runs_in_small(path, tmp_path):
    experiment, folder, *_ = parse(PlateauExperiment, ["--config", str(path)])
    assert folder == Path("results") / f"plateau_{path.stem}"
    changes = {"widths": experiment.widths[:2], "restarts": 1, "seeds": [0], "threads": None}
    descent = dataclasses.replace(experiment.descent, adam_steps=10, finish_steps=10)
    if "MNIST" in experiment.data["class_path"]:
        digits = {"class_path": "datamodules.Digits", "init_args": {"labels": "classes", "n_test": 20}}
        changes |= {"data": digits, "n_train": [20]}
    projected = dataclasses.replace(experiment.projected, steps=10, projected_steps=2)
    frank_wolfe = dataclasses.replace(experiment.frank_wolfe, rounds=2, polish_steps=50, restarts=1)
    small = dataclasses.replace(
        experiment, descent=descent, projected=projected, frank_wolfe=frank_wolfe, **changes
    )
    run_grid(small, tmp_path, console=QUIET)
    frame = records(tmp_path)
    assert set(frame["optimiser"]) == set(experiment.optimisers)
    assert len(frame) == len(list(small.cells()))


def test_every_file_says_what_it_is_for():
    for path in FILES:
        header = [line for line in path.read_text().splitlines() if line.startswith("#")]
        starts = [line[2:].split(":")[0] for line in header]
        assert {"Figure", "Command", "Time"} <= set(starts), path.name
        assert {"Expected", "Found"} & set(starts), path.name
        assert f"configs/plateau/{path.name}" in path.read_text()
        assert read_config(path)["data"]


def test_the_command_runs_from_its_file(place, capsys):
    path = next(path for path in FILES if path.stem == "teacher_small")
    options = ["--restarts", "1", "--widths", "[1, 2]", "--descent.adam_steps", "20"]
    assert main(["plateau", "--config", str(path), *options]) == 0
    assert "diffstab report results/plateau_teacher_small" in capsys.readouterr().out
    assert len(read_records(place / "results" / "plateau_teacher_small")) == 2
    assert main(["plateau", "--config", str(path), "--depth", "1"]) == 2
    assert "depth must be at least 2" in capsys.readouterr().err
