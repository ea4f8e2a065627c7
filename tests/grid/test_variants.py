"""Variants of configuration files, as each command line takes them."""

import json

import pytest
import yaml

from diffstab.cli import main
from diffstab.errors import ArgumentError
from diffstab.experiments import experiment_class
from diffstab.grid.options import parse
from diffstab.grid.sweep_file import read_sweep
from diffstab.results import read_config
from diffstab.training.config_files import read_arguments

pytestmark = pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")


@pytest.fixture
def variant(place):
    """The path of a file in the folder of the test."""

    def write(name, **content):
        (place / name).write_text(yaml.safe_dump(content))
        return name

    return write


def asked(name, config, *options):
    return parse(experiment_class(name), ["--config", config, *options])


def test_an_experiment_records_the_merged_configuration(variant):
    variant("base.yaml", data={"class_path": "datamodules.Digits"}, net={"hidden": [10]}, n_train=[8])
    path = variant("own.yaml", include="base.yaml", net={"activation": "relu"})
    same = {**read_config("base.yaml"), "net": {"hidden": [10], "activation": "relu"}}
    plain = variant("plain.yaml", **same)
    one, other = (asked("compare", name) for name in (path, plain))
    assert one.experiment == other.experiment
    assert str(one.folder) == "results/own"
    assert "include" not in json.dumps(one.experiment.resolved())


def test_lightnings_command_line_takes_variants_of_configurations_and_of_their_parts(variant):
    variant("net.yaml", class_path="diffstab.nets.FCN", init_args={"in_features": 784, "hidden": [10]})
    variant("base.yaml", model={"alpha": 0.5})
    path = variant("own.yaml", include="base.yaml", data={"class_path": "datamodules.Digits"})
    net = variant("wide.yaml", include="net.yaml", init_args={"hidden": [30]})
    config = asked("fit", path, "--model.net", net).experiment.config
    assert config["model"]["alpha"] == 0.5
    assert config["model"]["net"]["init_args"]["hidden"] == [30]
    assert config["data"]["class_path"] == "datamodules.Digits"


def test_a_sweep_can_be_a_variant(variant):
    command = ["diffstab", "compare", "${args}"]
    variant("base.yaml", method="grid", command=command, parameters={"seeds": {"values": [[0], [1]]}})
    path = variant("own.yaml", include="base.yaml", parameters={"n_train": {"value": [8]}})
    sweep = read_sweep(path)
    assert (sweep.name, sweep.fixed, sweep.swept) == ("own", {"n_train": [8]}, {"seeds": [[0], [1]]})


def test_only_files_that_include_another_become_text(variant):
    variant("base.yaml", a=1)
    words = ["--config", "own.yaml", "--data", variant("own.yaml", include="base.yaml", b=2), "--x=own.yaml"]
    text = '{"a": 1, "b": 2}'
    assert read_arguments(words) == ["--config", "own.yaml", "--data", text, f"--x={text}"]
    assert read_arguments(["--data", "base.yaml", "--n", "3"]) == ["--data", "base.yaml", "--n", "3"]


@pytest.mark.parametrize("command", [["compare"], ["fit"], ["sphere", "curve"], ["sweep"]])
def test_a_missing_parent_is_one_line(variant, capsys, command):
    path = variant("own.yaml", include="absent.yaml")
    assert main([*command, *([] if command == ["sweep"] else ["--config"]), path]) == 2
    assert capsys.readouterr().err.startswith(
        "diffstab: include in own.yaml must name a file, got absent.yaml"
    )


def test_a_file_within_a_file_cannot_include_a_third(variant):
    variant("base.yaml", class_path="datamodules.Digits")
    variant("data.yaml", include="base.yaml")
    path = variant("own.yaml", data="data.yaml")
    with pytest.raises(ArgumentError, match="include must stand in a file of the command line"):
        asked("fit", path)
