"""Runs that failed: why is remembered, the rest of the grid goes on, and the end says so."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from diffstab.errors import RunError
from diffstab.results import Failure, Records


def note_failure(
    records: Records, keys: Iterable[str], reason: str, *, label: str, detail: str = "", attempts: int = 1
) -> None:
    """Remember, of the runs of a batch that have no record, why.

    Args:
        records: Where.
        keys: Names of the runs.
        reason: One line.
        label: What the batch is, in words.
        detail: Traceback, or empty.
        attempts: How often it was tried.
    """
    when = datetime.now(UTC).isoformat(timespec="seconds")
    for key in records.missing(keys):
        records.fail(key, Failure(reason, detail, attempts, label, when))


def reason_of(error: BaseException) -> str:
    """Return what went wrong in a line."""
    return (f"{type(error).__name__}: {error}".splitlines() or [""])[0]


def runs_failed(count: int, total: int, folder: str | Path) -> RunError:
    """Return the error that ends a grid of which batches failed.

    Args:
        count: Number of batches that failed.
        total: Number of batches that were to be run.
        folder: Results folder.
    """
    message = f"{count} of {total} failed, as said above; the others are recorded in {folder}."
    way_out = f"{Path(folder) / 'failures'} holds why, with tracebacks; the same command tries them again."
    return RunError(f"{message} {way_out}")
