"""What is remembered of a run that failed."""

import errno
import os

import pytest

from diffstab.errors import ResultsError
from diffstab.results import Failure, Records

FAILURE = Failure("Worker died: Ω", "Traceback\n  line", 3, "n=32 seed=0", "2026-01-01T00:00:00+00:00")


@pytest.fixture
def records(tmp_path):
    return Records(tmp_path / "results")


def test_a_failure_comes_back(records):
    records.fail("a", Failure("first"))
    assert records.fail("a", FAILURE) == records.folder / "failures" / "a.json"
    records.fail("b", Failure("other"))
    assert records.failures() == {"a": FAILURE, "b": Failure("other", "", 1, "", "")}
    assert records.missing(["a"]) == ["a"]


def test_a_record_forgets_the_failure(records):
    records.fail("a", FAILURE)
    records.write("a", {"x": 1.0})
    assert records.failures() == {}
    assert not list((records.folder / "failures").iterdir())


def test_a_record_counts_before_a_failure_left_by_a_killed_writer(records):
    records.write("a", {"x": 1.0})
    records.fail("a", FAILURE)
    records.pack()
    assert records.failures() == {}


def test_forgetting(records):
    records.forget(["a"])
    records.fail("a", FAILURE)
    records.fail("b", FAILURE)
    records.forget(["a", "c"])
    assert set(records.failures()) == {"b"}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"why": 1}'])
def test_a_damaged_note_is_named(records, text):
    records.fail("a", FAILURE).write_text(text)
    with pytest.raises(
        ResultsError, match=r"failure .*a\.json is damaged .*the run then counts as not tried"
    ):
        records.failures()


def test_a_full_disk_leaves_the_earlier_note(records, monkeypatch):
    records.fail("a", FAILURE)

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResultsError, match="No space left on device"):
        records.fail("a", Failure("newer"))
    assert records.failures() == {"a": FAILURE}


def test_a_note_that_cannot_be_removed(records, monkeypatch):
    records.fail("a", FAILURE)

    def refuse(path, missing_ok):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(type(records.folder), "unlink", refuse)
    with pytest.raises(ResultsError, match=r"Cannot remove .*a\.json: Read-only file system\. Mend"):
        records.forget(["a"])
    monkeypatch.undo()
