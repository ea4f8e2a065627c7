"""`diffstab forces`: attraction and repulsion of the layers of a net during its training, one record per seed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.experiments.force_trace import Layers, NetState, layer_numbers, layers_of, net_numbers, states
from diffstab.experiments.l2_points import L2Experiment, ProblemPoints, one_point
from diffstab.experiments.unit import Axis, Cell, Workplace
from diffstab.l2.forces import AT_REST
from diffstab.l2.inverse import Inverse
from diffstab.l2.kinks import stationarity
from diffstab.l2.network import draw_weights
from diffstab.l2.problem import L2Problem
from diffstab.results import write_arrays
from diffstab.streams import stream

PICTURES = "snapshots"
"""Folder, beside the records, of one file of arrays per seed."""


@dataclass(frozen=True)
class ForcesExperiment(L2Experiment):
    """Follow attraction and repulsion in L2-regularised nets during training.

    Training has three stages: full-batch gradient descent with a line search, whose first steps are the pictured ones;
    Adam; and the finish of `descent`, to a stationary point.

    Args:
        n_train: Number of training points.
        hidden: n_1 ... n_{L-1}, the widths of the hidden layers; the depth L is one more than their number.
        gd_steps: Steps of gradient descent.
        snapshots: Steps of gradient descent, 0 among them or not, at which the layers are kept for pictures; the end
            of training always is.
        tolerance: Singular values of an activation matrix below this share of its largest count as zero in the
            pseudo-inverses, > 0. Neurons that die or align leave small ones, which no force should be divided by.
        tikhonov: e >= 0: K^+ becomes (K + e I)^{-1}.
        aligned_deg: Neurons within this angle, seen from the origin, count as on one ray.

    Raises:
        ArgumentError: If a list is empty or a value is out of range.
    """

    name = "forces"
    kind = "forces"
    axes = (Axis("seeds", "seed", "seed", least=0),)
    prepared_from = ("data", "n_train", "cost", "accelerator", "devices")
    folder_prefix = "forces_"
    curve = "n_train"
    measures = ("loss", "squared_norm", "stationarity")

    data: dict[str, Any] = field(
        default_factory=lambda: {"class_path": "datamodules.Digits", "init_args": {"labels": "classes"}}
    )
    n_train: int = 60
    hidden: list[int] = field(default_factory=lambda: [20, 20])
    cost: str = "cross_entropy"
    gd_steps: int = 1000
    snapshots: list[int] = field(default_factory=lambda: [0, 64])
    tolerance: float = 1e-3
    tikhonov: float = 0.0
    aligned_deg: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.hidden:
            raise ArgumentError("hidden", "not be empty", self.hidden)
        self.check_least(n_train=1, gd_steps=0, threads=1)
        steps = self.snapshots
        if steps != sorted(set(steps)) or not all(0 <= step <= self.gd_steps for step in steps):
            raise ArgumentError("snapshots", f"rise from 0 or above to gd_steps = {self.gd_steps}", steps)
        if not 0 < self.tolerance < 1:
            raise ArgumentError("tolerance", "lie in (0, 1)", self.tolerance)
        if not 1e-5 <= self.aligned_deg < 90:
            raise ArgumentError("aligned_deg", "lie in [1e-5, 90)", self.aligned_deg)
        if not (self.penalty > 0 and math.isfinite(self.penalty)):
            raise ArgumentError(
                "penalty", "be positive and finite", self.penalty, "Both forces scale with it."
            )
        Inverse(self.tolerance, self.tikhonov)
        # What no problem can be made of, on one point, before any data are read.
        self.problem(one_point(self.cost)).widths(self.hidden)

    @property
    def layers(self) -> int:
        """The number of weight matrices."""
        return len(self.hidden) + 1

    @property
    def inverse(self) -> Inverse:
        """How the pseudo-inverses behind the forces are computed."""
        return Inverse(self.tolerance, self.tikhonov)

    def begin(self, folder: Path) -> None:
        """Make the folder of the pictured arrays."""
        (folder / PICTURES).mkdir(exist_ok=True)

    def run(self, cell: Cell, shared: ProblemPoints, workplace: Workplace) -> dict[str, Any]:
        """Train a net and measure the forces; the pictured arrays go to a file of their own.

        Columns that start with `trace_` hold a number per recorded state; those of a layer end in its number
        l = 1 ... L.
        """
        problem = self.problem(shared)
        trace, arrays, end = _followed(self, problem, cell["seed"], shared.labels)
        distance = stationarity(problem, end.weights)
        write_arrays(workplace.folder / PICTURES / f"{workplace.keys[cell]}.npz", **arrays)
        return {
            "dataset": shared.name,
            "n_train": self.n_train,
            "hidden_widths": list(self.hidden),
            "tolerance": self.tolerance,
            "tikhonov": self.tikhonov,
            "aligned_deg": self.aligned_deg,
            **{name: values[-1] for name, values in trace.items()},
            "stationarity": distance.relative,
            "converged": distance.relative <= min(AT_REST, self.descent.stationary),
            "kinks": distance.kinks,
            **{f"trace_{name}": values for name, values in trace.items()},
        }


def _followed(
    experiment: ForcesExperiment, problem: L2Problem, seed: int, labels: Tensor | None
) -> tuple[dict[str, list[Any]], dict[str, np.ndarray], NetState]:
    """Train a net; return the numbers of all its states, the arrays of the pictured ones, and the last."""
    generator = stream(seed, "weights under forces")
    start = draw_weights(problem, experiment.hidden, generator=generator, gain=experiment.descent.gain)
    trace: dict[str, list[Any]] = {}
    arrays = {} if labels is None else {"labels": labels.cpu().numpy()}
    for state in states(problem, start, experiment):
        layers = layers_of(problem, state.weights, inverse=experiment.inverse)
        for name, value in state_numbers(problem, state, layers, experiment, labels).items():
            trace.setdefault(name, []).append(value)
        if state.stage in ("start", "gd") and state.step in experiment.snapshots:
            arrays |= snapshot_arrays(layers, f"step{state.step}")
    return trace, arrays | snapshot_arrays(layers, f"step{state.step}"), state


def state_numbers(
    problem: L2Problem, state: NetState, layers: Layers, experiment: ForcesExperiment, labels: Tensor | None
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
    hidden = enumerate(zip(layers.representations[:-1], layers.forces[:-1], strict=True), start=1)
    return {
        f"{name}_{what}{layer}": matrix.float().cpu().numpy()
        for layer, (z, found) in hidden
        for what, matrix in (("z", z), ("attraction", found.attraction), ("repulsion", found.repulsion))
    }
