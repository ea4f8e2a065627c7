"""`diffstab sphere curve`: fit and measure every cell of a learning curve, one record each, resumable."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from diffstab.results import Provenance, RecordStore, provenance
from diffstab.sphere.targets import Target
from diffstab.training.command_line import parse_experiment
from diffstab.training.running import limited_threads, open_grid, progress_bar
from diffstab.training.sphere.cell import draw, run_cell
from diffstab.training.sphere.experiment import SphereCell, SphereExperiment

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

GRID_KEYS = ("dimensions", "targets", "n_train", "seeds", "methods", "workers")


def learning_curve(
    experiment: SphereExperiment, folder: str | Path, *, console: Console | None = None
) -> Path:
    """Run the cells of an experiment that have no record yet.

    Args:
        experiment: Configuration.
        folder: Results folder; opened if it holds records of the same configuration.
        console: Where progress is shown; None is standard error.

    Returns:
        The results folder.

    Raises:
        ResultsError: If the folder belongs to another configuration or cannot be written.
    """
    console = console or Console(stderr=True)
    store = RecordStore(folder, experiment.resolved(), grid_keys=GRID_KEYS)
    grid = open_grid(store, experiment.cells(), config_of=experiment.cell_config, console=console)
    with limited_threads(experiment.threads), progress_bar(console, len(grid.missing)) as shown:
        for cell, row in _rows(experiment, grid.missing, provenance(), shown.describe):
            grid.write(cell, row)
            shown.advance()
    return store.folder


def _rows(
    experiment: SphereExperiment,
    cells: Sequence[SphereCell],
    origin: Provenance,
    describe: Callable[[str], None],
) -> Iterator[tuple[SphereCell, dict[str, Any]]]:
    """Yield the finished cells with their rows; in one process, methods of a place share its draw."""
    if experiment.workers > 1:
        yield from _rows_of_processes(experiment, cells, origin, describe)
        return
    place, drawn = None, None
    for cell in cells:
        if drawn is None or cell.place != place:
            place, drawn = cell.place, draw(experiment, cell.place)
        describe(_description(cell))
        yield cell, run_cell(experiment, cell, drawn, origin=origin)


def _rows_of_processes(
    experiment: SphereExperiment,
    cells: Sequence[SphereCell],
    origin: Provenance,
    describe: Callable[[str], None],
) -> Iterator[tuple[SphereCell, dict[str, Any]]]:
    # Started anew rather than forked: a fork may inherit locks of torch's and BLAS's threads.
    pool = ProcessPoolExecutor(experiment.workers, mp_context=get_context("spawn"))
    try:
        futures = {pool.submit(_run_alone, experiment, cell, origin): cell for cell in cells}
        for future in as_completed(futures):
            describe(_description(futures[future]))
            yield futures[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _run_alone(experiment: SphereExperiment, cell: SphereCell, origin: Provenance) -> dict[str, Any]:
    """Draw and run one cell in a process of its own: the same numbers, as every draw has its own generator."""
    with limited_threads(experiment.threads):
        return run_cell(experiment, cell, draw(experiment, cell.place), origin=origin)


def _description(cell: SphereCell) -> str:
    dimension, target, n_train, seed = cell.place
    return f"d={dimension} {target} n={n_train} seed={seed} {cell.method}"


def main(args: Sequence[str]) -> int:
    """Parse the options of `diffstab sphere curve`, run it, and print where the results are."""
    experiment, folder = parse(args)
    learning_curve(experiment, folder)
    Console().print(
        f"Results in {folder}. Next: diffstab sphere report {folder}", highlight=False, soft_wrap=True
    )
    return 0


def parse(args: Sequence[str]) -> tuple[SphereExperiment, Path]:
    """Return the experiment and the results folder that command-line arguments ask for.

    The folder is `--results`, or `results/` and the name of the config file.

    Raises:
        ArgumentError: If an option or a value is wrong.
    """
    return parse_experiment(
        args,
        SphereExperiment,
        program="diffstab sphere curve",
        about="Fit and measure every method on every dimension, target, size and seed; recorded runs are skipped.",
        part="targets",
        add_part=_add_targets,
    )


def _add_targets(parser: ArgumentParser) -> None:
    targets = SphereExperiment().targets
    parser.add_argument("--targets", type=list[Target], default=targets, help="functions to learn")
