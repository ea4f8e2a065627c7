"""What the commands that run a grid have in common: batches of cells, one record each, claimed, run, written."""

from __future__ import annotations

import importlib
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, NamedTuple, Protocol, TypeVar

from rich.console import Console

from diffstab.errors import ArgumentError, ResultsError
from diffstab.progress import Tally, numbers_text, progress
from diffstab.results import Provenance, Records, RecordStore, provenance, record_key
from diffstab.training.failing import note_failure, reason_of, runs_failed
from diffstab.training.running import limited_threads

Outcome = Literal["done", "recorded", "busy"]
"""Of a batch: run here; nothing was missing; or another process runs it now."""

WORTH_PACKING = 1000
"""Loose records of a folder from which on they are packed when a grid has ended: reading them takes seconds."""

Report = Callable[[Mapping[str, float]], None]
"""Takes a moment of a training: what it has reached so far, under the names of its quantities."""

COMMANDS = {
    "compare": "diffstab.training.compare:Compare",
    "sphere curve": "diffstab.training.sphere.curve:SphereCurve",
    "plateau": "diffstab.training.l2.plateau:Plateau",
    "forces": "diffstab.training.l2.forces:Forces",
    "fit": "diffstab.training.fit:Fit",
}
"""The commands that run a grid, and where their classes are."""


class GridExperiment(Protocol):
    """Configuration of a grid: a frozen dataclass of plain values."""

    @property
    def threads(self) -> int | None:
        """Threads of linear algebra in a run; None leaves them alone."""

    def resolved(self) -> dict[str, Any]:
        """Return the configuration as plain nested dictionaries."""


E = TypeVar("E", bound=GridExperiment)
C = TypeVar("C", bound=Hashable)


class Asked(NamedTuple, Generic[E]):
    """What the arguments of a command ask for.

    Attributes:
        experiment: Configuration.
        folder: Results folder.
        workers: Processes that run at once.
        wandb: Project of Weights & Biases that runs are logged to; None for none.
    """

    experiment: E
    folder: Path
    workers: int = 1
    wandb: str | None = None


class GridCommand(ABC, Generic[E, C]):
    """A command that runs a grid. It has no state: what it works on is handed to it.

    Attributes:
        name: What it is called on the command line.
        grid_keys: Dotted keys of the configuration that may grow from one start to the next.
    """

    name: ClassVar[str]
    grid_keys: ClassVar[tuple[str, ...]]

    @abstractmethod
    def parse(self, args: Sequence[str]) -> Asked[E]:
        """Return what command-line arguments ask for; raise ArgumentError if an option or a value is wrong."""

    @abstractmethod
    def batches(self, experiment: E) -> Iterator[tuple[C, ...]]:
        """Yield the cells that are computed together, whatever is recorded, so that no result hangs on that."""

    @abstractmethod
    def cell_config(self, experiment: E, cell: C) -> dict[str, Any]:
        """Return what distinguishes a run within the experiment, of plain values."""

    @abstractmethod
    def label(self, batch: tuple[C, ...]) -> str:
        """Return a line that names a batch."""

    @abstractmethod
    def run(
        self,
        experiment: E,
        batch: tuple[C, ...],
        *,
        folder: Path,
        keys: Mapping[C, str],
        origin: Provenance,
        report: Report,
    ) -> Iterator[tuple[C, dict[str, Any]]]:
        """Yield the record of each cell of a batch.

        Args:
            experiment: Configuration.
            batch: Cells that are computed together.
            folder: Results folder, for files beside the records; they are written before their record.
            keys: Names of the records.
            origin: Commit, versions and hardware of the process that runs it.
            report: Called now and then during a training.
        """

    def check(self, experiment: E) -> None:
        """Ask for the largest data, so that bad options are refused before anything is made."""

    def begin(self, experiment: E, folder: Path) -> None:
        """Write the files of a results folder that belong to all of its runs."""

    def key(self, experiment: E, cell: C) -> str:
        """Return the name of a cell's record, the same in every results folder."""
        return record_key(experiment.resolved(), self.cell_config(experiment, cell), grid_keys=self.grid_keys)


class Watched(NamedTuple):
    """A batch about to be run, as an observer sees it.

    Attributes:
        command: The command.
        experiment: Its configuration.
        batch: The cells.
        keys: Names of their records.
        folder: Results folder.
    """

    command: GridCommand[Any, Any]
    experiment: Any
    batch: tuple[Any, ...]
    keys: Mapping[Any, str]
    folder: Path


class Observer:
    """Is told of the batches of a process, one after another; this one does nothing with it."""

    def started(self, watched: Watched) -> None:
        """A batch begins."""

    def progressed(self, values: Mapping[str, float]) -> None:
        """A training of the batch has come so far."""

    def recorded(self, cell: Any, row: Mapping[str, Any]) -> None:
        """The record of a cell is on the disk."""

    def finished(self, error: BaseException | None) -> None:
        """The batch is over, by an error unless it is None."""


class Display(Observer):
    """Shows the batch at work as a line of text, and hands on what it is told.

    Args:
        show: What shows a line.
        then: Told the same.
    """

    def __init__(self, show: Callable[[str], None], then: Observer) -> None:
        self._show, self._then, self._label = show, then, ""

    def started(self, watched: Watched) -> None:
        """Show which batch it is."""
        self._label = watched.command.label(watched.batch)
        self._show(self._label)
        self._then.started(watched)

    def progressed(self, values: Mapping[str, float]) -> None:
        """Show how far it has come."""
        self._show(f"{self._label}, {numbers_text(values)}")
        self._then.progressed(values)

    def recorded(self, cell: Any, row: Mapping[str, Any]) -> None:
        """Hand it on."""
        self._then.recorded(cell, row)

    def finished(self, error: BaseException | None) -> None:
        """Hand it on."""
        self._then.finished(error)


def grid_command(name: str) -> GridCommand[Any, Any]:
    """Return a command that runs a grid.

    Raises:
        ArgumentError: If no command of that name does.
    """
    if name not in COMMANDS:
        raise ArgumentError("command", f"be one of {', '.join(COMMANDS)}", repr(name))
    module, _, attribute = COMMANDS[name].partition(":")
    command: GridCommand[Any, Any] = getattr(importlib.import_module(module), attribute)()
    return command


def run_batch(
    command: GridCommand[E, C],
    experiment: E,
    batch: tuple[C, ...],
    records: Records,
    *,
    origin: Provenance,
    observer: Observer | None = None,
    note: Callable[[Exception | SystemExit], None] | None = None,
) -> Outcome:
    """Run a batch and write the records that are missing, unless another process is at it.

    Args:
        command: The command.
        experiment: Its configuration.
        batch: One of its batches.
        records: Where the records go.
        origin: Commit, versions and hardware of this process.
        observer: Told what happens.
        note: Told why the runs failed, before another process may try them.

    Returns:
        What became of the batch.

    Raises:
        ResultsError: If a record cannot be written; the earlier ones stay.
    """
    keys = {cell: command.key(experiment, cell) for cell in batch}
    with ExitStack() as stack:
        # In one order: of two batches that share runs one gets them all.
        claims = (stack.enter_context(records.claim(key)) for key in sorted(records.missing(keys.values())))
        if not all(claims):
            return "busy"
        # Asked again: another process may have finished it before the claim.
        missing = set(records.missing(keys.values()))
        if not missing:
            return "recorded"
        watched = Watched(command, experiment, batch, keys, records.folder)
        options: dict[str, Any] = {"folder": records.folder, "keys": keys, "origin": origin}
        try:
            with limited_threads(experiment.threads), _telling(observer or Observer(), watched) as told:
                for cell, row in command.run(experiment, batch, report=told.progressed, **options):
                    if keys[cell] in missing:
                        records.write(keys[cell], row)
                        told.recorded(cell, row)
        except ResultsError:
            raise
        except (Exception, SystemExit) as error:
            if note:
                note(error)
            raise
    return "done"


def run_noted(
    command: GridCommand[E, C],
    experiment: E,
    batch: tuple[C, ...],
    records: Records,
    *,
    origin: Provenance,
    observer: Observer | None = None,
    label: str = "",
) -> Outcome:
    """Run a batch as `run_batch` does, and remember beside the records why it failed if it did.

    Args:
        command: As of `run_batch`.
        experiment: As of `run_batch`.
        batch: As of `run_batch`.
        records: As of `run_batch`.
        origin: As of `run_batch`.
        observer: As of `run_batch`.
        label: What the batch is, in words; the command's own for "".
    """
    keys = [command.key(experiment, cell) for cell in batch]

    def note(error: Exception | SystemExit) -> None:
        detail = traceback.format_exc()
        note_failure(records, keys, reason_of(error), detail=detail, label=label or command.label(batch))

    return run_batch(command, experiment, batch, records, origin=origin, observer=observer, note=note)


@contextmanager
def _telling(observer: Observer, watched: Watched) -> Iterator[Observer]:
    """Tell an observer of the beginning of a batch and of its end, whatever that is."""
    error: BaseException | None = None
    try:
        observer.started(watched)
        yield observer
    except BaseException as raised:
        error = raised
        raise
    finally:
        observer.finished(error)


def run_grid(
    command: GridCommand[E, C],
    experiment: E,
    folder: str | Path,
    *,
    console: Console | None = None,
    observer: Observer | None = None,
) -> Path:
    """Run the cells of an experiment that have no record yet, one batch after another in this process.

    A run that fails is noted, and the rest goes on.

    Args:
        command: The command.
        experiment: Its configuration.
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
    store, missing = open_grid(command, experiment, folder, console=console)
    # Read once: the checkout may move on while a long grid runs the code that it started with.
    origin = provenance()
    busy, failures = [], []
    with progress(console, tally := Tally(len(missing))) as shown:
        told = Display(shown.describe, observer or Observer())
        for batch in missing:
            begun = time.monotonic()
            try:
                outcome = run_noted(command, experiment, batch, store, origin=origin, observer=told)
                busy += [batch] if outcome == "busy" else []
                tally.done += 1
                shown.ended(command.label(batch), time.monotonic() - begun)
            except ResultsError:
                raise
            except (Exception, SystemExit) as error:
                failures.append(error)
                tally.failed += 1
                shown.say(f"failed: {command.label(batch)}: {reason_of(error)}")
    store.pack(at_least=WORTH_PACKING)
    if failures:
        raise runs_failed(len(failures), len(missing), store.folder) from failures[0]
    if busy:
        message = f"{len(busy)} batches of {store.folder} are being run by another process, {command.label(busy[0])}"
        raise ResultsError(f"{message} among them. Start the same command again when it is done.")
    return store.folder


def open_grid(
    command: GridCommand[E, C], experiment: E, folder: str | Path, *, console: Console
) -> tuple[RecordStore, list[tuple[C, ...]]]:
    """Open a results folder for an experiment, and say on the console how much of it is done.

    Args:
        command: The command.
        experiment: Its configuration.
        folder: Results folder; opened if it holds records of the same configuration.
        console: Where to say it.

    Returns:
        Its records, and the batches that lack some.

    Raises:
        ResultsError: If the folder belongs to another configuration or cannot be written.
        DataError: If the data are missing or damaged.
        ArgumentError: If the data options are wrong; nothing is made then.
    """
    batches = list(command.batches(experiment))
    command.check(experiment)
    store = RecordStore(folder, experiment.resolved(), grid_keys=command.grid_keys)
    command.begin(experiment, store.folder)
    keys = {cell: command.key(experiment, cell) for batch in batches for cell in batch}
    absent = set(store.missing(keys.values()))
    if len(absent) < len(keys):
        console.print(
            f"{len(keys) - len(absent)} of {len(keys)} runs are recorded in {store.folder}; going on."
        )
    return store, [batch for batch in batches if not absent.isdisjoint(keys[cell] for cell in batch)]
