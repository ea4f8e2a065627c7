"""A fit on several processes is the fit on one: numbers, stop rule and weights."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

pytestmark = pytest.mark.contract

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "fit" / "digits_adam.yaml"
# An odd number of images, and a last batch of one image that leaves processes without any.
OPTIONS = ["--data.init_args.n_train", "301", "--data.init_args.n_test", "21", "--trainer.max_epochs", "12"]


def fit(place, processes, *options):
    """Fit by the command line; returns the numbers of each epoch and the last weights."""
    strategy = ["--trainer.strategy", "ddp"] if processes > 1 else []
    command = [
        sys.executable,
        "-m",
        "diffstab",
        "fit",
        "--config",
        str(CONFIG),
        *OPTIONS,
        *strategy,
        *options,
    ]
    command += ["--trainer.accelerator", "cpu", "--trainer.devices", str(processes)]
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root}
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    folder = place / "results" / "fit" / "version_0"
    table = pd.read_csv(folder / "metrics.csv").groupby("epoch").last()
    return table, torch.load(folder / "checkpoints" / "final.ckpt", weights_only=True)["state_dict"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return fit(tmp_path_factory.mktemp("alone"), 1, "--trainer.enable_progress_bar", "false")


@pytest.mark.parametrize(("processes", "bar"), [(2, "true"), (3, "false")])
def test_several_processes_are_one(tmp_path, alone, processes, bar):
    table, weights = fit(tmp_path, processes, "--trainer.enable_progress_bar", bar)
    expected, expected_weights = alone
    assert list(table.index) == list(expected.index), "the stop rule was met at another epoch"
    assert list(table.columns) == list(expected.columns)
    # Each process counts from its own first images: the ends of intervals differ a little.
    ends = [name for name in table if name.endswith(("_low", "_high"))]
    pd.testing.assert_frame_equal(table[ends], expected[ends], rtol=0.3, check_exact=False)
    # Sums of gradients round in another order, and a training carries that on.
    others = [name for name in table if name not in ends]
    pd.testing.assert_frame_equal(table[others], expected[others], rtol=1e-4, atol=1e-6, check_exact=False)
    for name, value in weights.items():
        torch.testing.assert_close(value, expected_weights[name], rtol=1e-3, atol=1e-4)
