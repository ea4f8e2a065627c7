"""Combinations put together from their values are those that the command makes of their arguments."""

import pytest
import yaml

from diffstab.errors import ArgumentError
from diffstab.experiments import experiment_class
from diffstab.grid import combining
from diffstab.grid.combining import experiments
from diffstab.grid.options import parse
from diffstab.grid.plan import make_plan
from diffstab.grid.sweep_file import read_sweep


def swept(folder, text):
    path = folder / "sweep.yaml"
    path.write_text(f"command: [diffstab, compare, '${{args}}']\nmethod: grid\nparameters:\n{text}")
    return read_sweep(path)


@pytest.fixture
def parsed(monkeypatch):
    """The arguments that have been parsed for combinations."""
    seen = []

    def counted(experiment, args):
        seen.append(args)
        return parse(experiment, args)

    monkeypatch.setattr(combining, "parse", counted)
    return seen


def made(sweep, combination):
    return parse(experiment_class("compare"), sweep.arguments(combination)).experiment


INDEPENDENT = """
  loss_beta: {values: [5, 1e-6, 20]}
  methods.feature.alpha: {values: [1e-6, 0.1]}
  n_train,seeds: {values: [[[32], [0]], [[64], [1, 2]]]}
  data.init_args.n_test: {values: [50, 60]}
  net: {parameters: {hidden: {values: [[10], [20]]}}}
"""


def test_combinations_are_what_the_command_makes_of_them_and_each_value_is_parsed_once(tmp_path, parsed):
    sweep = swept(tmp_path, INDEPENDENT)
    found = list(experiments(sweep, made(sweep, {})))
    assert len(found) == 48
    assert len(parsed) == (3 + 2 + 2 + 2 + 2) + 2
    for index in (0, 7, 18, 29, 40, 47):
        combination = list(sweep.combinations())[index]
        assert found[index] == made(sweep, combination)


@pytest.mark.parametrize(
    "text",
    [
        # The options of a class hang on the class; a file may set any option.
        "  data.class_path: {values: [datamodules.Digits]}\n  data.init_args.n_test: {values: [5, 6, 7, 8, 9]}",
        "  config: {values: [a.yaml]}\n  loss_beta: {values: [1, 2, 3, 4, 5]}",
    ],
)
def test_options_that_hang_together_are_parsed_together(tmp_path, monkeypatch, parsed, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text(yaml.safe_dump({"seeds": [3]}))
    sweep = swept(tmp_path, text)
    found = list(experiments(sweep, made(sweep, {})))
    assert len(parsed) == len(found) == 5
    assert len(set(map(repr, found))) == 5


def test_a_combination_that_is_wrong_is_named(tmp_path):
    text = "  n_train: {values: [[32], [64]]}\n  more_seeds: {values: [{}, {32: [7]}, {64: [7]}]}"
    with pytest.raises(
        ArgumentError, match=r'the combination {"more_seeds.64.*must be accepted.*more_seeds must name sizes'
    ):
        make_plan(swept(tmp_path, text))


@pytest.mark.parametrize("written", ["1e-6", "'1e-6'", "0.000001", "1.0e-6"])
def test_a_number_is_one_number_however_it_is_written(tmp_path, written):
    plan = make_plan(swept(tmp_path, f"  loss_beta: {{values: [{written}, 2]}}\n  seeds: {{value: [0]}}"))
    assert [batch.columns["loss_beta"] for batch in plan.batches][::6] == [1e-6, 2.0]
    assert {type(batch.columns["loss_beta"]) for batch in plan.batches} == {float}
    assert plan.written["kinds"] == {"loss_beta": "number"}
    assert plan.batches[0].label.startswith("loss_beta=1e-06 ")
