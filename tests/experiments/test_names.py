"""Names of records stay: those that are on somebody's disk are found, or the version of the streams is raised."""

import pytest

from diffstab.experiments import experiment_class
from diffstab.grid.options import parse
from diffstab.results import check_folder, record_key
from diffstab.results.store import LATER
from diffstab.streams import SCHEME

NAMES = {
    "compare": "0d4a78fda6ba0252",
    "forces": "d25a96a1e00603cf",
    "lazy": "523c3827dcb71098",
    "plateau": "0f71475535770c91",
    "sphere curve": "481ce2e502f3c0a9",
}
"""The first record of each command without options, as version 2 of the streams has named it."""


@pytest.mark.skipif(SCHEME != 2, reason="other streams, other names")
@pytest.mark.parametrize("name", NAMES)
def test_a_record_is_named_as_ever(name):
    experiment = parse(experiment_class(name), []).experiment
    assert experiment.key(next(experiment.cells())) == NAMES[name]


def _with(config, path, value):
    """The configuration with a value at a path of keys."""
    first, *rest = path
    return {**config, first: _with(config[first], rest, value) if rest else value}


def test_an_option_that_came_later_takes_no_part_where_it_changes_nothing(tmp_path):
    before = {"data": {"init_args": {"size": 8}}}
    for name, value in LATER.items():
        now, used = (_with(before, name.split("."), one) for one in (value, {"class_path": "a.B"}))
        keys = [record_key(config, {}, grid_keys=()) for config in (before, now, used)]
        assert keys[0] == keys[1] != keys[2]
        (tmp_path / "config.yaml").write_text("data: {init_args: {size: 8}}")
        check_folder(tmp_path, now, grid_keys=())
