"""Stop a grid in its middle, start it again, and compare it with one that ran through."""

import pandas as pd
import pytest
from rich.console import Console

from diffstab.grid.running import run_grid
from diffstab.results import read_records

QUIET = Console(quiet=True)


def numbers(folder):
    """The measured columns of the records, without times and machines."""
    frame = read_records(folder)
    left_out = {"started_at", "wall_seconds", "train_seconds", "git_commit", "git_dirty", "config"}
    return frame[[column for column in frame.columns if column not in left_out]]


def check_that_only_what_is_missing_is_done(experiment, folder, monkeypatch, *, after=3):
    """Interrupt an experiment after some cells: the same call does the others, to the same bits."""
    done = []

    def interrupted(experiment, cell, *rest):
        if len(done) == after:
            raise KeyboardInterrupt
        done.append(cell)
        return run(experiment, cell, *rest)

    run = type(experiment).run
    monkeypatch.setattr(type(experiment), "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_grid(experiment, folder / "a", console=QUIET)
    first = list(done)
    done.clear()
    run_grid(experiment, folder / "a", console=QUIET)
    assert len(first) == after
    assert set(first) | set(done) == set(experiment.cells())
    assert not set(first) & set(done)
    monkeypatch.undo()
    run_grid(experiment, folder / "b", console=QUIET)
    pd.testing.assert_frame_equal(numbers(folder / "a"), numbers(folder / "b"), check_exact=True)
