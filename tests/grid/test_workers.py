"""One worker and two give the same records, bit for bit, on real cells of every command."""

import pandas as pd
import pytest
from rich.console import Console

from diffstab.experiments import experiment_class
from diffstab.grid.cluster import Engine, connected
from diffstab.grid.options import parse
from diffstab.grid.plan import experiment_plan
from diffstab.grid.running import run_grid, run_plan
from diffstab.results import read_records

QUIET = Console(quiet=True)
ORIGIN = ["git_commit", "git_dirty", "versions", "hardware", "started_at", "wall_seconds", "train_seconds"]

ASKED = {
    "compare": [
        "--n_train=[8]",
        "--seeds=[0, 1]",
        "--threads=1",
        "--net.hidden=[30]",
        "--methods={'feature': {'trainer': 'adam'}, 'lazy': {'trainer': 'svc', 'regime': 'lazy'}}",
        "--stability={'images': 20, 'fields_per_image': 1, 'bootstrap': 10}",
    ],
    "sphere curve": ["--n_train=[8, 16]", "--seeds=[0, 1]", "--n_test=50", "--spectrum_points=50"],
    "plateau": [
        "--n_train=[10]",
        "--seeds=[0, 1]",
        "--widths=[1, 2]",
        "--threads=1",
        "--descent={'adam_steps': 50, 'finish_steps': 0}",
    ],
    "forces": [
        "--data={'class_path': 'datamodules.Digits', 'init_args': {'labels': 'classes', 'n_test': 50}}",
        "--cost=cross_entropy",
        "--n_train=10",
        "--seeds=[0, 1]",
        "--hidden=[10]",
        "--threads=1",
        "--gd_steps=50",
        "--descent={'adam_steps': 50, 'finish_steps': 0}",
        "--snapshots=[0, 32]",
    ],
}


@pytest.fixture(scope="module")
def client(scheduler):
    """A client of a cluster of two workers."""
    with connected(Engine(scheduler=scheduler)) as held:
        yield held


@pytest.mark.parametrize("name", ASKED)
def test_two_workers_and_one_process_give_the_same_records(name, client, tmp_path):
    experiment = parse(experiment_class(name), ASKED[name]).experiment
    tally = run_plan(experiment_plan(experiment), tmp_path / "two", where=client, console=QUIET)
    assert tally.failed == 0
    assert tally.done == len(list(experiment.batches())) >= 2
    run_grid(experiment, tmp_path / "one", console=QUIET)
    two, one = (
        read_records(tmp_path / folder).drop(columns=ORIGIN, errors="ignore") for folder in ("two", "one")
    )
    pd.testing.assert_frame_equal(two, one, check_exact=True)
