"""`diffstab plateau`: the minimal loss against the width, one record per run, resumable."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from rich.console import Console

from diffstab.errors import ArgumentError
from diffstab.results import RecordStore, provenance
from diffstab.training.l2.cell import run_place
from diffstab.training.l2.experiment import PlateauCell, PlateauExperiment, PlateauPlace
from diffstab.training.l2.points import Points, load_points
from diffstab.training.running import limited_threads, progress_bar

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
    keys = {cell: store.key(experiment.cell_config(cell)) for cell in cells}
    todo = [cell for cell in cells if not store.has(keys[cell])]
    if len(todo) < len(cells):
        console.print(f"{len(cells) - len(todo)} of {len(cells)} runs are recorded in {folder}; going on.")
    origin = provenance()
    with limited_threads(experiment.threads), progress_bar(console, len(todo)) as shown:
        for place, group in groupby(todo, key=lambda cell: cell.place):
            missing = list(group)
            shown.describe(_description(place, missing))
            for cell, row in run_place(experiment, missing, _points(experiment, place), origin=origin):
                store.write(keys[cell], row)
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
    Console().print(f"Results in {folder}. Next: diffstab report {folder}", highlight=False)
    return 0


def parse(args: Sequence[str]) -> tuple[PlateauExperiment, Path]:
    """Return the experiment and the results folder that command-line arguments ask for.

    The folder is `--results`, or `results/` and the name of the config file.

    Raises:
        ArgumentError: If an option or a value is wrong.
    """
    from jsonargparse import ArgumentError as ParseError
    from jsonargparse import ArgumentParser
    from pytorch_lightning import LightningDataModule

    about = "Minimise the L2-regularised loss at every width, from several starts; recorded runs are skipped."
    parser = ArgumentParser(prog="diffstab plateau", description=about, exit_on_error=False)
    parser.add_argument("--config", action="config", help="YAML file of the experiment")
    parser.add_argument("--results", type=str, default=None, help="results folder")
    parser.add_subclass_arguments(LightningDataModule, "data", skip={"n_train", "seed"})
    parser.set_defaults({"data": PlateauExperiment().data})
    parser.add_class_arguments(PlateauExperiment, nested_key=None, as_group=False, skip={"data"})
    try:
        options = parser.parse_args(list(args))
        # The data module is made place by place, so it stays a description here.
        data = options.pop("data").as_dict()
        values = parser.instantiate(options)
    except ParseError as error:
        raise ArgumentError("configuration", "fit the options of diffstab plateau", str(error)) from error
    configs = options.config or []
    folder = options.results or f"results/{Path(str(configs[-1])).stem if configs else 'plateau'}"
    names = [name for name in PlateauExperiment.__dataclass_fields__ if name != "data"]
    return PlateauExperiment(data=data, **{name: getattr(values, name) for name in names}), Path(folder)
