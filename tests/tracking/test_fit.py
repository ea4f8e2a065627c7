"""`diffstab fit` on W&B, read back: configuration, curves, tables, pictures, artifacts; apart and closed."""

import json
import os
from pathlib import Path

import pytest
import wandb
import yaml
from pandas.testing import assert_frame_equal
from rich.console import Console

from diffstab.cli import main
from diffstab.experiments.fit import FitExperiment
from diffstab.grid.options import parse
from diffstab.grid.running import run_grid
from diffstab.results import flatten, read_records
from diffstab.tracking import WandbObserver
from diffstab.tracking import fit as module
from diffstab.tracking.importing import import_runs
from diffstab.tracking.session import run_settings

ROOT = Path(__file__).resolve().parents[2]
KEY = "f00dfeed" * 5

pytestmark = [
    # Of Lightning's own use of jsonargparse, and of W&B's options.
    pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The dirpath has changed:UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:wandb"),
]


def fit(*options, name="digits_adam"):
    """Run a small fit that logs to W&B below runs/."""
    quiet = [f"--trainer.enable_{what}=false" for what in ("progress_bar", "model_summary")]
    small = ["--trainer.max_epochs=2", "--model.net.init_args.hidden=[20]", "--data.init_args.n_test=50"]
    logger = [f"--trainer.logger{option}" for option in ("=WandbLogger", ".project=tests", ".save_dir=runs")]
    config = str(ROOT / "configs" / "fit" / f"{name}.yaml")
    return main(["fit", "--config", config, *quiet, *small, *logger, *options])


def logs_of(place):
    return sorted(place.glob("runs/wandb/offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime)


def history(records, name):
    return [record["item"][name] for record in records["history"] if name in record["item"]]


def test_runs_of_one_process_are_apart_and_complete(quiet_place, monkeypatch, capsys, logged):
    rates = (0.25, 0.5)
    for rate in rates:
        options = [f"--model.optimiser.learning_rate={rate}", "--trainer.check_val_every_n_epoch=1"]
        assert fit(*options, "--trainer.logger.name=<b>x</b>/../y") == 0
    assert capsys.readouterr().err.count("no key found, so runs are kept offline") == 1
    logs = logs_of(quiet_place)
    assert len(logs) == 2
    for log, rate in zip(logs, rates):
        records = logged(log)
        folder = quiet_place / "runs" / "tests" / records["run"][0]["run_id"]
        assert {entry.name for entry in folder.iterdir()} == {"config.yaml", "checkpoints"}
        # Logged once: nested, and flat with the names of the flags.
        resolved = yaml.safe_load((folder / "config.yaml").read_text())
        (config,) = [update for record in records["config"] if set(update := record["update"]) != {"_wandb"}]
        assert config == {**resolved, **flatten(resolved)}
        assert config["model.optimiser.learning_rate"] == rate
        # Two epochs, and the final numbers.
        epochs = {
            name: [item["item"]["epoch"] for item in records["history"] if name in item["item"]]
            for name in ("val_R", "train_loss")
        }
        assert epochs == {"val_R": [0, 1, 2], "train_loss": [0, 1]}
        assert [one["exit_code"] for one in records["exit"]] == [0]
        assert records["run"][0]["display_name"] == "_b_x__b__.._y"
        check_end(log, records, folder)


def check_end(log, records, folder):
    """What a fit logs at its end."""
    files = log.parent / "files"
    table = json.loads((files / history(records, "intervals.path")[0]).read_text())
    lines = {line["quantity"]: line for line in (dict(zip(table["columns"], row)) for row in table["data"])}
    assert lines.keys() == {*"DGR", "D before", "G before", "R before"}
    for line in lines.values():
        assert line["low"] < line["value"] < line["high"]
    # The 50 test images, drawn as the callback draws them.
    for name in "DGR":
        assert lines[name]["value"] == pytest.approx(history(records, f"val_{name}")[-1], rel=1e-4)
    for name in ("neurons", "deformations"):
        assert (files / history(records, f"pictures/{name}.path")[0]).read_bytes().startswith(b"\x89PNG")
    artifacts = {one["type"]: one["manifest"]["contents"] for one in records["artifact"]}
    assert [entry["path"] for entry in artifacts["config"]] == ["config.yaml"]
    assert [entry["path"] for entry in artifacts["model"]] == ["final.ckpt"]
    assert Path(artifacts["model"][0]["local_path"]) == folder / "checkpoints" / "final.ckpt"


def test_a_fit_comes_back_as_a_record(quiet_place, monkeypatch, settle):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert fit("--data.init_args.n_train=30") == 0
    settle()
    assert import_runs("runs", "imported").written == 1
    (row,) = read_records("imported").to_dict("records")
    assert (row["dataset"], row["n_train"], row["seed"]) == ("Digits", 30, 0)
    assert row["test_error"] == row["val_error"]
    assert row["R"] == row["val_R"]
    written = [path for root in (quiet_place, Path.home()) for path in root.rglob("*") if path.is_file()]
    assert not [path for path in written if KEY.encode() in path.read_bytes()]


def test_a_fit_of_a_grid_is_told_whole(quiet_place, monkeypatch, logged):
    monkeypatch.setenv("WANDB_MODE", "offline")
    config = str(ROOT / "configs" / "fit" / "digits_adam.yaml")
    small = ["--trainer.max_epochs=2", "--model.net.init_args.hidden=[10]", "--data.init_args.n_test=50"]
    experiment = parse(FitExperiment, ["--config", config, *small]).experiment
    folder = run_grid(experiment, "fits", console=Console(quiet=True), observer=WandbObserver("tests"))
    (log,) = Path(folder).glob("wandb/offline-run-*/*.wandb")
    records = logged(log)
    (row,) = read_records(folder).to_dict("records")
    assert history(records, "train/steps") == [12, 24]
    assert (history(records, "fit/steps"), history(records, "fit/val_R")) == ([24], [row["val_R"]])
    assert records["run"][0]["config"]["update"]["model"] == experiment.config["model"]
    artifacts = {one["type"]: one["manifest"]["contents"] for one in records["artifact"]}
    (checkpoint,) = artifacts["model"]
    assert (
        Path(checkpoint["local_path"])
        == quiet_place / "fits" / "fits" / row["key"] / "checkpoints" / "final.ckpt"
    )
    assert import_runs("fits", "again").written == 1
    assert_frame_equal(read_records("again"), read_records("fits"))


def test_a_failed_run_closes_its_wandb_run(quiet_place, logged):
    assert fit("--model.optimiser.learning_rate=1e30") == 2
    (log,) = logs_of(quiet_place)
    assert [one["exit_code"] for one in logged(log)["exit"]] == [1]


def test_a_run_that_is_open_in_the_process_is_left_alone(quiet_place, logged):
    mine = wandb.init(project="mine", mode="offline", dir=str(quiet_place), settings=run_settings())
    try:
        assert wandb.run is mine
        assert fit("--trainer.logger.offline=true") == 0
        assert "WANDB_MODE" not in os.environ
        mine.log({"still": "open"})
    finally:
        mine.finish()
    (log,) = logs_of(quiet_place)
    assert logged(log)["run"][0]["project"] == "tests"


def test_a_run_that_cannot_be_closed_hides_nothing(quiet_place, monkeypatch, capsys):
    finish = wandb.Run.finish

    def broken(run, exit_code=None):
        finish(run, exit_code=exit_code)
        raise OSError("no service")

    monkeypatch.setattr(wandb.Run, "finish", broken)
    assert fit("--model.optimiser.learning_rate=1e30") == 2
    said = capsys.readouterr().err
    assert "W&B failed (OSError: no service); the end of a fit's run is missing" in said
    assert "diffstab: " in said


def test_what_fails_at_the_end_costs_no_checkpoint(quiet_place, monkeypatch, capsys):
    def fail(*given):
        raise OSError("no space left")

    monkeypatch.setattr(module, "log_results", fail)
    assert fit() == 0
    assert "W&B failed (OSError: no space left); tables, pictures" in capsys.readouterr().err
    assert list(quiet_place.rglob("final.ckpt"))


def test_wandb_that_cannot_start_is_told_before_the_training(quiet_place, monkeypatch, capsys):
    import wandb

    def fail(**options):
        raise wandb.errors.CommError("no service")

    monkeypatch.setattr(wandb, "init", fail)
    assert fit() == 2
    assert (
        "W&B could not be started (CommError: no service). Set WANDB_MODE=offline" in capsys.readouterr().err
    )
    assert not list(quiet_place.rglob("*.ckpt"))


def test_disabled_means_nothing(quiet_place, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert fit() == 0
    assert not (quiet_place / "runs" / "wandb").exists()
    assert list(quiet_place.rglob("final.ckpt"))
