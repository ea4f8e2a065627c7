"""The file of a sweep, and that the agent of `wandb sweep` passes the same arguments as we do."""

import pytest
import yaml

from diffstab.errors import ArgumentError
from diffstab.grid.options import parse
from diffstab.grid.plan import make_plan
from diffstab.grid.sweep_file import coordinates, read_sweep

DIGITS = ["diffstab", "compare", "--data.init_args.n_test", "50", "${args}", "--seeds", "[0]"]


def write(tmp_path, **content):
    path = tmp_path / "grid.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def sweep(tmp_path, parameters, command=DIGITS, **keys):
    return read_sweep(write(tmp_path, method="grid", command=list(command), parameters=parameters, **keys))


def agent_arguments(found, combination):
    """Arguments after the command's name, as the agent of W&B makes them of a combination."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

    values = {name: {"value": value} for name, value in {**found.fixed, **combination}.items()}
    return [*found.before, *create_sweep_command_args({"args": values})["args"], *found.after]


GRIDS = {
    "product": {
        "n_train": {"values": [[64], [16, 32]]},
        "methods.feature.alpha": {"values": [1e-6, 1.0]},
        "stability.images": {"value": None},
        "stability.noise": {"values": ["batch", 0.5]},
    },
    "zip": {"n_train,stability.delta_px": {"values": [[[64], 0.5], [[16], 1.0]]}},
    "cells": {
        "config": {"values": [{"n_train": [8], "net": {"hidden": [5]}}, {"stability": {"cutoff": 4}}]},
        "loss_beta": {"values": [10, 20.0]},
    },
    "nested": {"net": {"parameters": {"beta": {"values": [1.0, 2.0]}, "activation": {"value": "softplus"}}}},
    "data": {"data.init_args.size": {"values": [8, 14]}, "data.init_args.labels": {"value": "parity"}},
}


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_the_agent_of_wandb_runs_the_same_experiments(grid, tmp_path):
    found = sweep(tmp_path, grid)
    plan = make_plan(found)
    parsed = [
        parse(found.experiment, agent_arguments(found, combination)).experiment
        for combination in found.combinations()
    ]
    assert len({repr(experiment) for experiment in parsed}) == len(parsed) >= 2
    planned = list(dict.fromkeys(repr(batch.experiment) for batch in plan.batches))
    assert planned == [repr(experiment) for experiment in parsed]


def test_combinations_are_products_and_the_last_parameter_is_the_fastest(tmp_path):
    found = sweep(
        tmp_path, {"a": {"values": [1, 2]}, "b,c": {"values": [[3, "x"], [4, "y"]]}, "d": {"value": 5}}
    )
    assert [coordinates(combination) for combination in found.combinations()] == [
        {"a": a, "b": b, "c": c} for a in (1, 2) for b, c in ((3, "x"), (4, "y"))
    ]
    first = next(found.combinations())
    assert found.arguments(first)[2:-2] == ["--d=5", "--a=1", '--b,c=[3, "x"]']


def test_cells_are_named_by_their_leaves():
    cell = {"config": {"net": {"hidden": [5], "beta": 2.0}}, "stability": {"cutoff": 4}}
    assert coordinates(cell) == {"net.hidden": [5], "net.beta": 2.0, "stability.cutoff": 4}


@pytest.mark.parametrize(
    "command",
    [
        ["diffstab", "sphere", "curve", "--seeds", "[0]", "${args}"],
        ["/opt/bin/diffstab", "sphere", "curve", "--seeds", "[0]", "${args}"],
        ["${env}", "${interpreter}", "-m", "diffstab", "sphere", "curve", "--seeds", "[0]", "${args}"],
        ["${interpreter}", "${program}", "sphere", "curve", "--seeds", "${envvar:SEEDS}", "${args}"],
    ],
)
def test_the_command_is_found_behind_macros(command, tmp_path, monkeypatch):
    monkeypatch.setenv("SEEDS", "[0]")
    found = sweep(tmp_path, {"n_train": {"values": [[8]]}}, command, program="diffstab/__main__.py")
    assert (found.command, found.before, found.after) == ("sphere curve", ["--seeds", "[0]"], [])


N = {"n_train": {"values": [[8], [16]]}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"methd": "grid"}, "methd must be among the keys command, description"),
        ({"method": "random"}, "method must be grid, got 'random'.*need W&B's server"),
        ({"parameters": {}}, "parameters must be a mapping of names to values"),
        ({"parameters": {"n_train": 3}}, r"parameters\.n_train must have value, values or parameters"),
        (
            {"parameters": {"n_train": {"min": 3, "max": 5}}},
            r"parameters\.n_train must have .*no distributions",
        ),
        (
            {"parameters": {"n_train": {"values": []}}},
            r"parameters\.n_train\.values must be a list of values",
        ),
        ({"parameters": {"n_train,seeds": {"values": [[[8]]]}}}, "n_train,seeds must hold lists of 2 values"),
        ({"parameters": {"config": {"values": [3]}}}, r"parameters\.config must hold mappings"),
        (
            {"parameters": {**N, "n_train,seeds": {"value": [[8], [0]]}}},
            "set each option once, got n_train in",
        ),
        (
            {"parameters": {**N, "config": {"values": [{"n_train": [8]}]}}},
            "set each option once, got n_train",
        ),
        (
            {"parameters": {"net": {"value": {"beta": 1.0}}, "net.beta": {"values": [1.0]}}},
            "each option once",
        ),
        ({"parameters": {"seeds,seeds": {"values": [[[0], [1]]]}}}, "set each option once, got seeds,seeds"),
        ({"command": "diffstab compare"}, "command must be a list of words"),
        ({"command": ["python", "train.py", "${args}"]}, "command must run diffstab"),
        ({"command": ["diffstab", "compare"]}, r"command must hold \$\{args\} once"),
        (
            {"command": ["diffstab", "report", "${args}"]},
            "command must be one of .*compare, .*sphere curve.*'report'",
        ),
        ({"command": ["diffstab", "compare", "${args_no_hyphens}", "${args}"]}, "hold no macros but"),
        (
            {"command": ["diffstab", "compare", "--results=x", "${args}"]},
            "leave folder and workers to the sweep",
        ),
        ({"command": ["${program}", "compare", "${args}"]}, r"program must be named"),
    ],
)
def test_a_wrong_file_is_one_clear_error(content, message, tmp_path):
    path = write(tmp_path, **{"method": "grid", "command": DIGITS, "parameters": N, **content})
    with pytest.raises(ArgumentError, match=message):
        read_sweep(path)


@pytest.mark.parametrize(
    ("text", "message"), [("a: [", "sweep file must be YAML"), ("[1]", "sweep file must be a mapping")]
)
def test_what_is_no_file_of_a_sweep(text, message, tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text(text)
    with pytest.raises(ArgumentError, match=message):
        read_sweep(path)
    with pytest.raises(ArgumentError, match=r"sweep file must be readable, got .*No such file"):
        read_sweep(tmp_path / "nothing.yaml")
