"""What the tests of sweeps share: a toy command, its files, and `diffstab` in processes of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from diffstab.experiments import Listed, listed

ROOT = Path(__file__).resolve().parents[2]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Tests that start a cluster or a command line are contracts."""
    for item in items:
        if Path(__file__).parent in item.path.parents and {"scheduler", "diffstab"} & {*item.fixturenames}:
            item.add_marker(pytest.mark.contract)


@pytest.fixture(autouse=True)
def _numbers(monkeypatch):
    """The toy experiment is listed."""
    monkeypatch.setitem(listed(), "numbers", Listed("tests.references.numbers_experiment:Numbers", "Square"))


@pytest.fixture(scope="session")
def scheduler(tmp_path_factory):
    """Address of a Dask cluster of two workers, each a process of its own, that talk over TCP."""
    folder = tmp_path_factory.mktemp("cluster")
    settings = {
        "DASK_DISTRIBUTED__WORKER__DAEMON": "False",
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "2",
    }
    environment = {**os.environ, **settings, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    told = folder / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    scheduler = [*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    worker = [*dask, "worker", "--nworkers", "2", "--nthreads", "1", "--no-dashboard"]
    processes = [
        subprocess.Popen(
            [*command, "--scheduler-file", told],
            cwd=folder,
            env=environment,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for command in (scheduler, worker)
    ]
    _wait_until(told.exists)
    yield json.loads(told.read_text())["address"]
    for process in reversed(processes):
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def write_sweep(tmp_path):
    """Write a sweep's file of the toy command, and return its path."""

    def write(parameters, *options, name="grid", **keys):
        path = tmp_path / f"{name}.yaml"
        content = {
            "method": "grid",
            "command": ["diffstab", "numbers", *map(str, options), "${args}"],
            "parameters": parameters,
        }
        path.write_text(yaml.safe_dump({**content, **keys}, sort_keys=False))
        return path

    return write


@pytest.fixture
def log(tmp_path):
    """An empty file that toy runs write to."""
    path = tmp_path / "log"
    path.touch()
    return path


@pytest.fixture
def diffstab(tmp_path):
    """Start `diffstab` with the toy command in a process group of its own; what still runs in the end is killed."""
    started = []

    def start(*args, **options):
        command = [sys.executable, "-m", "tests.references.sweep_process", *map(str, args)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        # A shell that runs the tests in the background has SIGINT ignored, which children inherit.
        options = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **options}
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, start_new_session=True, **pipes, **options
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture
def wait_until():
    """Wait for a condition, and fail when it does not come true in time."""

    return _wait_until


def _wait_until(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
