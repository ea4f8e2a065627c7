"""What a sweep shows while it runs: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

LINE_SECONDS = 1.0
"""Least time between two lines where there is no terminal."""


@dataclass
class Tally:
    """How far a sweep has come, in batches.

    Attributes:
        total: All that had no record at the start.
        done: Recorded since, by whichever sweep.
        failed: Without a record for good.
        running: At work here.
        waiting: At work in another sweep.
        left_seconds: Time that those not finished are expected to take, one after another; None if unknown.
    """

    total: int
    done: int = 0
    failed: int = 0
    running: int = 0
    waiting: int = 0
    left_seconds: float | None = None

    @property
    def finished(self) -> int:
        """Batches that nothing is to be done for any more."""
        return self.done + self.failed

    def text(self, workers: int) -> str:
        """Return the counts, and the time left, in a line."""
        parts = [f"{self.failed} failed"] if self.failed else []
        parts += [f"{self.running} running"] if workers else ["waiting for workers"]
        parts += [f"{self.waiting} in another sweep"] if self.waiting else []
        if self.left_seconds is not None and self.finished < self.total:
            busy = max(1, min(workers, self.total - self.finished))
            parts.append(f"about {duration(self.left_seconds / busy)} left")
        return ", ".join(parts)


def duration(seconds: float) -> str:
    """Return a time as h:mm:ss."""
    return str(timedelta(seconds=round(seconds)))


class Display:
    """Shows a tally on a console.

    Args:
        console: Where.
        tally: What is shown, as it is at the moment.
    """

    def __init__(self, console: Console, tally: Tally) -> None:
        self._console, self._tally = console, tally
        self._last = -LINE_SECONDS
        columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task("starting", total=tally.total)

    @contextmanager
    def shown(self) -> Iterator[Display]:
        """Show it for the time of the context."""
        with self._bar:
            yield self

    def refresh(self, workers: int) -> None:
        """Show the counts as they are now."""
        self._bar.update(self._task, completed=self._tally.finished, description=self._tally.text(workers))

    def finished(self, label: str, seconds: float, workers: int) -> None:
        """Tell, where there is no terminal and now and then, of a batch that is done."""
        now = time.monotonic()
        last = self._tally.finished == self._tally.total
        if not self._console.is_terminal and (last or now - self._last >= LINE_SECONDS):
            self._last = now
            count = f"{self._tally.finished} of {self._tally.total}"
            self.say(f"{count}: {label}, {seconds:.1f} s; {self._tally.text(workers)}")

    def say(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)
