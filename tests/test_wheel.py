"""What the wheel holds, and that its own configurations are found by what is installed from it."""

import os
import subprocess
import sys
import zipfile
from email import message_from_string
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import diffstab

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.contract


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built as the build system in this environment does; without one the test is skipped."""
    pytest.importorskip("hatchling")
    pytest.importorskip("hatch_fancy_pypi_readme")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_holds_code_types_and_configurations_alone(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"diffstab/py.typed", "datamodules/py.typed", "diffstab/report/templates/page.css"} <= names
    assert {"diffstab/report/claims/petrini2022.yaml", "diffstab/report/claims/jacot2022.yaml"} <= names
    shipped = {
        name.removeprefix("diffstab/configs/") for name in names if name.startswith("diffstab/configs/")
    }
    assert shipped == {str(path.relative_to(ROOT / "configs")) for path in (ROOT / "configs").rglob("*.yaml")}
    assert {name.partition("/")[0] for name in names} == {
        "diffstab",
        "datamodules",
        f"diffstab-{diffstab.__version__}.dist-info",
    }


def test_its_metadata(wheel):
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
    told = message_from_string(archive.read(name).decode())
    assert told["Version"] == diffstab.__version__
    assert told.get_all("Project-URL")
    plain = [Requirement(line).name for line in told.get_all("Requires-Dist") if "extra ==" not in line]
    assert not {"wandb", "wandb-workspaces", "distributed", "dask-jobqueue", "cryptography"} & set(plain)
    assert set(told.get_all("Provides-Extra")) == {"all", "dashboards", "grids", "models", "wandb"}
    assert "Typing :: Typed" in told.get_all("Classifier")
    text = told.get_payload()
    links = [part.split(")")[0] for part in text.split("](")[1:]]
    assert links
    assert all(link.startswith(("https://", "#")) for link in links)


INSTALLED = """
from diffstab.shipped import config_path
from diffstab.experiments import experiment_class
from diffstab.grid.options import parse

print(parse(experiment_class("compare"), ["--config", "configs/experiment/mnist.yaml"]).folder)
print(config_path("experiment/mnist.yaml"))
"""


def test_what_is_installed_finds_its_configurations(wheel, tmp_path):
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    pipes = {"capture_output": True, "text": True, "env": {**os.environ, "PYTHONPATH": str(site)}}
    command = [sys.executable, "-c", INSTALLED]
    answer = subprocess.run(command, cwd=tmp_path, timeout=120, check=False, **pipes)
    found = site / "diffstab" / "configs" / "experiment" / "mnist.yaml"
    assert answer.stdout == f"results/mnist\n{found}\n", answer.stderr
