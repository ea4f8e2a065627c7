"""A pass gives the same numbers for every batch size, any number of loader workers, and on several processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.references.layer_pass_process import measured

ROOT = Path(__file__).resolve().parents[2]
TOLERANCE = {"float32": 1e-5, "float64": 1e-10}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("batch_size", "workers"), [(1, 0), (7, 2), (64, 0)])
def test_batches_and_workers_change_nothing(dtype, batch_size, workers):
    expected = measured(getattr(torch, dtype), 70, 0)
    found = measured(getattr(torch, dtype), batch_size, workers)
    torch.testing.assert_close(found, expected, rtol=TOLERANCE[dtype], atol=0)


@pytest.mark.contract
@pytest.mark.parametrize(
    ("dtype", "processes", "batch_size", "workers"),
    [("float64", 2, 7, 0), ("float64", 2, 1, 2), ("float32", 2, 64, 0), ("float32", 3, 7, 2)],
)
def test_several_processes_are_one(tmp_path, dtype, processes, batch_size, workers):
    files = [str(tmp_path / name) for name in ("rendezvous", "result")]
    options = [*files, dtype, str(batch_size), str(workers)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    module = "tests.references.layer_pass_process"
    commands = [
        [sys.executable, "-m", module, str(rank), str(processes), *options] for rank in range(processes)
    ]
    running = [
        subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
        for command in commands
    ]
    errors = [process.communicate(timeout=120)[1] for process in running]
    assert all(process.returncode == 0 for process in running), errors
    expected = measured(getattr(torch, dtype), 70, 0)
    for rank in range(processes):
        found = torch.load(f"{files[1]}.{rank}", weights_only=True)
        torch.testing.assert_close(found, expected, rtol=TOLERANCE[dtype], atol=0)
