"""What every grid of runs shares: which runs are missing, a bounded number of threads and a progress bar."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

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

from diffstab.results import RecordStore

Cell = TypeVar("Cell", bound=Hashable)


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


@dataclass(frozen=True)
class Grid(Generic[Cell]):
    """The runs of a grid that have no record yet, and where their records go.

    Attributes:
        store: The records.
        keys: Key of every run of the grid.
        missing: Runs without a record, in their order.
    """

    store: RecordStore
    keys: Mapping[Cell, str]
    missing: list[Cell]

    def write(self, cell: Cell, row: Mapping[str, object]) -> None:
        """Write the record of a run in one step."""
        self.store.write(self.keys[cell], row)


def open_grid(
    store: RecordStore,
    cells: Iterable[Cell],
    *,
    config_of: Callable[[Cell], Mapping[str, object]],
    console: Console,
) -> Grid[Cell]:
    """Return the grid of a results folder, and say on the console how much of it is done.

    Args:
        store: The results folder.
        cells: Runs of the grid.
        config_of: What distinguishes a run within the experiment.
        console: Where to say it.
    """
    keys = {cell: store.key(config_of(cell)) for cell in cells}
    missing = [cell for cell in keys if not store.has(keys[cell])]
    if len(missing) < len(keys):
        console.print(
            f"{len(keys) - len(missing)} of {len(keys)} runs are recorded in {store.folder}; going on."
        )
    return Grid(store, keys, missing)


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
