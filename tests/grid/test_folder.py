"""A sweep's folder seen from outside: states, expected time, removal."""

import pytest

from diffstab.errors import ArgumentError, ResultsError
from diffstab.grid.folder import estimate, known_runs, remove, status, stored_runs
from diffstab.grid.forecast import Expected, expected
from diffstab.grid.plan import Run, experiment_plan, make_plan, open_plan
from diffstab.grid.sweep_file import read_sweep
from diffstab.results import Failure, Records
from tests.references.numbers_experiment import Numbers


@pytest.fixture
def plan_of(write_sweep):
    """The plan of powers x numbers x seeds of the toy command."""

    def make(powers=(2, 3), numbers=(1, 2), seeds=(0, 1)):
        parameters = {
            "power": {"values": list(powers)},
            "numbers": {"value": list(numbers)},
            "seeds": {"value": list(seeds)},
        }
        return make_plan(read_sweep(write_sweep(parameters)))

    return make


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "results"


def key_of(runs, **coordinates):
    (run,) = [run for run in runs if coordinates.items() <= run.coordinates.items()]
    return run.key


def record(records, runs, seconds=1.0, **coordinates):
    """Record every run with the coordinates."""
    for run in runs:
        if coordinates.items() <= run.coordinates.items():
            records.write(run.key, {**run.coordinates, "wall_seconds": seconds})


def test_the_stored_runs_are_those_of_the_plan(plan_of, folder):
    plan = plan_of()
    open_plan(plan, folder)
    assert stored_runs(folder) == plan.runs
    assert len(stored_runs(folder)) == 8


def test_status_tells_every_state(plan_of, folder):
    plan = plan_of()
    records, runs = open_plan(plan, folder), plan.runs
    record(records, runs, seconds=60.0, power=2, seed=0)
    failing = key_of(runs, power=2, number=1, seed=1)
    records.fail(
        failing, Failure("Too [bold] large", "Traceback", 3, "its label", "2026-01-01T00:00:00+00:00")
    )
    held = key_of(runs, power=3, number=2, seed=0)
    with records.claim(held):
        seen = status(folder)
    assert [seen.count(state) for state in ("recorded", "running", "failed", "missing")] == [2, 1, 1, 4]
    assert seen.states[failing] == "failed"
    assert seen.states[held] == "running"
    assert seen.labels == ["power=3 number=2 seed=0"]
    assert seen.failures["power=2 number=1 seed=1"].attempts == 3
    lines = str(seen).splitlines()
    assert lines[0] == f"{folder}: 8 runs: 2 recorded, 1 running, 1 failed, 4 missing."
    assert lines[2:3] == [
        "failed: power=2 number=1 seed=1: Too [bold] large (tried 3 times, 2026-01-01T00:00:00+00:00)"
    ]
    # One alike but for the seed, three of the other power.
    assert lines[3].startswith(
        "Time: about 0:04:00 on 1 worker (1 by earlier runs that differ in the seed only, 3"
    )


def test_a_failed_run_that_is_tried_again_is_running(plan_of, folder):
    plan = plan_of()
    records, runs = open_plan(plan, folder), plan.runs
    records.fail(runs[0].key, Failure("no"))
    with records.claim(runs[0].key):
        assert status(folder).states[runs[0].key] == "running"


def test_status_of_packed_records(plan_of, folder):
    plan = plan_of()
    records = open_plan(plan, folder)
    record(records, plan.runs)
    records.pack()
    seen = status(folder)
    assert seen.count("recorded") == 8
    records.remove([plan.runs[0].key])
    records.fail(plan.runs[0].key, Failure("[red]x[/red]", when="now"))
    assert "[red]x[/red] (tried once, now)" in str(status(folder))


def test_status_writes_nothing(plan_of, folder):
    open_plan(plan_of(), folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    status(folder)
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.parametrize("content", [None, b"", b"PAR1"])
def test_no_sweep_or_a_damaged_one(plan_of, folder, content):
    if content is None:
        message = r"No grid was started in .*results: there is no cells\.parquet\. Start one: `diffstab sweep"
    else:
        open_plan(plan_of(), folder)
        (folder / "cells.parquet").write_bytes(content)
        message = r"cells\.parquet is damaged .*Start the same command again"
    for look in (status, lambda folder: remove(folder, everything=True)):
        with pytest.raises(ResultsError, match=message):
            look(folder)


def test_an_estimate_before_anything_is_there(plan_of, folder):
    told = estimate(plan_of(), folder, workers=2)
    assert told.expected == Expected(unknown=8)
    assert str(told).splitlines()[0] == "8 runs: 8 missing."
    assert str(told).splitlines()[1] == "to run: power=2 number=1 seed=0"
    assert str(told).endswith("Time: unknown, as there are no records of such runs yet.")
    assert not folder.exists()


def test_an_estimate_by_the_records_of_a_smaller_grid(plan_of, folder):
    small = plan_of(numbers=(1, 2), seeds=(0, 1, 2))
    records, runs = open_plan(small, folder), small.runs
    for seed, seconds in enumerate((10.0, 90.0, 20.0)):
        record(records, runs, seconds, number=1, seed=seed, power=2)
    record(records, runs, 40.0, number=2, power=2)
    large = plan_of(powers=(2, 6), numbers=(1, 3), seeds=(0, 3, 4))
    told = estimate(large, folder, workers=3)
    # power=2, number=1: seeds 3, 4 take the median of three, 20. Twice the number takes twice that, at any power.
    assert told.expected.alike == 2
    assert told.expected.fitted == 3 + 3 + 3
    assert told.expected.seconds == pytest.approx(2 * 20 + 3 * 60 + 3 * 20 + 3 * 60, rel=1e-4)
    assert told.expected.longest == pytest.approx(60, rel=1e-4)
    assert told.expected.on(3) == told.expected.seconds / 3
    assert told.expected.on(100) == told.expected.longest
    assert str(told).splitlines()[0] == "12 runs: 1 recorded, 11 missing."


def test_runs_of_another_kind_are_unknown(tmp_path):
    """Neither another method nor a coordinate that is absent, nor zero against a number, is near."""
    records = Records(tmp_path)
    known = Run("a", 0, "a", {"method": "lazy", "n": 8, "penalty": 0.0, "seed": 0})
    records.write("a", {"wall_seconds": 2.0})

    def seconds(**coordinates):
        return expected([Run("b", 1, "b", coordinates)], records, [known]).seconds

    assert seconds(method="lazy", n=8, penalty=0.0, seed=5) == 2.0
    assert seconds(method="lazy", n=16, penalty=0) == 2.0
    for other in ({"method": "feature"}, {"penalty": 0.1}, {"n": "8"}, {"n": None}, {"more": 1}):
        assert seconds(**{"method": "lazy", "n": 8, "penalty": 0.0, **other}) == 0.0
    told = expected([Run("b", 1, "b", {}), Run("c", 2, "c", dict(known.coordinates))], records, [known])
    assert told == Expected(2.0, 2.0, alike=1, unknown=1)
    assert told.text(1) == (
        "Time: about 0:00:02 on 1 worker (1 by earlier runs that differ in the seed only, 1 more of unknown time)."
    )


def test_runs_of_a_batch_share_its_time(tmp_path):
    records = Records(tmp_path)
    known = [Run(f"a{width}", 0, "a", {"width": width, "restart": 0}) for width in (1, 2)]
    for run in known:
        records.write(run.key, {"train_seconds": 6.0, "runs_together": 2})
    todo = [Run(f"b{width}", 7, "b", {"width": width, "restart": 1}) for width in (1, 2)]
    assert expected(todo, records, known) == Expected(6.0, 6.0, alike=2)


def test_records_without_a_time_tell_nothing(tmp_path):
    records, run = Records(tmp_path), Run("a", 0, "a", {"n": 1})
    records.write("a", {"x": 1.0})
    assert expected([run], records, [run]) == Expected(unknown=1)
    records.write("a", {"wall_seconds": None})
    assert expected([run], records, [run]) == Expected(unknown=1)


def test_nothing_is_left_to_do(plan_of, folder):
    plan = plan_of()
    record(open_plan(plan, folder), plan.runs)
    assert str(estimate(plan, folder, workers=1)) == "8 runs: 8 recorded.\nNothing to do."


def test_a_long_list_is_cut(plan_of, folder):
    told = str(estimate(plan_of(numbers=range(1, 20)), folder, workers=1)).splitlines()
    assert len(told) == 1 + 20 + 1 + 1
    assert told[-2] == "... and 56 more"


@pytest.mark.parametrize(
    ("where", "left"),
    [(["power=2"], 4), (["power=2", "seed=1"], 6), (["number=1"], 4), (["power=7"], 8), (["seed=true"], 8)],
)
def test_removal_by_coordinates(plan_of, folder, where, left):
    plan = plan_of()
    records, runs = open_plan(plan, folder), plan.runs
    record(records, runs, power=2)
    records.pack()
    record(records, runs, power=3)
    assert remove(folder, where=where) == 8 - left
    assert len(records.keys()) == left
    assert remove(folder, where=where) == 0


def test_removal_of_failed_runs_lets_them_be_tried_again(plan_of, folder):
    plan = plan_of()
    records, runs = open_plan(plan, folder), plan.runs
    record(records, runs, power=2)
    for run in runs:
        if run.coordinates["power"] == 3:
            records.fail(run.key, Failure("no"))
    assert remove(folder, where=["number=2"], failed=True) == 2
    assert len(records.failures()) == 2
    assert remove(folder, failed=True) == 2
    assert records.failures() == {}
    assert len(records.keys()) == 4


def test_removal_takes_the_files_of_the_runs_along(plan_of, folder):
    plan = plan_of()
    records, runs = open_plan(plan, folder), plan.runs
    record(records, runs)
    gone, stays = key_of(runs, power=2, number=1, seed=0), key_of(runs, power=3, number=1, seed=0)
    for key in (gone, stays):
        (folder / "fits" / key).mkdir(parents=True)
        (folder / "fits" / key / "last.ckpt").touch()
        (folder / "pictures").mkdir(exist_ok=True)
        (folder / "pictures" / f"{key}.npz").touch()
    (folder / "report.html").touch()
    remove(folder, where=["power=2"])
    assert [path.name for path in (folder / "fits").iterdir()] == [stays]
    assert [path.name for path in (folder / "pictures").iterdir()] == [f"{stays}.npz"]
    assert remove(folder, everything=True) == 4
    assert records.keys() == set()
    assert list((folder / "fits").iterdir()) == []
    assert (folder / "report.html").exists()
    assert status(folder).count("missing") == 8


def test_values_that_are_no_numbers(tmp_path, write_sweep, folder):
    plan = make_plan(
        read_sweep(write_sweep({"factor": {"values": [1e-6, 0.5]}, "raising": {"values": [[], [9]]}}))
    )
    records, runs = open_plan(plan, folder), plan.runs
    record(records, runs)
    total = len(runs)
    assert remove(folder, where=["factor=1e-6", "seed=0"]) == total // 2


def test_a_run_at_work_is_not_removed(plan_of, folder):
    plan = plan_of()
    records, runs = open_plan(plan, folder), plan.runs
    record(records, runs, power=2)
    held = key_of(runs, power=3, number=1, seed=0)
    with (
        records.claim(held),
        pytest.raises(ResultsError, match=r"power=3 number=1 seed=0 is being run at this moment\. Stop"),
    ):
        remove(folder, everything=True)
    assert len(records.keys()) == 4


def test_a_selection_is_asked_for(plan_of, folder):
    open_plan(plan_of(), folder)
    with pytest.raises(ArgumentError, match="selection must be conditions, or all runs, got nothing"):
        remove(folder)
    with pytest.raises(ArgumentError, match="got both"):
        remove(folder, failed=True, everything=True)
    for text in ("width=2", "power"):
        with pytest.raises(ArgumentError, match=rf"'{text}'\. There are number, power, seed"):
            remove(folder, where=[text])


def test_files_that_cannot_be_removed(plan_of, folder, monkeypatch):
    plan = plan_of()
    records, runs = open_plan(plan, folder), plan.runs
    record(records, runs)
    (folder / "fits" / runs[0].key).mkdir(parents=True)

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("diffstab.grid.folder.shutil.rmtree", refuse)
    with pytest.raises(ResultsError, match=r"Cannot remove .*fits.*: Permission denied\. Mend"):
        remove(folder, everything=True)


def test_the_folder_of_a_command_says_which_runs_it_is_for(tmp_path):
    experiment = Numbers(numbers=[1, 2], seeds=[0, 1])
    assert known_runs(tmp_path / "a") == []
    records = open_plan(experiment_plan(experiment), tmp_path / "a")
    assert {run.key for run in known_runs(tmp_path / "a")} == {
        experiment.key(cell) for cell in experiment.cells()
    }
    record(records, stored_runs(tmp_path / "a"), number=2)
    assert str(status(tmp_path / "a")).startswith(f"{tmp_path / 'a'}: 4 runs: 2 recorded, 2 missing.")
    assert remove(tmp_path / "a", where=["number=2", "seed=1"]) == 1
