"""`diffstab forces`: attraction and repulsion of the layers of a net during its training, one record per seed."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from diffstab.l2.kinks import stationarity
from diffstab.l2.network import draw_weights
from diffstab.l2.problem import L2Problem
from diffstab.results import Provenance, RecordStore, canonical_json, provenance, write_atomically
from diffstab.training.command_line import add_data_module, parse_experiment
from diffstab.training.l2.force_trace import Layers, State, layer_numbers, layers_of, net_numbers, states
from diffstab.training.l2.forces_experiment import ForcesExperiment
from diffstab.training.l2.points import Points, load_points
from diffstab.training.running import limited_threads, open_grid, progress_bar

GRID_KEYS = ("seeds", "threads")
PICTURES = "snapshots"
"""Folder, beside the records, of one file of arrays per seed."""


def forces_during_training(
    experiment: ForcesExperiment, folder: str | Path, *, console: Console | None = None
) -> Path:
    """Train and measure the seeds of an experiment that have no record yet.

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
    # The data are asked for before the folder is made: bad data options leave nothing behind.
    experiment.problem(_points(experiment, experiment.seeds[0]))
    store = RecordStore(folder, experiment.resolved(), grid_keys=GRID_KEYS)
    grid = open_grid(store, experiment.seeds, config_of=lambda seed: {"seed": seed}, console=console)
    (store.folder / PICTURES).mkdir(exist_ok=True)
    origin = provenance()
    with limited_threads(experiment.threads), progress_bar(console, len(grid.missing)) as shown:
        for seed in grid.missing:
            shown.describe(f"n={experiment.n_train} seed={seed}")
            row, arrays = run_seed(experiment, seed, _points(experiment, seed), origin=origin)
            # The arrays go first: a record says that they are there.
            _write_arrays(store.folder / PICTURES / f"{grid.keys[seed]}.npz", arrays)
            grid.write(seed, row)
            shown.advance()
    return store.folder


def run_seed(
    experiment: ForcesExperiment, seed: int, points: Points, *, origin: Provenance
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the record and the pictured arrays of one seed.

    Columns that start with `trace_` hold a number per recorded state; those of a layer end in its number l = 1 ... L.

    Args:
        experiment: Configuration.
        seed: Of the points and the initial weights.
        points: The points of this seed.
        origin: Commit, versions and hardware of the process that runs it.
    """
    started, clock = datetime.now(UTC), time.perf_counter()
    problem = experiment.problem(points)
    trace, arrays, end = _followed(experiment, problem, seed, points.labels)
    distance = stationarity(problem, end.weights)
    row = {
        "kind": "forces",
        "dataset": points.name,
        "n_train": experiment.n_train,
        "seed": seed,
        "hidden_widths": list(experiment.hidden),
        "tolerance": experiment.tolerance,
        "tikhonov": experiment.tikhonov,
        "aligned_deg": experiment.aligned_deg,
        **{name: values[-1] for name, values in trace.items()},
        "stationarity": distance.relative,
        "converged": distance.relative <= experiment.descent.stationary,
        "kinks": distance.kinks,
        **{f"trace_{name}": values for name, values in trace.items()},
        "wall_seconds": time.perf_counter() - clock,
        "started_at": started.isoformat(timespec="seconds"),
        "config": canonical_json({**experiment.resolved(), "cell": {"seed": seed}}),
        **origin,
    }
    return row, arrays


def _followed(
    experiment: ForcesExperiment, problem: L2Problem, seed: int, labels: Tensor | None
) -> tuple[dict[str, list[Any]], dict[str, np.ndarray], State]:
    """Train a net; return the numbers of all its states, the arrays of the pictured ones, and the last."""
    generator = torch.Generator().manual_seed(seed)
    start = draw_weights(problem, experiment.hidden, generator=generator, gain=experiment.descent.gain)
    trace: dict[str, list[Any]] = {}
    arrays = {} if labels is None else {"labels": labels.numpy()}
    for state in states(problem, start, experiment):
        layers = layers_of(problem, state.weights, inverse=experiment.inverse)
        for name, value in state_numbers(problem, state, layers, experiment, labels).items():
            trace.setdefault(name, []).append(value)
        if state.stage in ("start", "gd") and state.step in experiment.snapshots:
            arrays |= snapshot_arrays(layers, f"step{state.step}")
    return trace, arrays | snapshot_arrays(layers, f"step{state.step}"), state


def state_numbers(
    problem: L2Problem, state: State, layers: Layers, experiment: ForcesExperiment, labels: Tensor | None
) -> dict[str, Any]:
    """Return the measured numbers of a state under the names of their columns."""
    numbers: dict[str, Any] = {"step": float(state.step), "stage": state.stage}
    numbers |= net_numbers(problem, state.weights, layers, inverse=experiment.inverse)
    rows = layer_numbers(problem, state.weights, layers, experiment=experiment, labels=labels)
    for layer, row in enumerate(rows, start=1):
        numbers |= {f"{name}_{layer}": value for name, value in row.items()}
    return numbers


def snapshot_arrays(layers: Layers, name: str) -> dict[str, np.ndarray]:
    """Return the hidden layers of a state for pictures, in single precision: Z, attraction and repulsion of each."""
    arrays: dict[str, np.ndarray] = {}
    for layer, (z, found) in enumerate(
        zip(layers.representations[:-1], layers.forces, strict=False), start=1
    ):
        matrices = {"z": z, "attraction": found.attraction, "repulsion": found.repulsion}
        arrays |= {f"{name}_{what}{layer}": matrix.float().numpy() for what, matrix in matrices.items()}
    return arrays


def _write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write_atomically(path, buffer.getvalue())


def _points(experiment: ForcesExperiment, seed: int) -> Points:
    return load_points(
        experiment.data, n_train=experiment.n_train, seed=seed, cost=experiment.cost, dtype=torch.float64
    )


def main(args: Sequence[str]) -> int:
    """Parse the options of `diffstab forces`, run it, and print where the results are."""
    experiment, folder = parse(args)
    forces_during_training(experiment, folder)
    Console().print(f"Results in {folder}. Next: diffstab report {folder}", highlight=False, soft_wrap=True)
    return 0


def parse(args: Sequence[str]) -> tuple[ForcesExperiment, Path]:
    """Return the experiment and the results folder that command-line arguments ask for.

    The folder is `--results`, or `results/forces_` and the name of the config file.

    Raises:
        ArgumentError: If an option or a value is wrong.
    """
    return parse_experiment(
        args,
        ForcesExperiment,
        program="diffstab forces",
        about="Train a net and record the forces on its representations; recorded seeds are skipped.",
        part="data",
        add_part=lambda parser: add_data_module(parser, ForcesExperiment().data),
        prefix="forces_",
    )
