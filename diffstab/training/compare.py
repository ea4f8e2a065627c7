"""`diffstab compare`: train and measure every cell of an experiment, one record each, resumable."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from diffstab.errors import ArgumentError, FoldingWarning
from diffstab.results import RecordStore, provenance, write_atomically
from diffstab.stability import diffeomorphism, draw_pairs
from diffstab.training.cell import draw_probes, run_cell, seeded
from diffstab.training.command_line import add_data_module, parse_experiment
from diffstab.training.experiment import Cell, Experiment, build_data
from diffstab.training.optimise import TrainingOutcome
from diffstab.training.running import limited_threads, open_grid, progress_bar

EXAMPLE_IMAGES = 4
EXAMPLE_DELTAS_PX = (0.5, 1.0, 2.0)


def compare(experiment: Experiment, folder: str | Path, *, console: Console | None = None) -> Path:
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
    # Ask for the largest data before the folder is made: bad data options leave nothing behind.
    largest = build_data(experiment.data, n_train=cells[-1].n_train, seed=cells[-1].seed)
    if not largest.train_labels.is_floating_point():
        way_out = "A comparison takes binary targets."
        raise ArgumentError("data.init_args.labels", "be 'parity'", "class indices", way_out)
    store = RecordStore(folder, experiment.resolved(), grid_keys=("n_train", "seeds", "methods", "threads"))
    # Read once: the checkout may move on while a long comparison runs the code that it started with.
    origin = provenance()
    grid = open_grid(store, cells, config_of=experiment.cell_config, console=console)
    with limited_threads(experiment.threads), progress_bar(console, len(grid.missing)) as shown:
        _write_examples(experiment, store.folder, largest)
        for cell, data, probes in _with_data(experiment, grid.missing):

            def show(outcome: TrainingOutcome | None = None, cell: Cell = cell) -> None:
                shown.describe(_description(cell, outcome))

            show()
            grid.write(cell, run_cell(experiment, cell, data, probes, origin=origin, on_progress=show))
            shown.advance()
    return store.folder


def _with_data(experiment: Experiment, cells: Sequence[Cell]) -> Iterator[tuple[Cell, Any, Any]]:
    """Yield the cells with their data and probes, each made once for the methods that share it."""
    place, data, probes = None, None, None
    for cell in cells:
        if place != (cell.n_train, cell.seed):
            place = (cell.n_train, cell.seed)
            data = build_data(experiment.data, n_train=cell.n_train, seed=cell.seed)
            probes = draw_probes(experiment, data, cell.seed)
        yield cell, data, probes


def _description(cell: Cell, outcome: TrainingOutcome | None = None) -> str:
    text = f"n={cell.n_train} seed={cell.seed} {cell.method}"
    if outcome is not None:
        text += f", step {outcome.steps}, {outcome.margin_share:.1%} with margin"
    return text


def _write_examples(experiment: Experiment, folder: Path, data: Any) -> None:
    """Write a few test images with their deformed and noisy versions, once."""
    path = folder / "examples.npz"
    if path.exists():
        return
    images = data.test_images[:EXAMPLE_IMAGES]
    deltas = sorted({*EXAMPLE_DELTAS_PX, experiment.stability.delta_px})
    drawn = []
    for index, delta in enumerate(deltas):
        with warnings.catch_warnings():
            # The pictures show a large displacement on purpose.
            warnings.simplefilter("ignore", FoldingWarning)
            deform = diffeomorphism(delta, experiment.stability.cutoff)
            drawn.append(draw_pairs(images, deform=deform, generator=seeded(0, "probes", index)))
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


def main(args: Sequence[str]) -> int:
    """Parse the options of `diffstab compare`, run it, and print where the results are."""
    experiment, folder = parse(args)
    compare(experiment, folder)
    Console().print(f"Results in {folder}. Next: diffstab report {folder}", highlight=False, soft_wrap=True)
    return 0


def parse(args: Sequence[str]) -> tuple[Experiment, Path]:
    """Return the experiment and the results folder that command-line arguments ask for.

    The folder is `--results`, or `results/` and the name of the config file.

    Raises:
        ArgumentError: If an option or a value is wrong.
    """
    return parse_experiment(
        args,
        Experiment,
        program="diffstab compare",
        about="Train and measure every method of an experiment on every size and seed; recorded runs are skipped.",
        part="data",
        add_part=lambda parser: add_data_module(parser, Experiment().data),
    )
