"""`diffstab sphere curve`: fit and measure every cell of a learning curve, one record each, resumable."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from diffstab.results import Provenance, canonical_json
from diffstab.sphere.targets import Target
from diffstab.training.command_line import parse_experiment
from diffstab.training.grid import Asked, GridCommand, Report, run_grid
from diffstab.training.sphere.cell import Draw, draw, run_cell
from diffstab.training.sphere.experiment import Place, SphereCell, SphereExperiment

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


class SphereCurve(GridCommand[SphereExperiment, SphereCell]):
    """The command: one run per dimension, target, training-set size, seed and method."""

    name = "sphere curve"
    grid_keys = ("dimensions", "targets", "n_train", "seeds", "methods")

    def parse(self, args: Sequence[str]) -> Asked[SphereExperiment]:
        """Return what command-line arguments ask for; the folder is `results/` and the name of the config file."""
        return parse_experiment(
            args,
            SphereExperiment,
            program="diffstab sphere curve",
            about="Fit and measure every method on every dimension, target, size and seed; recorded runs are skipped.",
            part="targets",
            add_part=_add_targets,
        )

    def batches(self, experiment: SphereExperiment) -> Iterator[tuple[SphereCell, ...]]:
        """Yield each run alone."""
        return ((cell,) for cell in experiment.cells())

    def cell_config(self, experiment: SphereExperiment, cell: SphereCell) -> dict[str, Any]:
        """Return the place of a run in the grid, its parts in full."""
        return experiment.cell_config(cell)

    def label(self, batch: tuple[SphereCell, ...]) -> str:
        """Return dimension, target, size, seed and method."""
        dimension, target, n_train, seed = batch[0].place
        return f"d={dimension} {target} n={n_train} seed={seed} {batch[0].method}"

    def run(
        self,
        experiment: SphereExperiment,
        batch: tuple[SphereCell, ...],
        *,
        folder: Path,
        keys: Mapping[SphereCell, str],
        origin: Provenance,
        report: Report,
    ) -> Iterator[tuple[SphereCell, dict[str, Any]]]:
        """Fit and measure a method."""
        for cell in batch:
            drawn = _drawn(_description(experiment), cell.place)
            yield cell, run_cell(experiment, cell, drawn, origin=origin)


def learning_curve(
    experiment: SphereExperiment, folder: str | Path, *, console: Console | None = None
) -> Path:
    """Run the cells of a learning curve that have no record yet; see `run_grid`."""
    return run_grid(SphereCurve(), experiment, folder, console=console)


def _description(experiment: SphereExperiment) -> str:
    names = ("targets", "n_test", "rotation_deg")
    return canonical_json({name: getattr(experiment, name) for name in names})


@lru_cache(maxsize=1)
def _drawn(description: str, place: Place) -> Draw:
    """Return the points and values of a place, kept for the methods that share it."""
    return draw(SphereExperiment(**json.loads(description)), place)


def _add_targets(parser: ArgumentParser) -> None:
    targets = SphereExperiment().targets
    parser.add_argument("--targets", type=list[Target], default=targets, help="functions to learn")
