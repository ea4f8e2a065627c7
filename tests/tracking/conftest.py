"""Small grids of every command, offline runs of W&B in a folder of the test, and what is written in them."""

import json
import subprocess
import sys

import pytest

from diffstab.experiments.forces import ForcesExperiment
from diffstab.experiments.images import ImageExperiment, Method, NetChoice, StabilityChoice
from diffstab.experiments.plateau import PlateauExperiment
from diffstab.experiments.sphere import SphereExperiment
from diffstab.l2.descent import DescentSettings
from diffstab.solvers.optimise import OptimiserSettings
from diffstab.solvers.stopping import StopRule

VARIABLES = ("WANDB_MODE", "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL", "NETRC")
FAST = DescentSettings(adam_steps=20, finish_steps=20)


def images(**changes):
    """A comparison whose nets take steps of gradient descent: a hundred to a moment that is reported."""
    stop = StopRule(max_steps=200)
    descent = Method(trainer="gd", optimiser=OptimiserSettings(name="gd", learning_rate=0.1, stop=stop))
    settings = {
        "data": {"class_path": "datamodules.Digits", "init_args": {"n_test": 40}},
        "n_train": [10],
        "seeds": [0],
        "methods": {"feature": Method(), "<b>x</b>/../y": descent},
        "net": NetChoice(hidden=[20]),
        "stability": StabilityChoice(images=40, fields_per_image=1, bootstrap=20),
    }
    return ImageExperiment(**{**settings, **changes})


def sphere(**changes):
    """A learning curve of one size on the circle."""
    settings = {"dimensions": [2], "n_train": [6], "seeds": [0], "n_test": 100, "degrees": 6}
    return SphereExperiment(**{**settings, "spectrum_points": 50, **changes})


def plateau(**changes):
    """Two widths from two starts."""
    data = {"class_path": "datamodules.TeacherNetwork", "init_args": {"widths": [2, 2, 1], "n_test": 20}}
    settings = {"data": data, "n_train": [8], "widths": [1, 2], "restarts": 2, "depth": 2, "descent": FAST}
    return PlateauExperiment(**{**settings, **changes})


def forces(**changes):
    """One net of one hidden layer."""
    data = {"class_path": "datamodules.Digits", "init_args": {"labels": "classes"}}
    settings = {"data": data, "n_train": 20, "hidden": [6], "gd_steps": 20, "snapshots": [0, 6]}
    return ForcesExperiment(**{**settings, "penalty": 0.01, "descent": FAST, **changes})


@pytest.fixture(scope="session")
def tiny():
    """A small experiment of each command that runs a grid, by its name; options change it."""
    return {"compare": images, "sphere curve": sphere, "plateau": plateau, "forces": forces}


@pytest.fixture
def quiet_place(place, monkeypatch):
    """The folder of `place`, and nothing of W&B remembered from an earlier test."""
    from diffstab.tracking import observer, session

    for name in VARIABLES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(session, "_told", set())
    monkeypatch.setattr(observer, "_unreachable", set())
    return place


@pytest.fixture(scope="session")
def settle():
    """Waits until W&B's service has written everything: it goes on for a moment after a run is finished."""
    import wandb

    return wandb.teardown


@pytest.fixture
def logged(settle):
    """Records of an offline run's transaction log by their kind, read by W&B's own command."""

    def read(path):
        settle()
        command = [sys.executable, "-P", "-m", "wandb", "leet", "inspect", "--json", str(path)]
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        records = {}
        for line in answer.stdout.splitlines():
            record = json.loads(line)
            records.setdefault(record["type"], []).append(record[record["type"]])
        return records

    return read
