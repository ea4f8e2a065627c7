"""What comes with the package is found from any folder, and what hides it is told."""

import sys

import pytest

from diffstab import shipped
from diffstab.cli import main
from diffstab.errors import ArgumentError
from diffstab.experiments.images import ImageExperiment
from diffstab.grid.options import parse
from diffstab.grid.sweep_file import read_sweep
from diffstab.shipped import CONFIGS, check_data_modules, config_path, with_configs

pytestmark = pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")


@pytest.mark.parametrize("name", ["experiment/fashion_small.yaml", "configs/experiment/fashion_small.yaml"])
def test_a_shipped_configuration_is_found_from_any_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert config_path(name) == CONFIGS / "experiment" / "fashion_small.yaml"
    asked = parse(ImageExperiment, ["--config", name])
    assert asked.experiment.data["class_path"].endswith("FashionMNIST")
    assert str(asked.folder) == "results/fashion_small"
    assert parse(ImageExperiment, [f"--config={name}"]) == asked


def test_a_file_of_the_working_directory_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "fashion_small.yaml").write_text("seeds: [7]")
    assert parse(ImageExperiment, ["--config", "experiment/fashion_small.yaml"]).experiment.seeds == [7]


@pytest.mark.parametrize("name", ["experiment/fashon.yaml", "../pyproject.yaml"])
def test_a_name_of_neither_is_refused_with_both_places(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArgumentError, match="config must name a file, got") as told:
        config_path(name)
    assert str(tmp_path / name) in str(told.value)
    assert str(CONFIGS / name) in str(told.value)


def test_only_configurations_are_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    args = ["fit", "--config={seeds: [1]}", "--output", "experiment/mnist.yaml", "--data", "Digits"]
    assert with_configs(args) == args
    assert with_configs(["--data", "configs/data/digits.yaml"]) == [
        "--data",
        str(CONFIGS / "data/digits.yaml"),
    ]


def test_a_shipped_sweep_and_its_base_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sweep = read_sweep("configs/sweep/digits_small.yaml")
    assert sweep.name == "digits_small"
    assert parse(sweep.experiment, sweep.arguments(next(sweep.combinations())))


def test_a_file_that_is_missing_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for command in ("compare", "fit"):
        assert main([command, "--config", "nowhere.yaml"]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_a_folder_that_hides_the_data_modules_is_told(tmp_path, monkeypatch, capsys):
    (tmp_path / "datamodules").mkdir()
    (tmp_path / "datamodules" / "__init__.py").touch()
    check_data_modules()
    for name in [name for name in sys.modules if name.partition(".")[0] == "datamodules"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["compare", "--config", "experiment/mnist.yaml"]) == 2
    told = capsys.readouterr().err
    assert (
        f"datamodules must be the package beside {shipped._PACKAGE}, got {tmp_path / 'datamodules'}" in told
    )
    assert told.count("\n") == 1
