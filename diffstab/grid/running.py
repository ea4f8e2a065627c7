"""Runs batches in this process: each is claimed, run and recorded; a batch that fails is noted, the rest goes on."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console

from diffstab.errors import ResultsError, RunError
from diffstab.experiments.unit import Cell, Experiment, Workplace, prepared
from diffstab.grid.batches import RunBatch, batches_of, missing_batches
from diffstab.grid.observers import LabelObserver, Observer
from diffstab.progress import Tally, progress
from diffstab.results import Failure, Provenance, Records, RecordStore, provenance

Outcome = Literal["done", "recorded", "busy"]
"""Of a batch: run here; nothing was missing; or another process runs it now."""

WORTH_PACKING = 1000
"""Loose records of a folder from which on they are packed when a grid has ended: reading them takes seconds."""


def run_batch(batch: RunBatch, records: Records, observer: Observer | None = None) -> Outcome:
    """Run a batch and write the records that are missing, unless another process is at it.

    Why it failed, if it did, is remembered beside the records before another process may try it.

    Args:
        batch: The cells.
        records: Where the records go.
        observer: Told what happens.

    Returns:
        What became of the batch.

    Raises:
        ResultsError: If a record cannot be written; the earlier ones stay.
    """
    with ExitStack() as stack:
        # In one order: of two batches that share runs one gets them all.
        claims = (
            stack.enter_context(records.claim(key)) for key in sorted(records.missing(batch.keys.values()))
        )
        if not all(claims):
            return "busy"
        # Asked again: another process may have finished it before the claim.
        missing = set(records.missing(batch.keys.values()))
        if not missing:
            return "recorded"
        try:
            _record(batch, missing, records, observer or Observer())
        except ResultsError:
            raise
        except (Exception, SystemExit) as error:
            note_failure(records, batch, reason_of(error), detail=traceback.format_exc())
            raise
    return "done"


def _record(batch: RunBatch, missing: set[str], records: Records, observer: Observer) -> None:
    with _telling(observer, batch, records.folder):
        for cell, row in measured_rows(batch, records.folder, observer):
            if batch.keys[cell] in missing:
                records.write(batch.keys[cell], row)
                observer.recorded(cell, row)


def measured_rows(batch: RunBatch, folder: Path, observer: Observer) -> list[tuple[Cell, dict[str, Any]]]:
    """Run a batch; return the record of each cell, in which `wall_seconds` is an equal share of the batch's time."""
    experiment, started, clock = batch.experiment, datetime.now(UTC), time.perf_counter()
    workplace, origin = Workplace(folder, batch.keys, observer.progressed), _origin()
    with limited_threads(getattr(experiment, "threads", None)):
        shared = prepared(experiment, experiment.place(batch.cells[0]))
        measured = list(experiment.run_together(batch.cells, shared, workplace))
    columns = {
        **origin,
        "started_at": started.isoformat(timespec="seconds"),
        "wall_seconds": (time.perf_counter() - clock) / len(batch.cells),
    }
    return [
        (cell, {**batch.columns, **experiment.cell_columns(cell), **numbers, **columns})
        for cell, numbers in measured
    ]


@lru_cache(maxsize=1)
def _origin() -> Provenance:
    """Return commit, versions and hardware, asked once: a checkout may move on while its code runs."""
    return provenance()


@contextmanager
def limited_threads(count: int | None) -> Iterator[None]:
    """Bound the threads of torch and of the linear algebra of numpy and scipy; None leaves both alone."""
    if count is None:
        yield
        return
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(count):
            yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _telling(observer: Observer, batch: RunBatch, folder: Path) -> Iterator[None]:
    """Tell an observer of the beginning of a batch and of its end, whatever that is."""
    error: BaseException | None = None
    try:
        observer.started(batch, folder)
        yield
    except BaseException as raised:
        error = raised
        raise
    finally:
        observer.finished(error)


def note_failure(
    records: Records, batch: RunBatch, reason: str, *, detail: str = "", attempts: int = 1
) -> None:
    """Remember, of the runs of a batch that have no record, why.

    Args:
        records: Where.
        batch: The runs.
        reason: One line.
        detail: Traceback, or empty.
        attempts: How often it was tried.
    """
    when = datetime.now(UTC).isoformat(timespec="seconds")
    for key in records.missing(batch.keys.values()):
        records.fail(key, Failure(reason, detail, attempts, batch.label, when))


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


def open_grid(
    experiment: Experiment, folder: str | Path, *, console: Console
) -> tuple[RecordStore, list[RunBatch]]:
    """Open a results folder for an experiment, and say on the console how much of it is done.

    Args:
        experiment: Configuration.
        folder: Results folder; opened if it holds records of the same configuration.
        console: Where to say it.

    Returns:
        Its records, and the batches that lack some.

    Raises:
        ResultsError: If the folder belongs to another configuration or cannot be written.
        DataError: If the data are missing or damaged.
        ArgumentError: If the data options are wrong; nothing is made then.
    """
    batches = list(batches_of(experiment))
    experiment.check_data()
    store = RecordStore(folder, experiment.resolved(), grid_keys=experiment.grid_keys())
    experiment.begin(store.folder)
    keys = [key for batch in batches for key in batch.keys.values()]
    there = len(keys) - len(store.missing(keys))
    if there:
        console.print(f"{there} of {len(keys)} runs are recorded in {store.folder}; going on.")
    return store, missing_batches(batches, store)


def run_grid(
    experiment: Experiment,
    folder: str | Path,
    *,
    console: Console | None = None,
    observer: Observer | None = None,
) -> Path:
    """Run the cells of an experiment that have no record yet, one batch after another in this process.

    A run that fails is noted, and the rest goes on.

    Args:
        experiment: Configuration.
        folder: Results folder; opened if it holds records of the same configuration.
        console: Where progress is shown; None is standard error.
        observer: Told what happens.

    Returns:
        The results folder.

    Raises:
        ResultsError: If the folder belongs to another configuration or cannot be written, or another process is
            running some of its cells.
        DataError: If the data are missing or damaged.
        ArgumentError: If the data options are wrong; nothing is made then.
        RunError: In the end, if runs failed.
    """
    console = console or Console(stderr=True)
    store, missing = open_grid(experiment, folder, console=console)
    busy, failures = _run_all(missing, store, console, observer or Observer())
    store.pack(at_least=WORTH_PACKING)
    if failures:
        raise runs_failed(len(failures), len(missing), store.folder) from failures[0]
    if busy:
        message = f"{len(busy)} batches of {store.folder} are being run by another process, {busy[0].label}"
        raise ResultsError(f"{message} among them. Start the same command again when it is done.")
    return store.folder


def _run_all(
    batches: list[RunBatch], records: Records, console: Console, observer: Observer
) -> tuple[list[RunBatch], list[Exception | SystemExit]]:
    """Run batches one after another; return those that another process runs, and the errors of those that failed."""
    busy, failures, tally = [], [], Tally(len(batches))
    with progress(console, tally) as display:
        shown = LabelObserver(display.describe, observer)
        for batch in batches:
            clock = time.monotonic()
            try:
                busy += [batch] if run_batch(batch, records, shown) == "busy" else []
                tally.done += 1
                display.ended(batch.label, time.monotonic() - clock)
            except ResultsError:
                raise
            except (Exception, SystemExit) as error:
                failures.append(error)
                tally.failed += 1
                display.say(f"failed: {batch.label}: {reason_of(error)}")
    return busy, failures
