"""Grids on W&B, offline: what their runs hold, that they never mix, and that no record hangs on them."""

import json
import pickle
from pathlib import Path

import pytest
from pandas.testing import assert_frame_equal
from rich.console import Console

from diffstab.errors import ArgumentError, RunError
from diffstab.experiments.plateau import PlateauExperiment
from diffstab.grid.batch import run_batch
from diffstab.grid.plan import make_batch
from diffstab.grid.running import run_grid
from diffstab.results import Records
from diffstab.tracking import WandbObserver, wandb_observers

QUIET = Console(quiet=True)
KEY = "f00dfeed" * 5


@pytest.fixture(autouse=True)
def _offline(quiet_place, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")


@pytest.fixture
def unpictured(monkeypatch):
    """Leaves the pictures out: they take longest."""
    monkeypatch.setattr("diffstab.report.pages.run_pictures", lambda *given: {})


def run(experiment, folder):
    """Run a grid on W&B; return the logs of its runs."""
    run_grid(experiment, folder, console=QUIET, observer=WandbObserver("tests"))
    return sorted(Path(folder).glob("wandb/offline-run-*/*.wandb"))


def items(records, name):
    """The values of a quantity in the history, in order."""
    return [record["item"][name] for record in records["history"] if name in record["item"]]


def config(records):
    """The configuration of a run, which is logged once."""
    assert "config" not in records
    return records["run"][0]["config"]["update"]


def axes(records):
    """Pairs of what is drawn and what it is drawn against."""
    return {(one.get("glob_name") or one["name"], one.get("step_metric")) for one in records["metric"]}


def summary(records):
    found = {}
    for record in records["summary"]:
        found |= record["update"]
    return found


def table(log, records, name):
    """A logged table."""
    path = log.parent / "files" / items(records, f"{name}.path")[0]
    return json.loads(path.read_text())


def images(log, records):
    """Names of the logged images, each of them a PNG on the disk."""
    logged = {
        name.partition(".")[0]: value
        for item in records["history"]
        for name, value in item["item"].items()
        if name.startswith("pictures/") and name.endswith(".path")
    }
    for path in logged.values():
        assert (log.parent / "files" / path).read_bytes().startswith(b"\x89PNG")
    return {name.removeprefix("pictures/") for name in logged}


def test_a_comparison_is_told_whole(quiet_place, monkeypatch, tiny, logged):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    folder = quiet_place / "results" / "<b>x<" / "..y"
    experiment = tiny["compare"]()
    logs = run(experiment, folder)
    assert len(logs) == 2
    frame = Records(folder).read().set_index("method")
    for log in logs:
        records = logged(log)
        told = config(records)
        row = frame.loc[told["cell"]["method"]]
        told.pop("_wandb")
        assert {name: told[name] for name in ("n_train", "loss")} == {"n_train": [10], "loss": "soft_hinge"}
        assert (told["command"], told["regime"], told["line"]) == ("compare", "feature", row.name)
        about = records["run"][0]
        assert about["run_id"].startswith(f"{row['key']}-")
        assert (about["project"], about["run_group"], about["job_type"]) == ("tests", "..y", "compare")
        assert not set("<>/") & set(about["display_name"])
        axis = "train/flow_time" if row.name == "feature" else "train/steps"
        assert {("images/*", "images/n_train"), ("train/*", axis)} <= axes(records)
        assert items(records, "train/steps")[-1] == row["steps"]
        assert len(items(records, "train/loss")) == len(items(records, axis)) > 2
        assert (items(records, "images/n_train"), items(records, "images/D")) == ([10], [row["D"]])
        assert summary(records)["R"] == row["R"]
        intervals = {line[-4]: line[-3:] for line in table(log, records, "intervals")["data"]}
        assert {*"DGR", "D before", "G before", "R before"} <= intervals.keys()
        assert intervals["D"] == [row["D"], row["D_low"], row["D_high"]]
        assert images(log, records) == {"neurons", "deformations"}
        (artifact,) = [one for one in records["artifact"] if one["type"] == "records"]
        assert {entry["path"] for entry in artifact["manifest"]["contents"]} == {
            "config.yaml",
            "examples.npz",
            f"records/{row['key']}.parquet",
        }
        assert [one["exit_code"] for one in records["exit"]] == [0]
        kept = log.parent / "files" / "results"
        source = folder / "records" / f"{row['key']}.parquet"
        assert (kept / "records" / source.name).read_bytes() == source.read_bytes()
    # Nothing anywhere else, and no key in anything.
    assert {path.name for path in quiet_place.iterdir()} == {"results"}
    written = [path for root in (quiet_place, Path.home()) for path in root.rglob("*") if path.is_file()]
    assert len(written) > 10
    assert not [path for path in written if KEY.encode() in path.read_bytes()]


def test_a_plateau_is_drawn_against_the_width(quiet_place, tiny, logged):
    (log,) = run(tiny["plateau"](), quiet_place / "plateau")
    records = logged(log)
    frame = Records(quiet_place / "plateau").read().sort_values(["width", "restart"])
    assert items(records, "plateau/width") == [1, 1, 2, 2]
    assert items(records, "plateau/loss") == frame["loss"].tolist()
    assert items(records, "plateau_best/loss") == frame.groupby("width")["loss"].min().tolist()
    assert {("plateau/*", "plateau/width"), ("plateau_best/*", "plateau_best/width")} <= axes(records)
    assert len(config(records)["cells"]) == len(table(log, records, "records")["data"]) == 4
    assert {"loss_vs_width", "norm_vs_width"} <= images(log, records)
    assert summary(records)["seed"] == 0
    assert "restart" not in summary(records)


def test_forces_are_drawn_against_the_step(quiet_place, tiny, logged):
    (log,) = run(tiny["forces"](), quiet_place / "forces")
    records = logged(log)
    (row,) = Records(quiet_place / "forces").read().to_dict("records")
    assert ("train/*", "train/steps") in axes(records)
    assert items(records, "train/steps") == list(row["trace_step"])
    assert items(records, "train/imbalance_1") == list(row["trace_imbalance_1"])
    assert images(log, records) == {"imbalance", "layers", "force_sizes", "structure", "loss_vs_step"}
    assert (log.parent / "files" / "results" / "snapshots" / f"{row['key']}.npz").exists()


def test_the_sphere_is_drawn_against_n(quiet_place, tiny, logged):
    logs = run(tiny["sphere curve"](), quiet_place / "sphere")
    found = [logged(log) for log in logs]
    assert len({config(records)["line"] for records in found}) == len(found) == 2
    for records in found:
        assert ("sphere/*", "sphere/n_train") in axes(records)
        assert items(records, "sphere/n_train") == [6]
        assert items(records, "sphere/test_error") == [summary(records)["test_error"]]
    assert images(logs[0], found[0]) | images(logs[1], found[1]) == {"circle", "neuron_maps"}


def test_columns_that_a_sweep_adds_are_kept_too(quiet_place, unpictured, tiny):
    experiment, folder = tiny["plateau"](), quiet_place / "plateau"
    for cells in experiment.batches():
        run_batch(make_batch(experiment, cells, {"swept": 0.5}), Records(folder), WandbObserver("tests"))
    (kept,) = folder.glob("wandb/offline-run-*/files/results")
    assert_frame_equal(Records(kept).read(), Records(folder).read())
    assert set(Records(kept).read()["swept"]) == {0.5}


def test_disabled_means_nothing(quiet_place, monkeypatch, tiny):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert run(tiny["plateau"](), quiet_place / "plateau") == []
    assert not (quiet_place / "plateau" / "wandb").exists()
    assert len(Records(quiet_place / "plateau").read()) == 4


@pytest.mark.parametrize("where", ["_opened", "_record", "_complete"])
def test_a_failure_of_wandb_costs_no_record_and_is_told_once(
    quiet_place, unpictured, monkeypatch, caplog, tiny, where
):
    def fail(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(WandbObserver, where, fail)
    run(tiny["plateau"](seeds=[0, 1]), quiet_place / "plateau")
    assert len(Records(quiet_place / "plateau").read()) == 8
    assert sum("No space left on device" in message for message in caplog.messages) == 1


def test_a_failed_batch_closes_its_run(quiet_place, monkeypatch, tiny, logged):
    def fail(*args, **options):
        raise ArgumentError("width", "be found", "none")
        yield

    monkeypatch.setattr(PlateauExperiment, "run_together", fail)
    with pytest.raises(RunError, match="1 of 1 failed"):
        run(tiny["plateau"](), quiet_place / "plateau")
    (log,) = (quiet_place / "plateau").glob("wandb/offline-run-*/*.wandb")
    assert [one["exit_code"] for one in logged(log)["exit"]] == [1]


def test_a_second_start_writes_into_no_earlier_run(quiet_place, unpictured, tiny, settle):
    folder = quiet_place / "plateau"
    (first,) = run(tiny["plateau"](), folder)
    settle()
    before = first.read_bytes()
    records = Records(folder)
    records.remove(records.keys())
    assert len(run(tiny["plateau"](), folder)) == 2
    settle()
    assert first.read_bytes() == before


def test_other_processes_take_over_the_mode_and_say_nothing(monkeypatch, caplog):
    monkeypatch.delenv("WANDB_MODE")
    make = pickle.loads(pickle.dumps(wandb_observers("tests")))
    assert caplog.text.count("no key found") == 1
    caplog.clear()
    monkeypatch.setattr("diffstab.tracking.session._told", set())
    assert make().mode == "offline"
    assert caplog.messages == []


def test_a_project_of_no_name_is_refused():
    with pytest.raises(ArgumentError, match="wandb must have 1 to 128 characters"):
        WandbObserver("<b>x</b>/../y")
