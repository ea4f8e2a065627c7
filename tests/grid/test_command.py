"""`diffstab sweep` as it is typed."""

import json

import pytest

from diffstab.cli import main
from diffstab.results import Records, read_records

GRID = {"numbers": {"values": [[1], [2], [3]]}, "factor": {"values": [1.0, 2.0]}}


def test_a_sweep_from_the_first_run_to_the_last(write_sweep, place, scheduler, capsys):
    path = str(write_sweep(GRID, "--raising=[3]"))
    assert main(["sweep", path, "--dry-run"]) == 0
    assert "6 runs: 6 missing" in capsys.readouterr().out
    assert not (place / "results").exists()
    options = ["--scheduler", scheduler]
    assert main(["sweep", path, *options]) == 1
    told = capsys.readouterr()
    assert "2 batches failed: `diffstab sweep status results/sweep_grid` says why." in told.out
    assert "failed: factor=1.0 number=3 seed=0: ValueError: 3 is not to be squared" in told.err
    assert main(["sweep", "status", "results/sweep_grid"]) == 0
    assert "6 runs: 4 recorded, 2 failed" in capsys.readouterr().out
    assert main(["sweep", "status", "results/sweep_grid", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["runs"], found["recorded"], found["failed"], found["missing"]) == (6, 4, 2, 0)
    assert {failure["reason"] for failure in found["failures"]} == {"ValueError: 3 is not to be squared"}
    assert all("number=3" in failure["label"] for failure in found["failures"])
    assert found["running_now"] == []
    assert found["expected"]["wall_seconds"] == 0
    # What failed before is left out, and still fails the sweep.
    assert main(["sweep", path, *options]) == 1
    assert "--retry-failed tries them again" in capsys.readouterr().err
    assert main(["sweep", "rm", "results/sweep_grid", "--where", "number=1"]) == 0
    assert "2 runs removed" in capsys.readouterr().out
    mended = str(write_sweep(GRID))
    assert main(["sweep", mended, "--retry-failed", *options]) == 0
    assert sorted(read_records("results/sweep_grid")["result"]) == [1, 2, 4, 8, 9, 18]
    assert Records("results/sweep_grid").failures() == {}


@pytest.mark.parametrize(
    ("parameters", "options", "message"),
    [
        ({"factr": {"values": [1]}}, [], "unrecognized arguments: --factr=1"),
        (GRID, ["--workers", "0"], "workers must be at least 1"),
        (GRID, ["--wandb", "a/b"], "b"),
    ],
)
def test_what_is_refused_leaves_nothing_behind(parameters, options, message, write_sweep, place, capsys):
    path = str(write_sweep(parameters))
    before = set(place.iterdir())
    assert main(["sweep", path, *options]) == 2
    assert message in capsys.readouterr().err
    assert set(place.iterdir()) == before


def test_another_base_configuration_is_refused(write_sweep, place, scheduler, capsys):
    options = ["--scheduler", scheduler]
    assert main(["sweep", str(write_sweep({"numbers": {"values": [[1]]}})), *options]) == 0
    changed = str(write_sweep({"numbers": {"values": [[1], [2]]}}, "--power=3"))
    assert main(["sweep", changed, *options]) == 2
    assert "power (2 there, 3 now)" in capsys.readouterr().err
    assert list(read_records("results/sweep_grid")["result"]) == [1.0]
