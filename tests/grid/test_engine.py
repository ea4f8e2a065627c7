"""Sweeps on real Dask clusters of this machine: what runs, what fails, and what is left when something dies."""

import dataclasses
import errno
import os
import signal
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

import diffstab.results.atomic
from diffstab.errors import ArgumentError, ResultsError
from diffstab.experiments.unit import Cell
from diffstab.grid.batch import run_on_worker, unfit
from diffstab.grid.cluster import Engine
from diffstab.grid.plan import check_place, experiment_plan, make_batch, make_plan, open_plan
from diffstab.grid.running import run_plan
from diffstab.grid.sweep_file import read_sweep
from diffstab.results import Records, read_records
from tests.references.numbers_experiment import Numbers

QUIET = Console(quiet=True)
ORIGIN = ["git_commit", "git_dirty", "versions", "hardware", "started_at", "wall_seconds"]


@pytest.fixture
def two(scheduler):
    """Two workers of a cluster that is there."""
    return Engine(scheduler=scheduler)


def plan_of(path):
    return make_plan(read_sweep(path))


def begun(log):
    """How often each run has begun."""
    lines = [line.split() for line in log.read_text().splitlines()]
    return Counter(tuple(line[1:4]) for line in lines if line[0] == "begin")


def table(folder):
    return read_records(folder).drop(columns=ORIGIN)


def test_a_sweep_runs_each_cell_once_and_goes_on(write_sweep, tmp_path, log, two):
    parameters = {"numbers": {"values": [[1, 2], [3]]}, "factor": {"values": [1.0, 2.0]}}
    plan = plan_of(write_sweep(parameters, "--log", log))
    tally = run_plan(plan, tmp_path / "a", where=two, console=QUIET)
    assert (tally.done, tally.failed) == (6, 0)
    assert 0 <= tally.left_seconds < 60
    frame = read_records(tmp_path / "a")
    assert sorted(frame["result"]) == [1, 2, 4, 8, 9, 18]
    assert (frame["result"] == frame["factor"] * frame["number"] ** 2).all()
    parameters["numbers"]["values"].append([4])
    console = Console(record=True, quiet=True)
    tally = run_plan(
        plan_of(write_sweep(parameters, "--log", log)), tmp_path / "a", where=two, console=console
    )
    assert tally.done == 2
    assert len(read_records(tmp_path / "a")) == 8
    assert set(begun(log).values()) == {1}


def test_the_records_of_a_large_sweep_are_packed(write_sweep, tmp_path, two, monkeypatch):
    monkeypatch.setattr("diffstab.grid.running.WORTH_PACKING", 10)
    plan = plan_of(write_sweep({"numbers": {"values": [[number] for number in range(10)]}}))
    assert run_plan(plan, tmp_path / "a", where=two, console=QUIET).done == 10
    assert list((tmp_path / "a" / "records").glob("*.parquet")) == []
    assert sorted(read_records(tmp_path / "a")["number"]) == list(range(10))


@pytest.mark.contract
def test_a_grid_of_a_command_in_processes_of_its_own(tmp_path):
    experiment = Numbers(numbers=list(range(12)), raising=[5], threads=1)
    options = {"where": Engine(workers=2), "console": QUIET, "retry_failed": True}
    tally = run_plan(experiment_plan(experiment), tmp_path / "a", **options)
    assert (tally.done, tally.failed) == (11, 1)
    assert len(Records(tmp_path / "a").failures()) == 1
    # Nothing is left to do: no process is started.
    mended = dataclasses.replace(experiment, numbers=[1, 2])
    assert run_plan(experiment_plan(mended), tmp_path / "a", **options).total == 0


def test_failures_are_kept_and_the_rest_goes_on(write_sweep, tmp_path, log, two):
    """One number raises, one kills whatever process it runs in, and the others are done."""
    parameters = {"numbers": {"values": [[number] for number in range(8)]}}
    path = write_sweep(parameters, "--log", log, "--raising=[3]", "--killing=[5]")
    tally = run_plan(plan_of(path), tmp_path / "a", where=two, console=QUIET)
    assert (tally.done, tally.failed) == (6, 2)
    failures = {failure.label: failure for failure in Records(tmp_path / "a").failures().values()}
    assert failures["number=3 seed=0"].reason == "ValueError: 3 is not to be squared"
    assert "numbers_experiment.py" in failures["number=3 seed=0"].detail
    assert "its worker died 3 times while it ran alone" in failures["number=5 seed=0"].reason
    assert begun(log)["5", "0", "1.0"] == 6  # three times beside others, three times alone
    again = run_plan(plan_of(path), tmp_path / "a", where=two, console=QUIET)
    assert (again.done, again.failed) == (0, 2)
    assert begun(log)["3", "0", "1.0"] == 1
    healed = write_sweep(parameters, "--log", log)
    tally = run_plan(plan_of(healed), tmp_path / "a", where=two, console=QUIET, retry_failed=True)
    assert (tally.done, tally.failed) == (2, 0)
    assert Records(tmp_path / "a").failures() == {}
    assert len(read_records(tmp_path / "a")) == 8


def test_a_scheduler_that_does_not_answer_leaves_nothing_behind(write_sweep, tmp_path, monkeypatch):
    monkeypatch.setattr("diffstab.grid.cluster.CONNECT_SECONDS", 1)
    plan = plan_of(write_sweep({"numbers": {"values": [[1]]}}))
    with pytest.raises(ResultsError, match=r"No Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        run_plan(plan, tmp_path / "a", where=Engine(scheduler="tcp://127.0.0.1:9"), console=QUIET)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "workers must be at least 1, got 0"),
        ({"threads": 0}, "threads must be at least 1, got 0"),
        ({"scheduler": "tcp://a:1", "slurm": "profile.yaml"}, "scheduler must not be given with slurm"),
        ({"scheduler": "tcp://a:1", "workers": 2}, "workers must be left to the cluster"),
    ],
)
def test_options_that_exclude_each_other(options, message):
    with pytest.raises(ArgumentError, match=message):
        Engine(**options)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "slurm must name a readable YAML file"),
        ("- a", "slurm must name a YAML file with a mapping"),
        ("cores: 1\nmemry: 1GB", r"slurm must hold options of dask_jobqueue\.SLURMCluster, got memry"),
        ("cores: 1\nminimum_jobs: 0", r"slurm: minimum_jobs must be a number of at least 1, got 0"),
        ("cores: 1\nworker_extra_args: --x", r"slurm: worker_extra_args must be a list, got '--x'"),
    ],
)
def test_a_wrong_slurm_profile_leaves_nothing_behind(text, message, write_sweep, tmp_path):
    profile = tmp_path / "profile.yaml"
    if text is not None:
        profile.write_text(text)
    plan = plan_of(write_sweep({"numbers": {"values": [[1]]}}))
    with pytest.raises(ArgumentError, match=message):
        run_plan(plan, tmp_path / "a", where=Engine(slurm=profile), console=QUIET)
    assert not (tmp_path / "a").exists()


def test_a_folder_of_another_configuration_is_refused_before_a_cluster_is_asked_for(
    write_sweep, tmp_path, two
):
    parameters = {"numbers": {"values": [[1]]}}
    run_plan(plan_of(write_sweep(parameters)), tmp_path / "a", where=two, console=QUIET)
    other = plan_of(write_sweep({"numbers": {"values": [[2]]}}, "--power=3"))
    with pytest.raises(ResultsError, match=r"power \(2 there, 3 now\)"):
        run_plan(other, tmp_path / "a", where=Engine(scheduler="tcp://127.0.0.1:9"), console=QUIET)


def test_an_option_of_another_kind_is_refused_before_its_records_stop_fitting(write_sweep, tmp_path, two):
    def plan(*factors):
        return plan_of(write_sweep({"numbers": {"value": [1]}, "factor": {"values": list(factors)}}))

    assert run_plan(plan(1.0), tmp_path / "a", where=two, console=QUIET).done == 1
    other = plan(1.0, 2.0)
    mixed = other._replace(written={**other.written, "kinds": {"factor": "text"}})
    with pytest.raises(ResultsError, match=r"factor was a number in the records of .* and is a text now"):
        run_plan(mixed, tmp_path / "a", where=two, console=QUIET)
    assert run_plan(other, tmp_path / "a", where=two, console=QUIET).done == 1


def test_a_number_that_was_kept_as_text_does_not_bind_a_folder(write_sweep, tmp_path):
    def plan(value):
        return plan_of(write_sweep({"numbers": {"value": [1]}, "factor": {"values": [value]}}))

    earlier = plan(1e-6)
    records = open_plan(
        earlier._replace(written={**earlier.written, "kinds": {"factor": "text"}}), tmp_path / "a"
    )
    records.write("k", {"factor": "1e-6", "seed": 0})
    check_place(plan(0.5), tmp_path / "a")
    records.write("k", {"factor": "small", "seed": 0})
    with pytest.raises(ResultsError, match="factor was a text in the records"):
        check_place(plan(0.5), tmp_path / "a")


def test_a_batch_that_others_begin_and_leave_is_given_up(write_sweep, tmp_path, two, monkeypatch):
    """A claim that ends without a record is most often a process that died of the run."""
    monkeypatch.setattr("diffstab.grid.running._LEFT", 1)
    plan = plan_of(write_sweep({"numbers": {"values": [[1], [2]]}}))
    key = plan.keys[0]
    held = Records(tmp_path / "a").claim(key)
    assert held.__enter__()
    claimed = Records.claimed

    def ending(records):
        found = claimed(records)
        held.__exit__(None, None, None)
        monkeypatch.setattr(Records, "claimed", claimed)
        return found

    monkeypatch.setattr(Records, "claimed", ending)
    tally = run_plan(plan, tmp_path / "a", where=two, console=QUIET)
    assert (tally.done, tally.failed) == (1, 1)
    assert "other processes began it 1 times" in Records(tmp_path / "a").failures()[key].reason
    again = run_plan(plan, tmp_path / "a", where=two, console=QUIET, retry_failed=True)
    assert (again.done, again.failed) == (1, 0)


def task(folder, **changes):
    experiment = dataclasses.replace(Numbers(), **changes)
    return make_batch(experiment, (Cell(number=2, seed=0),), {"extra": "x", "number": 7}), folder


def test_a_task_records_its_columns_beside_those_of_the_run(tmp_path):
    assert run_on_worker(*task(tmp_path)).outcome == "done"
    assert run_on_worker(*task(tmp_path)).outcome == "recorded"
    record = read_records(tmp_path).iloc[0]
    assert (record["extra"], record["number"], record["result"]) == ("x", 2, 4.0)


def test_a_full_disk_is_no_failure_of_the_run(tmp_path, monkeypatch):
    run_on_worker(*task(tmp_path, factor=2.0))
    before = table(tmp_path)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(diffstab.results.atomic.os, "fsync", full)
    answer = run_on_worker(*task(tmp_path))
    assert answer.outcome == "refused"
    assert "No space left on device" in answer.reason
    monkeypatch.undo()
    pd.testing.assert_frame_equal(table(tmp_path), before)


def test_a_worker_that_cannot_work_says_why(tmp_path):
    assert "does not see" in run_on_worker(*task(tmp_path / "elsewhere")).reason
    assert "A worker runs diffstab" in unfit(tmp_path, "0.0.0")


def test_a_file_system_that_refuses_ends_the_sweep(write_sweep, tmp_path, two):
    """The folder of records is a file: nothing can be written, on whatever worker."""
    plan = plan_of(write_sweep({"numbers": {"values": [[1], [2], [3]]}}))
    run_plan(plan, tmp_path / "a", where=two, console=QUIET)
    (tmp_path / "a" / "claims").rmdir()
    (tmp_path / "a" / "claims").write_text("")
    larger = plan_of(write_sweep({"numbers": {"values": [[1], [4]]}}))
    with pytest.raises(ResultsError, match="Cannot make the results folder"):
        run_plan(larger, tmp_path / "a", where=two, console=QUIET)
    assert sorted(read_records(tmp_path / "a")["number"]) == [1, 2, 3]


def test_an_interrupted_sweep_goes_on(write_sweep, tmp_path, log, two, diffstab, wait_until):
    path = write_sweep({"numbers": {"values": [[n] for n in range(20)]}}, "--log", log, "--seconds=0.2")
    process = diffstab("sweep", path, "--workers", 2)
    # A process that starts imports torch, which takes a minute on a busy machine.
    wait_until(lambda: sum(begun(log).values()) >= 4, seconds=240)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in output + errors
    assert "the same command goes on" in errors
    wait_until(lambda: not others(process.pid))
    assert run_plan(plan_of(path), tmp_path / "results" / "sweep_grid", where=two, console=QUIET).failed == 0
    assert len(read_records(tmp_path / "results" / "sweep_grid")) == 20


def others(group):
    """Processes that are left of a group."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(entry.name)) == group:
                found.append(int(entry.name))
        except ProcessLookupError:
            continue
    return found
