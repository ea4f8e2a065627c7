"""What is left when workers and whole sweeps are killed, and when two sweeps share a folder."""

import os
import random
import signal
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from diffstab.grid.batch import run_batch
from diffstab.grid.plan import make_plan, open_plan
from diffstab.grid.sweep_file import read_sweep
from diffstab.results import Records, RecordStore, read_records

ORIGIN = ["git_commit", "git_dirty", "versions", "hardware", "started_at", "wall_seconds"]
QUIET = Console(quiet=True)


def entries(log, what):
    """The runs that have begun, or ended, one entry each time: number, seed, factor, and the process."""
    lines = [line.split() for line in log.read_text().splitlines()]
    return [tuple(line[1:]) for line in lines if line[0] == what]


def write_grid(write_sweep, log, cells, seconds=0.05):
    """A grid of so many short cells."""
    factors, numbers = [1.0, 2.5], list(range(cells // 4))
    parameters = {"factor": {"values": factors}, "numbers": {"values": [[number] for number in numbers]}}
    return write_sweep(parameters, "--seeds=[0, 1]", f"--seconds={seconds}", "--log", log)


def table(folder):
    return read_records(folder).drop(columns=ORIGIN)


def undisturbed(path, folder):
    """The table of the same grid, run cell by cell in this process."""
    plan = make_plan(read_sweep(path))
    records = open_plan(plan, folder)
    assert isinstance(records, RecordStore)
    for batch in plan.batches:
        run_batch(batch, records)
    return table(folder)


def assert_equal_tables(folder, expected):
    found = table(folder)
    pd.testing.assert_frame_equal(found[expected.columns], expected, check_exact=True)
    assert set(found.columns) == set(expected.columns)


def assert_nothing_ran_twice_but_what_was_killed(log, kills):
    """A run begins again only after its process was killed in it.

    Args:
        log: The log.
        kills: Number of processes that were killed.
    """
    begun, ended = entries(log, "begin"), entries(log, "end")
    again = sum(count - 1 for count in Counter(run[:3] for run in begun).values())
    assert len(begun) - len(ended) <= kills
    assert again <= kills
    # No process writes a record and its line in one step, so a run may end twice only by a kill between them.
    assert sum(count - 1 for count in Counter(run[:3] for run in ended).values()) <= kills


def victims(log):
    """Processes in the middle of a run that was never killed: one killed three times would count as failed."""
    begun, ended = entries(log, "begin"), entries(log, "end")
    counts = Counter(run[:3] for run in begun)
    return [
        int(run[3])
        for run in begun
        if run not in ended and counts[run[:3]] == 1 and Path("/proc", run[3]).exists()
    ]


def disturb(path, log, diffstab, wait_until, kills):
    """Run the sweep at `path` and kill it as told; return its process.

    Args:
        path: Its file.
        log: Of the runs.
        diffstab: Starts it.
        wait_until: Waits.
        kills: Of each kill, after how many more runs, and whether it hits the whole sweep or one worker.
    """
    process = diffstab("sweep", path, "--workers", 2)
    for more, whole in kills:
        enough = len(entries(log, "end")) + more
        wait_until(lambda enough=enough: len(entries(log, "end")) >= enough, seconds=120)
        if whole:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            process = diffstab("sweep", path, "--workers", 2)
        else:
            while not (found := victims(log)):
                assert process.poll() is None, "the sweep ended before the last kill"
            os.kill(found[0], signal.SIGKILL)
    return process


def check(process, path, log, tmp_path, *, kills):
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, output + errors
    assert "Traceback" not in output + errors
    folder = tmp_path / "results" / "sweep_grid"
    assert_nothing_ran_twice_but_what_was_killed(log, kills)
    assert Records(folder).failures() == {}
    assert_equal_tables(folder, undisturbed(path, tmp_path / "undisturbed"))


def test_kills_of_a_worker_and_of_the_sweep_lose_nothing(write_sweep, tmp_path, log, diffstab, wait_until):
    path = write_grid(write_sweep, log, 32)
    process = disturb(path, log, diffstab, wait_until, [(5, False), (5, True)])
    check(process, path, log, tmp_path, kills=3)


@pytest.mark.slow
@pytest.mark.parametrize("whole", [False, True], ids=["a worker", "the whole sweep"])
def test_ten_kills_at_random_moments_lose_nothing(whole, write_sweep, tmp_path, log, diffstab, wait_until):
    path = write_grid(write_sweep, log, 60)
    moments = random.Random(int(whole)).choices(range(1, 6), k=10)
    process = disturb(path, log, diffstab, wait_until, [(moment, whole) for moment in moments])
    # All that is killed with a sweep: its two workers.
    check(process, path, log, tmp_path, kills=10 * (1 + whole))


def test_two_sweeps_on_one_folder_share_the_work(write_sweep, tmp_path, log, diffstab):
    path = write_grid(write_sweep, log, 40, seconds=0.1)
    both = [diffstab("sweep", path, "--workers", 1) for _ in range(2)]
    for process in both:
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 0, output + errors
    assert_nothing_ran_twice_but_what_was_killed(log, kills=0)
    # Both took part: a process each.
    assert len({run[3] for run in entries(log, "end")}) == 2
    assert_equal_tables(tmp_path / "results" / "sweep_grid", undisturbed(path, tmp_path / "undisturbed"))
