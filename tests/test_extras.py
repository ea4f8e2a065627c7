"""What a plain installation lacks is asked for in one line, and nothing else needs it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from diffstab.cli import main
from diffstab.errors import ArgumentError
from diffstab.extras import EXTRAS, require
from diffstab.grid.cluster import Engine, connected

ROOT = Path(__file__).resolve().parents[1]

pytestmark = [
    # Of Lightning's own use of jsonargparse.
    pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning"),
]


@pytest.fixture
def plain(monkeypatch):
    """An installation without extras."""
    for name in EXTRAS:
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.parametrize(("name", "extra"), EXTRAS.items())
def test_a_missing_package_is_asked_for(name, extra, plain):
    message = rf"{name.replace('_', '-')} must be installed for this.*pip install 'diffstab\[{extra}\]'"
    with pytest.raises(ArgumentError, match=message):
        require(name, "for this")


def test_grids_say_what_they_need(plain):
    with pytest.raises(ArgumentError, match=r"distributed must be installed .*diffstab\[grids\]"):
        connected(Engine(workers=1)).__enter__()


@pytest.mark.parametrize("module", ["cryptography", "dask_jobqueue"])
def test_so_do_their_parts(module, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, module, None)
    profile = tmp_path / "profile.yaml"
    profile.write_text("cores: 1")
    engine = Engine(slurm=profile) if module == "dask_jobqueue" else Engine(workers=1)
    with pytest.raises(ArgumentError, match=r"must be installed .*diffstab\[grids\]"):
        connected(engine).__enter__()


@pytest.mark.parametrize(
    "args",
    [
        ["compare", "--config", "experiment/mnist_small.yaml", "--wandb", "p"],
        ["fit", "--config", "fit/digits_adam.yaml", "--trainer.logger=WandbLogger"],
        ["import-wandb", "entity/project", "--results", "x"],
    ],
    ids=lambda args: args[0],
)
def test_commands_say_it_in_one_line(args, plain, place, capsys):
    assert main(args) == 2
    told = capsys.readouterr().err
    assert told.startswith("diffstab: wandb must be installed ")
    assert told.endswith("Run: pip install 'diffstab[wandb]'.\n")
    assert told.count("\n") == 1
    assert list(place.iterdir()) == []


PLAIN = """
import sys

for name in sys.argv[1].split(","):
    sys.modules[name] = None
from diffstab.cli import main

small = ["--trainer.max_epochs=1", "--model.net.init_args.hidden=[10]", "--trainer.enable_progress_bar=false"]
failed = main(["fit", "--config", "fit/digits_adam.yaml", "--data.init_args.n_test=30", *small])
grid = ["--net.hidden=[10]", "--n_train=[16]", "--seeds=[0]", "--data.init_args.n_test=30", "--stability.images=10"]
grid += ["--data=Digits"]
failed |= main(["compare", "--config", "experiment/mnist_small.yaml", *grid, "--results", "grid"])
sys.exit(failed | main(["report", "grid"]))
"""


@pytest.mark.contract
def test_a_plain_installation_fits_compares_and_reports(tmp_path):
    command = [sys.executable, "-c", PLAIN, ",".join([*EXTRAS, "dask"])]
    pipes = {"capture_output": True, "text": True, "env": {**os.environ, "PYTHONPATH": str(ROOT)}}
    answer = subprocess.run(command, cwd=tmp_path, timeout=300, check=False, **pipes)
    assert answer.returncode == 0, answer.stderr
    assert (tmp_path / "grid" / "report" / "index.html").is_file()
