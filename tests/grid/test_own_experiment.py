"""An experiment of somebody else: one file and one YAML in a folder of theirs, and all the rest follows."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from diffstab.errors import ArgumentError
from diffstab.experiments import experiment_class, listed
from diffstab.results import read_records
from diffstab.results.schema import describe

ROOT = Path(__file__).resolve().parents[2]

SOURCE = '''
"""Overlap of random vectors, an experiment of its own kind."""

from dataclasses import dataclass, field

import torch

from diffstab.experiments.unit import Axis, Experiment
from diffstab.results.schema import Column
from diffstab.streams import stream


@dataclass(frozen=True)
class Overlaps(Experiment):
    """Measure how far random vectors overlap.

    Args:
        dimensions: Of the vectors.
        laws: What their entries follow.
        seeds: Each draws the vectors.
        pairs: Number of pairs.
    """

    name = "overlaps"
    kind = "overlaps"
    axes = (
        Axis("dimensions", "dimension", "d", least=1, is_rising=True),
        Axis("laws", "law"),
        Axis("seeds", "seed", "seed", least=0),
    )
    columns = {"overlap": Column("Mean square overlap", "overlap", "Overlap")}
    curve = "dimension"
    measures = ("overlap",)

    dimensions: list[int] = field(default_factory=lambda: [4, 16])
    laws: list[str] = field(default_factory=lambda: ["normal", "signs"])
    seeds: list[int] = field(default_factory=lambda: [0])
    pairs: int = 50

    def prepare(self, place):
        generator = stream(place["seed"], "points", place["dimension"])
        vectors = torch.randn(2, self.pairs, place["dimension"], generator=generator, dtype=torch.float64)
        return vectors.sign() if place["law"] == "signs" else vectors

    def run(self, cell, shared, workplace):
        first, second = torch.nn.functional.normalize(shared, dim=-1)
        squares = (first * second).sum(-1).square()
        workplace.tell({"step": 1.0, "overlap": float(squares.mean())})
        error = float(squares.std()) / self.pairs**0.5
        mean = float(squares.mean())
        return {"overlap": mean, "overlap_low": mean - 2 * error, "overlap_high": mean + 2 * error}
'''


@pytest.fixture
def elsewhere(tmp_path):
    """A folder with the experiment, its configuration, and the metadata of an installed package that names it."""
    (tmp_path / "theirs.py").write_text(SOURCE)
    (tmp_path / "small.yaml").write_text(yaml.safe_dump({"dimensions": [8, 4], "seeds": [0, 1]}))
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[diffstab.experiments]\noverlaps = theirs:Overlaps\n")
    return tmp_path


def diffstab(folder, *args):
    """Run the command line in that folder, where the package is installed."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{folder}:{ROOT}",
        "OMP_NUM_THREADS": "1",
        "WANDB_MODE": "offline",
    }
    command = [sys.executable, "-m", "diffstab", *map(str, args)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.contract
def test_it_is_a_command_with_options_records_a_sweep_and_a_page(elsewhere):
    assert "overlaps" in diffstab(elsewhere, "--help").stdout
    told = diffstab(elsewhere, "overlaps", "--help").stdout
    assert "Measure how far random vectors overlap. Recorded runs are skipped." in told
    assert "--pairs PAIRS" in told
    answer = diffstab(elsewhere, "overlaps", "--config", "small.yaml")
    assert answer.returncode == 0, answer.stderr
    assert "8 of 8: d=8 signs seed=1" in answer.stderr
    frame = read_records(elsewhere / "results" / "small")
    assert len(frame) == 8
    assert set(frame["kind"]) == {"overlaps"}
    assert frame["overlap"].between(frame["overlap_low"], frame["overlap_high"]).all()
    # Unit vectors overlap by 1 / d in the mean square.
    assert frame.groupby("dimension")["overlap"].mean().to_dict() == pytest.approx(
        {4: 1 / 4, 8: 1 / 8}, rel=0.5
    )
    sweep = {"method": "grid", "command": ["diffstab", "overlaps", "--config", "small.yaml", "${args}"]}
    (elsewhere / "sweep.yaml").write_text(
        yaml.safe_dump({**sweep, "parameters": {"pairs": {"values": [20, 40]}}})
    )
    dry = diffstab(elsewhere, "sweep", "sweep.yaml", "--dry-run")
    assert "16 runs: 16 missing" in dry.stdout
    assert "to run: pairs=20 d=4 normal seed=0" in dry.stdout
    assert diffstab(elsewhere, "report", "results/small").returncode == 0
    page = (elsewhere / "results" / "small" / "report" / "index.html").read_text()
    assert "Dimension d (4 and 8), law (normal and signs)" in page
    assert "Mean square overlap" in page


@pytest.mark.contract
def test_it_runs_by_the_place_of_its_class_and_on_wandb(elsewhere):
    (elsewhere / "theirs-1.0.dist-info" / "entry_points.txt").unlink()
    answer = diffstab(
        elsewhere, "run", "theirs:Overlaps", "--dimensions=[4]", "--laws=[signs]", "--wandb=tests"
    )
    assert answer.returncode == 0, answer.stderr
    assert len(read_records(elsewhere / "results" / "overlaps")) == 1
    assert list((elsewhere / "results" / "overlaps").glob("wandb/offline-run-*/*.wandb"))
    sweep = {"method": "grid", "command": ["diffstab", "run", "theirs:Overlaps", "${args}"]}
    (elsewhere / "sweep.yaml").write_text(
        yaml.safe_dump({**sweep, "parameters": {"pairs": {"values": [20, 40]}}})
    )
    assert "8 runs: 8 missing" in diffstab(elsewhere, "sweep", "sweep.yaml", "--dry-run").stdout
    wrong = diffstab(elsewhere, "run", "theirs:Nothing")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "be importable as package.module:Class, got theirs:Nothing" in wrong.stderr


def test_what_its_columns_mean_is_known_with_its_class(elsewhere, monkeypatch):
    monkeypatch.syspath_prepend(elsewhere)
    listed.cache_clear()
    assert experiment_class("overlaps").kind == "overlaps"
    assert describe("overlap_low").label == "Mean square overlap"
    assert describe("law").role == "axis"
    # What is listed already keeps its meaning.
    assert describe("dimension").heading == "d"
    listed.cache_clear()


def test_a_class_that_is_no_experiment_is_refused():
    with pytest.raises(
        ArgumentError, match=r"experiment must be a class that inherits from .*Experiment, got pathlib:Path"
    ):
        experiment_class("pathlib:Path")
