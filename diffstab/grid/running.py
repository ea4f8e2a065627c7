"""Runs the batches of a plan that have no record, here or on a Dask cluster; the disk remembers what is done."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from queue import Empty, Queue
from typing import Any
from uuid import uuid4

from rich.console import Console

from diffstab import __version__
from diffstab.errors import ResultsError, RunError
from diffstab.experiments.unit import Experiment
from diffstab.grid.batch import (
    Answer,
    LabelObserver,
    MakeObserver,
    Observer,
    note_failure,
    run_on_worker,
    unfit,
)
from diffstab.grid.cluster import Engine, connected
from diffstab.grid.forecast import Forecast, Place, place
from diffstab.grid.plan import (
    Plan,
    RunBatch,
    check_data,
    check_place,
    experiment_plan,
    missing_batches,
    open_plan,
)
from diffstab.progress import Tally, progress
from diffstab.results import Records

TICK_SECONDS = 0.5
"""How often the display is refreshed and the batches of other processes are looked at."""
WORTH_PACKING = 1000
"""Loose records of a folder from which on they are packed when a grid has ended: reading them takes seconds."""
_AHEAD = 100
"""Batches handed to the cluster at once, beyond three for each worker: a backlog that lets it grow."""
_LEFT = 6
"""So often may other processes begin a batch and leave it without a result."""


def run_plan(
    plan: Plan,
    folder: str | Path,
    *,
    where: Any = None,
    console: Console | None = None,
    make_observer: MakeObserver | None = None,
    retry_failed: bool = False,
) -> Tally:
    """Run the batches of a plan that have no record yet; one that fails is noted, and the rest goes on.

    Args:
        plan: What is asked for.
        folder: Results folder; made, or gone on with.
        where: An `Engine` or, to run on a cluster that is there, a client from `connected`; None is this process.
        console: Where progress is shown; None is standard error.
        make_observer: Makes, in the process of a batch, what is told of it.
        retry_failed: Whether runs that failed before are tried again.

    Returns:
        How it went.

    Raises:
        ArgumentError: If data options or the cluster's options are wrong; nothing is made then.
        DataError: If the data are missing or damaged; nothing is made then.
        ResultsError: If no cluster can be reached (nothing is made then), the folder belongs to another base
            configuration, or a record cannot be written; the earlier records stay.
    """
    console = console or Console(stderr=True)
    batches, failed = _to_do(plan, Records(folder), console, retry_failed=retry_failed)
    if not batches:
        open_plan(plan, folder)
        return Tally(failed, failed=failed)
    check_place(plan, folder)
    check_data(batches)
    held = (
        connected(where, shared=Path(folder)) if isinstance(where, Engine) else nullcontext(where or _Here())
    )
    with held as client:
        records = open_plan(plan, folder)
        if retry_failed:
            records.forget(key for batch in batches for key in batch.keys.values())
        tally = _Loop(client, records, make_observer, console).run(batches)
    records.pack(at_least=WORTH_PACKING)
    tally.total += failed
    tally.failed += failed
    return tally


def run_grid(
    experiment: Experiment,
    folder: str | Path,
    *,
    console: Console | None = None,
    observer: Observer | None = None,
) -> Path:
    """Run the cells of an experiment that have no record yet, one batch after another in this process.

    Args:
        experiment: Configuration.
        folder: Results folder; opened if it holds records of the same configuration.
        console: Where progress is shown; None is standard error.
        observer: Told what happens.

    Returns:
        The results folder.

    Raises:
        RunError: In the end, if runs failed.
        ArgumentError, DataError, ResultsError: As `run_plan`.
    """
    make_observer = None if observer is None else lambda: observer
    plan = experiment_plan(experiment)
    tally = run_plan(plan, folder, console=console, make_observer=make_observer, retry_failed=True)
    check_all_ran(tally, folder)
    return Path(folder)


def check_all_ran(tally: Tally, folder: str | Path) -> None:
    """Raise a RunError that ends a command if batches failed."""
    if tally.failed:
        message = (
            f"{tally.failed} of {tally.total} failed, as said above; the others are recorded in {folder}."
        )
        way_out = (
            f"{Path(folder) / 'failures'} holds why, with tracebacks; the same command tries them again."
        )
        raise RunError(f"{message} {way_out}")


def _to_do(
    plan: Plan, records: Records, console: Console, *, retry_failed: bool
) -> tuple[list[RunBatch], int]:
    """Return the batches to run, and the number of those left out as they failed before; say how many are done."""
    wanted = missing_batches(plan.batches, records)
    if len(wanted) < len(plan.batches):
        count = f"{len(plan.batches) - len(wanted)} of {len(plan.batches)}"
        console.print(f"{count} batches are recorded in {records.folder}.", markup=False, highlight=False)
    failures = set() if retry_failed else set(records.failures())
    fresh = [batch for batch in wanted if failures.isdisjoint(batch.keys.values())]
    if len(fresh) < len(wanted):
        left_out = f"{len(wanted) - len(fresh)} batches that failed before are left out"
        console.print(f"{left_out}; --retry-failed tries them again.")
    return fresh, len(wanted) - len(fresh)


class _Done(Future[Any]):
    def release(self) -> None:
        """Do nothing: the result lies in this process."""


class _Here:
    """As much of a Dask client as the loop asks for, in this process: a task is run as it is submitted."""

    status = "running"

    def nthreads(self) -> dict[str, int]:
        return {"here": 1}

    def run(self, function: Any, *arguments: Any) -> dict[str, Any]:
        return {"here": function(*arguments)}

    def submit(self, function: Any, *arguments: Any, **_: Any) -> _Done:
        future = _Done()
        future.set_result(function(*arguments))
        return future

    def cancel(self, futures: Any, **_: Any) -> None:
        """Do nothing: what has been submitted has ended."""


class _Loop:
    """Hands batches to workers and takes their answers until none is left.

    Args:
        client: Of the cluster, or `_Here`.
        records: Where their records go.
        make_observer: Makes what is told of a batch where it runs; None for nothing.
        console: Where progress is shown.
    """

    def __init__(
        self, client: Any, records: Records, make_observer: MakeObserver | None, console: Console
    ) -> None:
        self._client, self._records, self._console = client, records, console
        self._makers = [make_observer] if make_observer else []
        self._answers: Queue[Any] = Queue()
        self._waiting: deque[RunBatch] = deque()
        self._running: dict[Any, RunBatch] = {}
        self._elsewhere: list[RunBatch] = []
        # Batches whose workers died, perhaps by what ran beside them: each is tried once more with nothing beside it.
        self._suspects: list[RunBatch] = []
        self._alone = False
        # One group of tasks, of which the scheduler queues what no worker is free for; its name is not used again.
        self._group, self._submitted = f"batches-{uuid4().hex}", 0
        # How often another process left a batch that it had begun: most often its worker died too.
        self._left: Counter[str] = Counter()
        self._next_look = self._next_forecast = 0.0
        self._forecast = Forecast()

    def run(self, batches: Sequence[RunBatch]) -> Tally:
        """Run the batches.

        Raises:
            ResultsError: If a worker cannot work on the folder, or the scheduler goes away.
        """
        self._check_workers()
        self._waiting.extend(batches)
        self._tally = tally = Tally(len(batches))
        with progress(self._console, tally) as self._display:
            if isinstance(self._client, _Here):
                self._makers.append(partial(LabelObserver, self._display.describe))
            try:
                while self._open():
                    tally.workers = self._workers()
                    self._submit()
                    for future in self._ready():
                        self._take(self._running.pop(future), _answer(future))
                    self._look_elsewhere()
                    self._foresee()
                    tally.waiting = len(self._elsewhere)
                    tally.running = min(len(self._running), tally.workers)
            finally:
                if self._running:
                    self._client.cancel(list(self._running), force=True)
        return tally

    def _check_workers(self) -> None:
        try:
            reasons = self._client.run(unfit, self._records.folder.absolute(), __version__).values()
        except (ImportError, AttributeError) as error:
            message = f"A worker cannot import what it is to run ({error})."
            way_out = "Install this version of diffstab where the workers run."
            raise ResultsError(f"{message} {way_out}") from error
        except OSError as error:
            raise _lost() from error
        if reason := next(filter(None, reasons), ""):
            raise ResultsError(reason)
        if (most := max(self._client.nthreads().values(), default=0)) > 1:
            message = f"A worker runs {most} batches at a time, whose threads and memory would mix."
            way_out = "Start workers with --nthreads 1 (and --nworkers for more of them)."
            raise ResultsError(f"{message} {way_out}")

    def _workers(self) -> int:
        try:
            return sum(self._client.nthreads().values())
        except OSError as error:
            raise _lost() from error

    def _open(self) -> list[RunBatch]:
        """Return the batches that have not ended."""
        return [*self._waiting, *self._running.values(), *self._elsewhere, *self._suspects]

    def _submit(self) -> None:
        # Few batches go out one per worker: only many of them queue at the scheduler, and one that waited at a worker
        # would be suspected when the worker dies.
        workers = self._tally.workers
        is_few = self._tally.total <= 2 * workers or isinstance(self._client, _Here)
        limit = workers if is_few else 3 * workers + _AHEAD
        self._alone &= bool(self._running)
        while self._waiting and len(self._running) < limit and not self._alone:
            self._send(self._waiting.popleft())
        if self._suspects and not self._running:
            self._alone = True
            self._send(self._suspects.pop())

    def _send(self, batch: RunBatch) -> None:
        self._submitted += 1
        arguments = (batch, self._records.folder.absolute(), *self._makers)
        key = (self._group, self._submitted)
        future = self._client.submit(run_on_worker, *arguments, key=key, pure=False)
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

    def _take(self, batch: RunBatch, answer: Answer) -> None:
        """Note what became of a batch."""
        if answer.outcome == "refused":
            raise ResultsError(answer.reason)
        if answer.outcome == "busy":
            self._elsewhere.append(batch)
        elif answer.outcome == "killed" and not self._alone:
            self._suspects.append(batch)
        elif answer.outcome in ("killed", "failed"):
            self._fail(batch, answer.reason, attempts=answer.deaths)
        else:
            self._tally.done += 1
            if answer.outcome == "done":
                self._forecast.add(_place(batch), answer.seconds)
                if self._tally.left_seconds is not None:
                    self._tally.left_seconds = max(0.0, self._tally.left_seconds - answer.seconds)
            self._display.ended(batch.label, answer.seconds)

    def _fail(self, batch: RunBatch, reason: str, *, attempts: int = 0) -> None:
        """Count a batch as failed; one that could not note that itself, after some attempts, is noted here."""
        if attempts:
            note_failure(self._records, batch, reason, attempts=attempts)
        self._tally.failed += 1
        self._display.say(f"failed: {batch.label}: {reason}")

    def _foresee(self) -> None:
        """Work out now and then what the batches that are left will take, by the ones that have been run."""
        if time.monotonic() < self._next_forecast or (mean := self._forecast.mean) is None:
            return
        start = time.monotonic()
        places = Counter(map(_place, self._open()))
        seconds = self._forecast.seconds(places)
        self._tally.left_seconds = sum(seconds.get(where, mean) * many for where, many in places.items())
        # At most a fiftieth of the time goes into it, however large the grid is.
        self._next_forecast = time.monotonic() + max(TICK_SECONDS, 50 * (time.monotonic() - start))

    def _look_elsewhere(self) -> None:
        """Look now and then at the batches of another process; those that it left without result are tried again."""
        if not self._elsewhere or time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + TICK_SECONDS
        # Claims are listed first: a run that has ended by then has its record, or its failure, by the time of these.
        claimed, looked, self._elsewhere = self._records.claimed(), self._elsewhere, []
        missing = set(self._records.missing(key for batch in looked for key in batch.keys.values()))
        failures = self._records.failures()
        for batch in looked:
            first, keys = next(iter(batch.keys.values())), set(batch.keys.values())
            if keys & claimed:
                self._elsewhere.append(batch)
            elif not keys & missing:
                self._tally.done += 1
            elif failed := sorted(keys & failures.keys()):
                self._fail(batch, failures[failed[0]].reason)
            elif self._left[first] == _LEFT - 1:
                reason = f"other processes began it {_LEFT} times, and died or were stopped"
                self._fail(batch, reason, attempts=_LEFT)
            else:
                self._left[first] += 1
                self._waiting.append(batch)


def _place(batch: RunBatch) -> Place:
    return place(batch.coordinates(batch.cells[0]))


def _answer(future: Any) -> Answer:
    """Return the answer of a worker. Its copy there is released: a worker that dies later then costs nothing."""
    try:
        answer: Answer = future.result()
    except Exception as error:
        return _without_answer(error)
    finally:
        future.release()
    return answer


def _without_answer(error: Exception) -> Answer:
    from distributed import CancelledError, KilledWorker

    if isinstance(error, KilledWorker):
        deaths, last = error.allowed_failures + 1, error.last_worker.address
        reason = f"its worker died {deaths} times while it ran alone, at last {last}"
        return Answer("killed", reason=f"{reason} (out of memory, or a crash outside Python)", deaths=deaths)
    if isinstance(error, CancelledError):
        raise _lost() from error
    # A run's exceptions are answers: what is raised here is of a worker that cannot run anything.
    message = f"A worker cannot work ({type(error).__name__}: {error})."
    raise ResultsError(f"{message} Mend it, then start the same command again.") from error


def _lost() -> ResultsError:
    message = "The connection to the Dask scheduler is lost; finished runs are recorded."
    return ResultsError(f"{message} Start the same command again.")
