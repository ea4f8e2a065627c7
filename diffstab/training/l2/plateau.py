"""`diffstab plateau`: the minimal loss against the width, one record per run, resumable."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from rich.console import Console

from diffstab.results import RecordStore, provenance
from diffstab.training.command_line import add_data_module, parse_experiment
from diffstab.training.l2.cell import run_place
from diffstab.training.l2.experiment import PlateauCell, PlateauExperiment, PlateauPlace
from diffstab.training.l2.points import Points, load_points
from diffstab.training.running import limited_threads, open_grid, progress_bar

GRID_KEYS = ("n_train", "seeds", "widths", "restarts", "optimisers", "threads", "plateau_tolerance")


def plateau(experiment: PlateauExperiment, folder: str | Path, *, console: Console | None = None) -> Path:
    """Run the cells of an experiment that have no record yet.

    Args:
        experiment: Configuration.
        folder: Results folder; opened if it holds records of the same configuration.
        console: Where progress is shown; None is standard error.

    Returns:
        The results folder.

    Raises:
        ResultsError: If the folder belongs to another configuration or cannot be written.
        DataError: If the data are missing or damaged.
        ArgumentError: If the data options are wrong; nothing is made then.
    """
    console = console or Console(stderr=True)
    cells = list(experiment.cells())
    # The largest data are asked for before the folder is made: bad data options leave nothing behind.
    experiment.problem(_points(experiment, cells[-1].place))
    store = RecordStore(folder, experiment.resolved(), grid_keys=GRID_KEYS)
    grid = open_grid(store, cells, config_of=experiment.cell_config, console=console)
    origin = provenance()
    with limited_threads(experiment.threads), progress_bar(console, len(grid.missing)) as shown:
        for place, group in groupby(grid.missing, key=lambda cell: cell.place):
            missing = list(group)
            shown.describe(_description(place, missing))
            for cell, row in run_place(experiment, missing, _points(experiment, place), origin=origin):
                grid.write(cell, row)
                shown.advance()
    return store.folder


def _points(experiment: PlateauExperiment, place: PlateauPlace) -> Points:
    return load_points(
        experiment.data,
        n_train=place.n_train,
        seed=place.seed,
        cost=experiment.cost,
        dtype=experiment.torch_dtype,
    )


def _description(place: PlateauPlace, cells: Sequence[PlateauCell]) -> str:
    return f"n={place.n_train} seed={place.seed} {place.optimiser}, {len(cells)} runs"


def main(args: Sequence[str]) -> int:
    """Parse the options of `diffstab plateau`, run it, and print where the results are."""
    experiment, folder = parse(args)
    plateau(experiment, folder)
    Console().print(f"Results in {folder}. Next: diffstab report {folder}", highlight=False, soft_wrap=True)
    return 0


def parse(args: Sequence[str]) -> tuple[PlateauExperiment, Path]:
    """Return the experiment and the results folder that command-line arguments ask for.

    The folder is `--results`, or `results/plateau_` and the name of the config file.

    Raises:
        ArgumentError: If an option or a value is wrong.
    """
    return parse_experiment(
        args,
        PlateauExperiment,
        program="diffstab plateau",
        about="Minimise the L2-regularised loss at every width, from several starts; recorded runs are skipped.",
        part="data",
        add_part=lambda parser: add_data_module(parser, PlateauExperiment().data),
        prefix="plateau_",
    )
