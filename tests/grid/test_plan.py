import pandas as pd
import pytest
import yaml

from diffstab.errors import ArgumentError, DataError, ResultsError
from diffstab.experiments.unit import Cell
from diffstab.grid.options import parse
from diffstab.grid.plan import CELLS, check_data, make_plan, open_plan
from diffstab.grid.sweep_file import read_sweep
from tests.references.numbers_experiment import Numbers


def plan_of(path):
    return make_plan(read_sweep(path))


def test_equal_runs_are_one(write_sweep):
    plan = plan_of(write_sweep({"numbers": {"values": [[1, 2], [2, 3]]}, "seeds": {"values": [[0], [0, 1]]}}))
    found = [tuple(batch.cells[0].values()) for batch in plan.batches]
    assert found == [
        (1, 0),
        (2, 0),
        (1, 1),
        (2, 1),
        (3, 0),
        (3, 1),
    ]
    assert len(set(plan.keys)) == 6


def test_runs_have_the_keys_that_the_command_alone_gives_them(write_sweep):
    plan = plan_of(write_sweep({"numbers": {"values": [[4]]}, "factor": {"values": [3.0]}}))
    experiment = parse(Numbers, ["--numbers=[4, 5]", "--factor=3.0"]).experiment
    assert plan.keys == [experiment.key(Cell(number=4, seed=0))]


def test_columns_are_the_swept_options_in_one_kind_each(write_sweep):
    cells = [{"factor": 1, "data": {"init_args": {"size": 8}}}, {"factor": 2.5}, {"power": 3}]
    plan = plan_of(write_sweep({"config": {"values": cells}, "numbers": {"value": [1]}}))
    nothing = {"factor": None, "data.init_args.size": None, "power": None}
    assert [batch.columns for batch in plan.batches] == [
        {**nothing, "factor": 1.0, "data.init_args.size": 8},
        {**nothing, "factor": 2.5},
        {**nothing, "power": 3},
    ]


def test_columns_of_lists_are_text(write_sweep):
    plan = plan_of(write_sweep({"data": {"values": [{"init_args": {"size": size}} for size in (8, 14)]}}))
    assert {batch.columns["data.init_args.size"] for batch in plan.batches} == {8, 14}
    command = ["diffstab", "compare", "--seeds=[0]", "${args}"]
    plan = plan_of(write_sweep({"net.hidden": {"values": [[5], [5, 5]]}}, command=command))
    assert {batch.columns["net.hidden"] for batch in plan.batches} == {"[5]", "[5,5]"}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"factr": {"values": [1.0]}}, 'combination {"factr":1} must be accepted.*unrecognized.*--factr'),
        ({"config": {"values": [{"factr": 1.0}]}}, 'combination {"factr":1} must be accepted.*factr'),
        ({"factor": {"values": [1.0, "many"]}}, 'combination {"factor":"many"} must be accepted.*factor'),
        ({"data.init_args.sze": {"values": [8]}}, '(?s)combination {"data.init_args.sze":8} must be .*sze'),
    ],
)
def test_an_unknown_option_or_value_is_named(parameters, message, write_sweep):
    with pytest.raises(ArgumentError, match=message):
        plan_of(write_sweep(parameters))


def test_a_mistyped_method_is_not_a_new_one(write_sweep):
    command = ["diffstab", "compare", "${args}"]
    with pytest.raises(ArgumentError, match=r"methods\.feture must name an entry .* There are feature"):
        plan_of(write_sweep({"methods.feture.alpha": {"values": [1.0]}}, command=command))


def test_the_data_of_every_configuration_are_asked_for(write_sweep, tmp_path):
    command = ["diffstab", "compare", "${args}"]
    plan = plan_of(write_sweep({"n_train": {"values": [[8], [5000]]}}, command=command))
    with pytest.raises(ArgumentError, match="n_train must be at most 1200, got 5000"):
        check_data(plan.batches)
    cells = [{"data": {"class_path": "datamodules.MNIST", "init_args": {"root": str(tmp_path / "no")}}}]
    plan = plan_of(write_sweep({"config": {"values": cells}}, command=command))
    with pytest.raises(DataError):
        check_data(plan.batches)


def test_the_folder_holds_plan_and_configuration(write_sweep, tmp_path):
    plan = plan_of(write_sweep({"numbers": {"values": [[1], [2]]}, "factor": {"values": [1.0, 2.0]}}))
    open_plan(plan, tmp_path / "a")
    cells = pd.read_parquet(tmp_path / "a" / CELLS)
    assert list(cells["key"]) == plan.keys
    assert list(cells["batch"]) == [0, 1, 2, 3]
    assert cells["coordinates"][1] == '{"factor":2,"number":1,"seed":0}'
    assert cells["label"][1] == "factor=2.0 number=1 seed=0"
    config = yaml.safe_load((tmp_path / "a" / "config.yaml").read_text())
    assert config["numbers"] == [1, 2]


def test_a_larger_grid_goes_on_and_another_base_is_refused(write_sweep, tmp_path):
    open_plan(plan_of(write_sweep({"factor": {"values": [1.0]}})), tmp_path / "a")
    open_plan(plan_of(write_sweep({"factor": {"values": [1.0, 2.0]}})), tmp_path / "a")
    assert len(pd.read_parquet(tmp_path / "a" / CELLS)) == 6
    files = {path: path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file()}
    other = plan_of(write_sweep({"factor": {"values": [1.0]}}, "--power=3"))
    with pytest.raises(ResultsError, match=r"another configuration; it differs in power \(2 there, 3 now\)"):
        open_plan(other, tmp_path / "a")
    assert files == {path: path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file()}
