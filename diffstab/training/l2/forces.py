"""`diffstab forces`: attraction and repulsion of the layers of a net during its training, one record per seed."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from diffstab.l2.forces import AT_REST
from diffstab.l2.kinks import stationarity
from diffstab.l2.network import draw_weights
from diffstab.l2.problem import L2Problem
from diffstab.results import Provenance, canonical_json, write_atomically
from diffstab.streams import stream
from diffstab.training.command_line import add_data_module, parse_experiment
from diffstab.training.grid import Asked, GridCommand, Report, run_grid
from diffstab.training.l2.force_trace import Layers, State, layer_numbers, layers_of, net_numbers, states
from diffstab.training.l2.forces_experiment import ForcesExperiment
from diffstab.training.l2.points import Points, load_points

PICTURES = "snapshots"
"""Folder, beside the records, of one file of arrays per seed."""


class Forces(GridCommand[ForcesExperiment, int]):
    """The command: one run per seed."""

    name = "forces"
    grid_keys = ("seeds", "threads")

    def parse(self, args: Sequence[str]) -> Asked[ForcesExperiment]:
        """Return what command-line arguments ask for; the folder is `results/forces_` and the config file's name."""
        return parse_experiment(
            args,
            ForcesExperiment,
            program="diffstab forces",
            about="Train a net and record the forces on its representations; recorded seeds are skipped.",
            part="data",
            add_part=lambda parser: add_data_module(parser, ForcesExperiment().data),
            prefix="forces_",
        )

    def batches(self, experiment: ForcesExperiment) -> Iterator[tuple[int, ...]]:
        """Yield each seed alone."""
        return ((seed,) for seed in experiment.seeds)

    def cell_config(self, experiment: ForcesExperiment, cell: int) -> dict[str, Any]:
        """Return the seed under its name."""
        return {"seed": cell}

    def label(self, batch: tuple[int, ...]) -> str:
        """Return the seed."""
        return f"seed={batch[0]}"

    def check(self, experiment: ForcesExperiment) -> None:
        """Refuse data that no problem can be made of."""
        experiment.problem(_points(experiment, experiment.seeds[0]))

    def begin(self, experiment: ForcesExperiment, folder: Path) -> None:
        """Make the folder of the pictured arrays."""
        (folder / PICTURES).mkdir(exist_ok=True)

    def run(
        self,
        experiment: ForcesExperiment,
        batch: tuple[int, ...],
        *,
        folder: Path,
        keys: Mapping[int, str],
        origin: Provenance,
        report: Report,
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Train a net and measure the forces; the pictured arrays go to a file of their own."""
        for seed in batch:
            row, arrays = run_seed(experiment, seed, _points(experiment, seed), origin=origin)
            # The arrays go first: a record says that they are there.
            _write_arrays(folder / PICTURES / f"{keys[seed]}.npz", arrays)
            yield seed, row


def forces_during_training(
    experiment: ForcesExperiment, folder: str | Path, *, console: Console | None = None
) -> Path:
    """Train and measure the seeds of an experiment that have no record yet; see `run_grid`."""
    return run_grid(Forces(), experiment, folder, console=console)


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
        "converged": distance.relative <= min(AT_REST, experiment.descent.stationary),
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
    generator = stream(seed, "weights under forces")
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
