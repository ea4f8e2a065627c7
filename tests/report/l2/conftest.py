"""Plateaus with a known start, written the way runs are."""

import itertools

import pytest

from diffstab.report.l2.plateau_runs import plateau_frame
from diffstab.results import read_records
from tests.references.plateau_records import write_plateau_records


@pytest.fixture(scope="session")
def plateau_folder():
    """Write the records of a grid with a known start."""
    return write_plateau_records


@pytest.fixture
def plateau_runs(plateau_folder, tmp_path):
    """The frame of such a folder."""
    numbers = itertools.count()

    def make(**options):
        return plateau_frame(read_records(plateau_folder(tmp_path / f"run{next(numbers)}", **options)))

    return make
