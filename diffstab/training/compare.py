"""`diffstab compare`: train and measure every cell of an experiment, one record each, resumable."""

from __future__ import annotations

import dataclasses
import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from diffstab.errors import ArgumentError, FoldingWarning
from diffstab.results import GRID_KEYS, Provenance, canonical_json, write_atomically
from diffstab.solvers.status import Status
from diffstab.stability import Probes, diffeomorphism, draw_pairs
from diffstab.streams import stream
from diffstab.training.cell import draw_probes, run_cell
from diffstab.training.command_line import add_data_module, parse_experiment
from diffstab.training.experiment import Cell, Experiment, StabilityChoice, build_data
from diffstab.training.grid import Asked, GridCommand, Report, run_grid

_LOG = logging.getLogger("diffstab.training")

EXAMPLES = "examples.npz"
EXAMPLE_IMAGES = 4
EXAMPLE_DELTAS_PX = (0.5, 1.0, 2.0)


class Compare(GridCommand[Experiment, Cell]):
    """The command: one run per method, training-set size and seed."""

    name = "compare"
    grid_keys = (*GRID_KEYS, "more_seeds", "threads")

    def parse(self, args: Sequence[str]) -> Asked[Experiment]:
        """Return what command-line arguments ask for; the folder is `results/` and the name of the config file."""
        return parse_experiment(
            args,
            Experiment,
            program="diffstab compare",
            about="Train and measure every method of an experiment on every size and seed; recorded runs are skipped.",
            part="data",
            add_part=lambda parser: add_data_module(parser, Experiment().data),
        )

    def batches(self, experiment: Experiment) -> Iterator[tuple[Cell, ...]]:
        """Yield each run alone."""
        return ((cell,) for cell in experiment.cells())

    def cell_config(self, experiment: Experiment, cell: Cell) -> dict[str, Any]:
        """Return the place of a run in the grid, its method in full."""
        return experiment.cell_config(cell)

    def label(self, batch: tuple[Cell, ...]) -> str:
        """Return size, seed and method."""
        return f"n={batch[0].n_train} seed={batch[0].seed} {batch[0].method}"

    def check(self, experiment: Experiment) -> None:
        """Refuse data that cannot be had, and labels that are not binary."""
        if not _largest(experiment).train_labels.is_floating_point():
            way_out = "A comparison takes binary targets."
            raise ArgumentError("data.init_args.labels", "be 'parity'", "class indices", way_out)

    def begin(self, experiment: Experiment, folder: Path) -> None:
        """Write the example images, and say if fewer images are measured than asked for."""
        if (folder / EXAMPLES).exists():
            return
        data, asked = _largest(experiment), experiment.stability.images
        _write_examples(experiment, folder / EXAMPLES, data)
        if asked is not None and asked > len(data.test_images):
            text = "stability.images is %d; there are %d test images, and all are measured."
            _LOG.info(text, asked, len(data.test_images))

    def run(
        self,
        experiment: Experiment,
        batch: tuple[Cell, ...],
        *,
        folder: Path,
        keys: Mapping[Cell, str],
        origin: Provenance,
        report: Report,
    ) -> Iterator[tuple[Cell, dict[str, Any]]]:
        """Train and measure a method."""
        for cell in batch:
            data = _loaded(canonical_json(experiment.data), cell.n_train, cell.seed)
            probes = _probed(_description(experiment), cell.n_train, cell.seed)
            tell = partial(_tell, report)
            yield cell, run_cell(experiment, cell, data, probes, origin=origin, on_progress=tell)


def compare(experiment: Experiment, folder: str | Path, *, console: Console | None = None) -> Path:
    """Run the cells of a comparison that have no record yet; see `run_grid`."""
    return run_grid(Compare(), experiment, folder, console=console)


def _tell(report: Report, status: Status) -> None:
    names = {"steps": "steps", "flow_time": "time", "loss": "loss", "margin_share": "margin_share"}
    report({name: getattr(status, field) for name, field in names.items()})


def _description(experiment: Experiment) -> str:
    return canonical_json({"data": experiment.data, "stability": dataclasses.asdict(experiment.stability)})


@lru_cache(maxsize=1)
def _loaded(choice: str, n_train: int, seed: int) -> Any:
    """Return the data of a place, kept for the methods that share it."""
    return build_data(json.loads(choice), n_train=n_train, seed=seed)


@lru_cache(maxsize=1)
def _probed(description: str, n_train: int, seed: int) -> Probes:
    """Return the probes of a place, kept for the methods that share it."""
    parts = json.loads(description)
    data = _loaded(canonical_json(parts["data"]), n_train, seed)
    return draw_probes(StabilityChoice(**parts["stability"]), data, seed)


def _largest(experiment: Experiment) -> Any:
    *_, cell = experiment.cells()
    return _loaded(canonical_json(experiment.data), cell.n_train, cell.seed)


def _write_examples(experiment: Experiment, path: Path, data: Any) -> None:
    """Write a few test images with their deformed and noisy versions."""
    images = data.test_images[:EXAMPLE_IMAGES]
    deltas = sorted({*EXAMPLE_DELTAS_PX, experiment.stability.delta_px})
    drawn = []
    for index, delta in enumerate(deltas):
        with warnings.catch_warnings():
            # The pictures show a large displacement on purpose.
            warnings.simplefilter("ignore", FoldingWarning)
            deform = diffeomorphism(delta, experiment.stability.cutoff)
            drawn.append(draw_pairs(images, deform=deform, generator=stream(0, "example probes", index)))
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        images=torch.cat([probes.clean for probes in drawn]).numpy(),
        deformed=torch.cat([probes.deformed[0] for probes in drawn]).numpy(),
        noisy=torch.cat([probes.noisy[0] for probes in drawn]).numpy(),
        labels=data.test_labels[:EXAMPLE_IMAGES].repeat(len(deltas)).numpy(),
        delta_px=np.repeat(deltas, len(images)),
    )
    write_atomically(path, buffer.getvalue())
