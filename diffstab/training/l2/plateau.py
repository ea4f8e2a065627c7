"""`diffstab plateau`: the minimal loss against the width, one record per run, resumable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console

from diffstab.results import Provenance
from diffstab.training.command_line import add_data_module, parse_experiment
from diffstab.training.grid import Asked, GridCommand, Report, run_grid
from diffstab.training.l2.cell import run_place
from diffstab.training.l2.experiment import PlateauCell, PlateauExperiment, PlateauPlace
from diffstab.training.l2.points import Points, load_points


class Plateau(GridCommand[PlateauExperiment, PlateauCell]):
    """The command: one run per training set, seed, optimiser, width and restart."""

    name = "plateau"
    grid_keys = ("n_train", "seeds", "widths", "restarts", "optimisers", "threads", "plateau_tolerance")

    def parse(self, args: Sequence[str]) -> Asked[PlateauExperiment]:
        """Return what command-line arguments ask for; the folder is `results/plateau_` and the config file's name."""
        return parse_experiment(
            args,
            PlateauExperiment,
            program="diffstab plateau",
            about="Minimise the L2-regularised loss at every width, from several starts; recorded runs are skipped.",
            part="data",
            add_part=lambda parser: add_data_module(parser, PlateauExperiment().data),
            prefix="plateau_",
        )

    def batches(self, experiment: PlateauExperiment) -> Iterator[tuple[PlateauCell, ...]]:
        """Yield the runs of a place together: what a net is trained beside changes it by rounding."""
        return (tuple(group) for _, group in groupby(experiment.cells(), key=lambda cell: cell.place))

    def cell_config(self, experiment: PlateauExperiment, cell: PlateauCell) -> dict[str, Any]:
        """Return the place of a run in the grid."""
        return experiment.cell_config(cell)

    def label(self, batch: tuple[PlateauCell, ...]) -> str:
        """Return size, seed and optimiser, and the number of runs."""
        n_train, seed, optimiser = batch[0].place
        return f"n={n_train} seed={seed} {optimiser}, {len(batch)} runs"

    def check(self, experiment: PlateauExperiment) -> None:
        """Refuse data that no problem can be made of."""
        *_, cell = experiment.cells()
        experiment.problem(_points(experiment, cell.place))

    def run(
        self,
        experiment: PlateauExperiment,
        batch: tuple[PlateauCell, ...],
        *,
        folder: Path,
        keys: Mapping[PlateauCell, str],
        origin: Provenance,
        report: Report,
    ) -> Iterator[tuple[PlateauCell, dict[str, Any]]]:
        """Train all runs of a place together."""
        return run_place(experiment, batch, _points(experiment, batch[0].place), origin=origin)


def plateau(experiment: PlateauExperiment, folder: str | Path, *, console: Console | None = None) -> Path:
    """Run the cells of a plateau experiment that have no record yet; see `run_grid`."""
    return run_grid(Plateau(), experiment, folder, console=console)


def _points(experiment: PlateauExperiment, place: PlateauPlace) -> Points:
    return load_points(
        experiment.data,
        n_train=place.n_train,
        seed=place.seed,
        cost=experiment.cost,
        dtype=experiment.torch_dtype,
    )
