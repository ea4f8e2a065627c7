"""A bounded number of threads, and a progress bar."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


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


class Shown(NamedTuple):
    """A progress bar at work.

    Attributes:
        describe: Say what is going on.
        advance: One run is finished.
    """

    describe: Callable[[str], None]
    advance: Callable[[], None]


@contextmanager
def progress_bar(console: Console, total: int) -> Iterator[Shown]:
    """Show a bar over `total` runs on the console."""
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("starting", total=total)
        yield Shown(lambda text: bar.update(task, description=text), lambda: bar.advance(task))
