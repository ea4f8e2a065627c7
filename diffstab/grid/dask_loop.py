"""Runs batches on a Dask cluster: each is claimed, run and recorded by a worker; the disk remembers."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import chain
from pathlib import Path
from queue import Empty, Queue
from typing import Any
from uuid import uuid4

from rich.console import Console

from diffstab import __version__
from diffstab.errors import ResultsError
from diffstab.experiments.unit import Experiment
from diffstab.grid.batches import RunBatch, missing_batches
from diffstab.grid.cluster import Engine, connected
from diffstab.grid.forecast import Forecast, Place, place
from diffstab.grid.observers import MakeObserver
from diffstab.grid.plan import Plan, check_data, check_place, open_plan
from diffstab.grid.running import WORTH_PACKING, note_failure, open_grid
from diffstab.grid.task import Answer, run_task, unfit
from diffstab.progress import Tally, progress
from diffstab.results import Records

TICK_SECONDS = 0.5
"""How often the display is refreshed and the batches of other sweeps are looked at."""

_AHEAD = 100
"""Batches handed to the cluster at once, beyond three for each thread: a backlog that lets it grow."""

_LEFT = 6
"""So often may other sweeps begin a batch and leave it without a result."""


def run_sweep(
    plan: Plan,
    folder: str | Path,
    *,
    engine: Engine,
    console: Console | None = None,
    make_observer: MakeObserver | None = None,
    retry_failed: bool = False,
) -> Tally:
    """Run the batches of a plan that have no record yet.

    Args:
        plan: What is asked for.
        folder: Results folder; made, or gone on with.
        engine: Where it runs.
        console: Where progress is shown; None is standard error.
        make_observer: Makes, on a worker, what is told of its runs.
        retry_failed: Whether runs that failed before are tried again.

    Returns:
        How it went.

    Raises:
        ArgumentError: If data options or the cluster's options are wrong; nothing is made then.
        DataError: If the data are missing or damaged.
        ResultsError: If no cluster can be reached (nothing is made then), the folder belongs to another base
            configuration, or a record cannot be written; the earlier records stay.
    """
    console = console or Console(stderr=True)
    batches, failed = _to_do(plan.batches, Records(folder), console, retry_failed=retry_failed)
    if not batches:
        open_plan(plan, folder)
        return Tally(failed, failed=failed)
    check_place(plan, folder)
    check_data(batch.experiment for batch in batches)
    with connected(engine, shared=Path(folder)) as client:
        records = open_plan(plan, folder)
        if retry_failed:
            records.forget(key for batch in batches for key in batch.keys.values())
        tally = _Loop(client, records, make_observer, console).run(batches)
    tally.total += failed
    tally.failed += failed
    return tally


def run_on_dask(
    experiment: Experiment,
    folder: str | Path,
    *,
    workers: int,
    console: Console | None = None,
    make_observer: MakeObserver | None = None,
    client: Any = None,
) -> Tally:
    """Run the cells of an experiment that have no record yet in several processes of this machine.

    Args:
        experiment: Configuration.
        folder: Results folder; made, or gone on with.
        workers: Number of processes; of no account with a client.
        console: Where progress is shown; None is standard error.
        make_observer: Makes, on a worker, what is told of its runs.
        client: Of a cluster that is there, from `connected`, to run on it instead.

    Returns:
        How it went.

    Raises:
        ArgumentError: If data options are wrong; nothing is made then.
        DataError: If the data are missing or damaged.
        ResultsError: If the folder belongs to another configuration, or a record cannot be written.
    """
    console = console or Console(stderr=True)
    store, batches = open_grid(experiment, folder, console=console)
    # A command without a way to ask for failed runs again tries them whenever it is started.
    store.forget(key for batch in batches for key in batch.keys.values())
    if not batches:
        return Tally(0)
    here = Engine(workers=None if client else workers, threads=getattr(experiment, "threads", None) or 1)
    with nullcontext(client) if client else connected(here) as held:
        return _Loop(held, store, make_observer, console).run(batches)


def _to_do(
    batches: Sequence[RunBatch], records: Records, console: Console, *, retry_failed: bool
) -> tuple[list[RunBatch], int]:
    """Return the batches to run, and the number of those left out as they failed before; say how many are done."""
    wanted = missing_batches(batches, records)
    if len(wanted) < len(batches):
        recorded = f"{len(batches) - len(wanted)} of {len(batches)} batches are recorded in {records.folder}."
        console.print(recorded, markup=False, highlight=False)
    failures = set() if retry_failed else set(records.failures())
    fresh = [batch for batch in wanted if failures.isdisjoint(batch.keys.values())]
    if len(fresh) < len(wanted):
        left_out = f"{len(wanted) - len(fresh)} batches that failed before are left out"
        console.print(f"{left_out}; --retry-failed tries them again.")
    return fresh, len(wanted) - len(fresh)


def _name(batch: RunBatch) -> str:
    return next(iter(batch.keys.values()))


def _lost() -> ResultsError:
    message = "The connection to the Dask scheduler is lost; finished runs are recorded."
    return ResultsError(f"{message} Start the same command again.")


class _Loop:
    """Hands batches to a cluster and takes their answers until none is left.

    Args:
        client: Of the cluster.
        records: Where their records go.
        make_observer: Makes what is told of runs on a worker.
        console: Where progress is shown.
    """

    def __init__(
        self,
        client: Any,
        records: Records,
        make_observer: MakeObserver | None,
        console: Console,
    ) -> None:
        self._client, self._records = client, records
        self._make_observer, self._console = make_observer, console
        self._folder = records.folder.absolute()
        self._answers: Queue[Any] = Queue()
        self._running: dict[Any, RunBatch] = {}
        self._elsewhere: list[RunBatch] = []
        # Batches whose workers died, perhaps by what ran beside them: each is tried once more with nothing beside it.
        self._suspects: list[RunBatch] = []
        self._alone = False
        # One group of tasks, of which the scheduler queues what no worker is free for; its name is not used again.
        self._group = f"batches-{uuid4().hex}"
        self._submitted = 0
        # How often another sweep left a batch that it had begun: most often its worker died too.
        self._left: Counter[str] = Counter()
        self._next_look = 0.0
        self._forecast = Forecast()
        self._next_forecast = 0.0

    def run(self, batches: Sequence[RunBatch]) -> Tally:
        """Run the batches.

        Raises:
            ResultsError: If a worker cannot work on the folder, or the scheduler goes away.
        """
        self._probe()
        waiting = deque(batches)
        self._tally = Tally(len(batches))
        with progress(self._console, self._tally) as self._display, self._cancelling():
            while waiting or self._running or self._elsewhere or self._suspects:
                self._tally.workers = self._threads()
                self._submit(waiting)
                for future in self._ready():
                    self._take(future, self._running.pop(future))
                waiting.extend(self._given_up())
                self._foresee(waiting)
                self._tally.waiting = len(self._elsewhere)
                self._tally.running = min(len(self._running), self._tally.workers)
        self._records.pack(at_least=WORTH_PACKING)
        return self._tally

    def _probe(self) -> None:
        try:
            reasons = self._client.run(unfit, self._folder, __version__).values()
        except (ImportError, AttributeError) as error:
            message = f"A worker cannot import what it is to run ({error})."
            raise ResultsError(
                f"{message} Install this version of diffstab where the workers run."
            ) from error
        except OSError as error:
            raise _lost() from error
        if reason := next(filter(None, reasons), ""):
            raise ResultsError(reason)
        if (most := max(self._client.nthreads().values(), default=0)) > 1:
            message = f"A worker runs {most} batches at a time, whose threads and memory would mix."
            raise ResultsError(
                f"{message} Start workers with --nthreads 1 (and --nworkers for more of them)."
            )

    def _threads(self) -> int:
        try:
            return sum(self._client.nthreads().values())
        except OSError as error:
            raise _lost() from error

    def _submit(self, waiting: deque[RunBatch]) -> None:
        # Few batches go out one per thread: only many of them queue at the scheduler, and one that waited at a worker
        # would be suspected when the worker dies.
        threads = self._tally.workers
        limit = threads if self._tally.total <= 2 * threads else 3 * threads + _AHEAD
        self._alone &= bool(self._running)
        while waiting and len(self._running) < limit and not self._alone:
            self._send(waiting.popleft())
        if self._suspects and not self._running:
            self._alone = True
            self._send(self._suspects.pop())

    def _send(self, batch: RunBatch) -> None:
        self._submitted += 1
        key = (self._group, self._submitted)
        arguments = (batch, self._folder, self._make_observer)
        future = self._client.submit(run_task, *arguments, key=key, pure=False)
        self._running[future] = batch
        future.add_done_callback(self._answers.put)

    def _ready(self) -> Iterator[Any]:
        """Yield the batches that have ended, after waiting a moment for the first."""
        try:
            yield self._answers.get(timeout=TICK_SECONDS)
            while True:
                yield self._answers.get_nowait()
        except Empty:
            if self._client.status != "running":
                raise _lost() from None

    def _take(self, future: Any, batch: RunBatch) -> None:
        """Note what became of a batch. Its result is released: a worker that dies later then costs nothing."""
        from distributed import CancelledError, KilledWorker

        try:
            answer: Answer = future.result()
        except KilledWorker as error:
            if not self._alone:
                self._suspects.append(batch)
                return
            attempts = error.allowed_failures + 1
            times = (
                f"its worker died {attempts} times while it ran alone, at last {error.last_worker.address}"
            )
            answer = Answer("failed", reason=f"{times} (out of memory, or a crash outside Python)")
            note_failure(self._records, batch, answer.reason, attempts=attempts)
        except CancelledError as error:
            raise _lost() from error
        # A run's exceptions are answers: what is raised here is of a worker that cannot run anything.
        except Exception as error:
            message = f"A worker cannot work ({type(error).__name__}: {error})."
            raise ResultsError(f"{message} Mend it, then start the same command again.") from error
        finally:
            future.release()
        if answer.outcome == "refused":
            raise ResultsError(answer.reason)
        if answer.outcome == "busy":
            self._elsewhere.append(batch)
        elif answer.outcome == "failed":
            self._tally.failed += 1
            self._display.say(f"failed: {batch.label}: {answer.reason}")
        else:
            self._tally.done += 1
            if answer.outcome == "done":
                self._forecast.add(self._place(batch), answer.seconds)
                if self._tally.left_seconds is not None:
                    self._tally.left_seconds = max(0.0, self._tally.left_seconds - answer.seconds)
            self._display.ended(batch.label, answer.seconds)

    def _place(self, batch: RunBatch) -> Place:
        return place(batch.coordinates(batch.cells[0]))

    def _foresee(self, waiting: Iterable[RunBatch]) -> None:
        """Work out now and then what the batches that are left will take, by the ones that have been run."""
        if time.monotonic() < self._next_forecast or (mean := self._forecast.mean) is None:
            return
        start = time.monotonic()
        left = chain(waiting, self._running.values(), self._elsewhere, self._suspects)
        places = Counter(map(self._place, left))
        seconds = self._forecast.seconds(places)
        self._tally.left_seconds = sum(seconds.get(where, mean) * many for where, many in places.items())
        # At most a fiftieth of the time goes into it, however large the grid is.
        self._next_forecast = time.monotonic() + max(TICK_SECONDS, 50 * (time.monotonic() - start))

    def _given_up(self) -> list[RunBatch]:
        """Look now and then at the batches of another sweep; return those that it left without record or failure."""
        if not self._elsewhere or time.monotonic() < self._next_look:
            return []
        self._next_look = time.monotonic() + TICK_SECONDS
        # Claims are listed first: a run that has ended by then has its record, or its failure, by the time of these.
        claimed = self._records.claimed()
        missing = set(self._records.missing(key for batch in self._elsewhere for key in batch.keys.values()))
        failed = set(self._records.failures())
        free = [batch for batch in self._elsewhere if claimed.isdisjoint(batch.keys.values())]
        self._elsewhere = [batch for batch in self._elsewhere if not claimed.isdisjoint(batch.keys.values())]
        self._tally.done += sum(missing.isdisjoint(batch.keys.values()) for batch in free)
        left = [batch for batch in free if not missing.isdisjoint(batch.keys.values())]
        self._tally.failed += sum(not failed.isdisjoint(batch.keys.values()) for batch in left)
        again = [batch for batch in left if failed.isdisjoint(batch.keys.values())]
        self._left.update(_name(batch) for batch in again)
        for batch in again:
            if self._left[_name(batch)] == _LEFT:
                reason = f"other processes began it {_LEFT} times, and died or were stopped"
                note_failure(self._records, batch, reason, attempts=_LEFT)
                self._tally.failed += 1
                self._display.say(f"failed: {batch.label}: {reason}")
        return [batch for batch in again if self._left[_name(batch)] < _LEFT]

    @contextmanager
    def _cancelling(self) -> Iterator[None]:
        """Take back what the cluster has not begun if the loop is left early."""
        try:
            yield
        finally:
            if self._running:
                self._client.cancel(list(self._running), force=True)
