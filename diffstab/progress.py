"""How far a long piece of work has come: a bar on a terminal, a line at least once a minute elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

LONGEST_SILENCE = 60.0
"""Seconds after which a line comes, where there is no terminal, whatever has happened."""

SHORTEST_PAUSE = 10.0
"""Seconds between lines about what has ended: a log of short runs stays short."""

_BAR_WIDTH = 20
_LARGEST_COUNT = 1e9


@dataclass
class Tally:
    """How far the work has come, in batches of runs.

    Attributes:
        total: All batches to do; 0 if nobody knows.
        done: Batches that ended well.
        failed: Batches that did not.
        running: Batches at work here.
        waiting: Batches at work in another sweep.
        workers: Processes at work; with 0 the work waits for them.
        left_seconds: Expected time of what is left, one batch after another; None if nobody has worked it out.
        is_bound: Whether the work may end before the total.
    """

    total: int
    done: int = 0
    failed: int = 0
    running: int = 0
    waiting: int = 0
    workers: int = 1
    left_seconds: float | None = None
    is_bound: bool = False

    @property
    def finished(self) -> int:
        """Batches that nothing is left to do for."""
        return self.done + self.failed

    def remaining(self, elapsed: float) -> float | None:
        """Return the expected seconds until all is done, or None if there is nothing to go by.

        Args:
            elapsed: Seconds since the work began, for an estimate by the mean where there is no better one.
        """
        open_batches = self.total - self.finished
        if open_batches <= 0:
            return None
        if self.left_seconds is not None:
            return self.left_seconds / max(1, min(self.workers, open_batches))
        return elapsed / self.finished * open_batches if self.finished else None

    def status(self) -> str:
        """Return what has failed, runs and waits, in a few words."""
        parts = [f"{self.failed} failed"] if self.failed else []
        parts += [f"{self.running} running"] if self.running and self.finished < self.total else []
        parts += [] if self.workers else ["waiting for workers"]
        parts += [f"{self.waiting} in another sweep"] if self.waiting else []
        return ", ".join(parts)


class Progress:
    """Shows a tally on a console while the work goes on; from `progress`.

    On a terminal: a line of what is going on, and below it bar, count, time so far, time left and status, which
    stay visible whatever the first line says. Elsewhere: lines.

    Args:
        console: Where.
        tally: What is shown, as it is at the moment.
    """

    def __init__(self, console: Console, tally: Tally) -> None:
        self._console, self._tally = console, tally
        self._begun = time.monotonic()
        self._last_line = -SHORTEST_PAUSE
        self._due = self._begun + LONGEST_SILENCE
        self._text = ""

    def describe(self, text: str) -> None:
        """Show what is going on."""
        self._text = text

    def ended(self, text: str, seconds: float | None = None) -> None:
        """Show that a batch has ended: where there is no terminal now and then, but always of the last.

        Args:
            text: What the batch is.
            seconds: Time that it took; None at the end of a work that is not told by batches.
        """
        now, self._text = time.monotonic(), text if seconds is None else f"{text}, {seconds:.1f} s"
        is_last = seconds is None or self._tally.finished == self._tally.total
        if not self._console.is_terminal and (is_last or now - self._last_line >= SHORTEST_PAUSE):
            self._last_line = now
            self._line(self._text)

    def say(self, text: str) -> None:
        """Print a line, above the bar where there is one."""
        self._due = time.monotonic() + LONGEST_SILENCE
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def __rich__(self) -> Group:
        """Return the two lines of a terminal."""
        fixed = [Column(no_wrap=True) for _ in range(4)]
        status = Column(no_wrap=True, overflow="ellipsis", ratio=1)
        row = Table.grid(*fixed, status, padding=(0, 1), expand=True)
        total = self._tally.total or None
        bar = ProgressBar(total=total, completed=self._tally.finished, width=_BAR_WIDTH)
        count = f"{self._tally.finished}/{total}" if total else str(self._tally.finished)
        row.add_row(bar, count, duration(self._elapsed), self._left(), self._tally.status())
        text = [Text(self._text, no_wrap=True, overflow="ellipsis")] if self._text else []
        return Group(*text, row)

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._begun

    def _left(self) -> str:
        seconds = self._tally.remaining(self._elapsed)
        words = "at most" if self._tally.is_bound else "about"
        return "" if seconds is None else f"{words} {duration(seconds)} left"

    def _line(self, text: str) -> None:
        parts = [text, self._tally.status(), f"{duration(self._elapsed)} so far", self._left()]
        count = (
            f"{self._tally.finished} of {self._tally.total}"
            if self._tally.total
            else str(self._tally.finished)
        )
        self.say(f"{count}: {'; '.join(filter(None, parts))}")

    def _break_silences(self, over: threading.Event) -> None:
        while not over.wait(max(0.0, self._due - time.monotonic())):
            if time.monotonic() >= self._due:
                self._line(self._text)


@contextmanager
def progress(console: Console, tally: Tally) -> Iterator[Progress]:
    """Show a tally for the time of the context.

    Args:
        console: Where.
        tally: Kept up to date by the caller.

    Yields:
        What takes descriptions and lines.
    """
    shown = Progress(console, tally)
    if console.is_terminal:
        with Live(shown, console=console, refresh_per_second=4):
            yield shown
        return
    over = threading.Event()
    thread = threading.Thread(target=shown._break_silences, args=(over,), daemon=True)
    thread.start()
    try:
        yield shown
    finally:
        over.set()
        thread.join()


def duration(seconds: float) -> str:
    """Return a time as h:mm:ss."""
    return str(timedelta(seconds=round(seconds)))


def number_text(value: float) -> str:
    """Return a number with four significant digits, a whole one with all of its own."""
    return f"{value:.0f}" if value == round(value, 0) and abs(value) < _LARGEST_COUNT else f"{value:.4g}"


def numbers_text(values: Mapping[str, float]) -> str:
    """Return named numbers in a line."""
    return ", ".join(f"{name} {number_text(value)}" for name, value in values.items())
