"""What becomes of a batch: it is claimed, run and recorded; why one failed is noted, and observers are told."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from diffstab import __version__
from diffstab.errors import ResultsError
from diffstab.experiments.unit import Cell, Workplace, prepared
from diffstab.grid.plan import RunBatch
from diffstab.progress import numbers_text
from diffstab.results import Failure, Provenance, Records, provenance


class Observer:
    """Is told of the batches of a process, one after another; this one does nothing with it."""

    def started(self, batch: RunBatch, folder: Path) -> None:
        """A batch begins, whose records go to a results folder."""

    def progressed(self, values: Mapping[str, float]) -> None:
        """A training of the batch has come so far."""

    def recorded(self, cell: Cell, row: Mapping[str, Any]) -> None:
        """The record of a cell is on the disk."""

    def finished(self, error: BaseException | None) -> None:
        """The batch is over, by an error unless it is None."""


MakeObserver = Callable[[], Observer]


class LabelObserver(Observer):
    """Shows the batch at work as a line of text.

    Args:
        show: What shows a line.
    """

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show, self._label = show, ""

    def started(self, batch: RunBatch, folder: Path) -> None:
        """Show which batch it is."""
        self._label = batch.label
        self._show(self._label)

    def progressed(self, values: Mapping[str, float]) -> None:
        """Show how far it has come."""
        self._show(f"{self._label}, {numbers_text(values)}")


class Answer(NamedTuple):
    """What became of a batch.

    Attributes:
        outcome: "done": run here; "recorded": nothing was missing; "busy": another process runs it now; "failed", by an
            exception of the runs; "refused", by the results folder; "killed", with its worker.
        seconds: Time it took.
        reason: Of a failure or refusal, in a line.
        deaths: Number of workers that were killed.
    """

    outcome: Literal["done", "recorded", "busy", "failed", "refused", "killed"]
    seconds: float = 0.0
    reason: str = ""
    deaths: int = 0


def run_batch(batch: RunBatch, records: Records, *observers: Observer) -> Answer:
    """Run a batch and write the records that are missing, unless another process is at it.

    An exception of the runs is answered, not raised: not every exception can be sent over the wire. It is remembered
    beside the records before another process may try the batch.

    Args:
        batch: The cells.
        records: Where the records go.
        *observers: Told what happens.

    Raises:
        ResultsError: If a record cannot be written, which is no fault of a run; the earlier ones stay.
    """
    clock = time.perf_counter()
    with ExitStack() as stack:
        # In one order: of two batches that share runs one gets them all.
        keys = sorted(records.missing(batch.keys.values()))
        if not all(stack.enter_context(records.claim(key)) for key in keys):
            return Answer("busy")
        # Asked again: another process may have finished it before the claim.
        missing = set(records.missing(batch.keys.values()))
        if not missing:
            return Answer("recorded")
        try:
            _record(batch, missing, records, observers)
        except ResultsError:
            raise
        except (Exception, SystemExit) as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            note_failure(records, batch, reason, detail=traceback.format_exc())
            return Answer("failed", reason=reason)
    return Answer("done", time.perf_counter() - clock)


def run_on_worker(batch: RunBatch, folder: Path, *make_observers: MakeObserver) -> Answer:
    """Run a batch on this worker; see `run_batch`.

    Args:
        batch: The cells.
        folder: Results folder, a path that every worker sees.
        *make_observers: Each makes what is told of the runs on the worker.
    """
    if reason := unfit(folder, __version__):
        return Answer("refused", reason=reason)
    records = Records(folder)
    try:
        # Asked of the disk, as the driver may not have heard of it: the worker died before its answer was taken.
        if known := records.failures(batch.keys.values()):
            return Answer("failed", reason=next(iter(known.values())).reason)
        return run_batch(batch, records, *(make() for make in make_observers))
    except ResultsError as error:
        return Answer("refused", reason=str(error))


def unfit(folder: Path, version: str) -> str:
    """Return why this process cannot work on a results folder of a driver of that version; empty if it can."""
    if version != __version__:
        message = f"A worker runs diffstab {__version__}, this process {version}."
        return f"{message} Install one version everywhere."
    if not folder.is_dir():
        return f"A worker does not see {folder}. Choose a results folder on a file system that all workers share."
    return ""


def _record(batch: RunBatch, missing: set[str], records: Records, observers: tuple[Observer, ...]) -> None:
    with _told(observers, batch, records.folder):
        for cell, row in _measured(batch, records.folder, observers):
            if batch.keys[cell] in missing:
                records.write(batch.keys[cell], row)
                for observer in observers:
                    observer.recorded(cell, row)


@contextmanager
def _told(observers: tuple[Observer, ...], batch: RunBatch, folder: Path) -> Iterator[None]:
    """Tell observers of the beginning of a batch and of its end, whatever that is."""
    error: BaseException | None = None
    try:
        for observer in observers:
            observer.started(batch, folder)
        yield
    except BaseException as raised:
        error = raised
        raise
    finally:
        for observer in observers:
            observer.finished(error)


def _measured(
    batch: RunBatch, folder: Path, observers: tuple[Observer, ...] = ()
) -> list[tuple[Cell, dict[str, Any]]]:
    """Run a batch; return the record of each cell, in which `wall_seconds` is an equal share of the batch's time."""

    def tell(values: Mapping[str, float]) -> None:
        for observer in observers:
            observer.progressed(values)

    experiment, started, clock = batch.experiment, datetime.now(UTC), time.perf_counter()
    origin = _origin()
    with _limited_threads(getattr(experiment, "threads", None)):
        shared = prepared(experiment, experiment.place(batch.cells[0]))
        workplace = Workplace(folder, batch.keys, tell)
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
def _limited_threads(count: int | None) -> Iterator[None]:
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
