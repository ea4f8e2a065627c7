"""`diffstab leaky`: the Hamiltonian that the layers of a leaky ResNet keep, and how its drift falls with the depth."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from diffstab.errors import ArgumentError
from diffstab.experiments.l2_points import L2Experiment, ProblemPoints, one_point, prediction_error
from diffstab.experiments.unit import Axis, Cell, Workplace
from diffstab.l2.descent import DescentSettings, descend
from diffstab.l2.leaky import LeakyNets
from diffstab.streams import stream


@dataclass(frozen=True)
class LeakyExperiment(L2Experiment):
    """Train L2-regularised leaky ResNets of rising depth and measure the Hamiltonian along their layers.

    The shallowest net is drawn and trained by Adam and the finish; each deeper one begins from the one before, every
    layer cut into thinner ones, and is trained by the finish alone: one minimum is followed to many layers.

    Args:
        depths: Numbers of layers L.
        restarts: Draws of the shallowest net.
        n_train: Number of training points.
        width: Of all layers.
        effective_depth: L~, the rate at which a layer forgets; at most the least depth.
        rank_tolerance: A singular value of the representations counts from this share of the largest on.

    Raises:
        ArgumentError: If a list is empty or a value is out of range.
    """

    name = "leaky"
    kind = "leaky"
    axes = (
        Axis("seeds", "seed", "seed", least=0),
        Axis("depths", "layers", "L", least=1, is_place=False, is_rising=True),
        Axis("restarts", "restart", "restart", is_place=False),
    )
    together = True
    folder_prefix = "leaky_"
    curve = "layers"
    measures = ("hamiltonian_drift", "hamiltonian", "stationarity", "loss")

    depths: list[int] = field(default_factory=lambda: [8, 16, 32])
    restarts: int = 3
    n_train: int = 40
    width: int = 15
    effective_depth: float = 3.0
    activation: str = "softplus"
    rank_tolerance: float = 1e-3
    descent: DescentSettings = field(
        default_factory=lambda: DescentSettings(adam_steps=3000, finish_steps=3000, tolerance=1e-7)
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_least(n_train=1, width=1)
        if not 0 < self.rank_tolerance < 1:
            raise ArgumentError("rank_tolerance", "lie in (0, 1)", self.rank_tolerance)
        if self.penalty <= 0:
            raise ArgumentError("penalty", "be positive", self.penalty)
        self._nets(one_point(self.cost), min(self.depths))

    @property
    def layers(self) -> int:
        """Of the problem, which is data, cost and penalty here."""
        return 1

    def run_together(
        self, cells: Sequence[Cell], shared: ProblemPoints, workplace: Workplace
    ) -> Iterator[tuple[Cell, dict[str, Any]]]:
        """Train the draws of a seed together, from the least depth to the largest."""
        # Independent of one another but for rounding, as an axis of one array.
        nets = self._nets(shared, min(self.depths))
        flats = [
            nets.draw(generator=stream(cells[0]["seed"], "leaky net", draw), gain=self.descent.gain).flat
            for draw in range(self.restarts)
        ]
        nets.flat, settings = torch.cat(flats), self.descent
        for layers in sorted(self.depths):
            clock = time.perf_counter()
            nets = nets if layers == nets.layers else nets.refined(layers)
            found = descend(nets, settings)
            nets.flat, settings = found.points, replace(self.descent, adam_steps=0)
            seconds = time.perf_counter() - clock
            for cell in (cell for cell in cells if cell["layers"] == layers):
                yield cell, {**self._columns(nets, shared, cell["restart"]), "train_seconds": seconds}

    def _nets(self, points: ProblemPoints, layers: int) -> LeakyNets:
        width, rate = self.width, self.effective_depth
        return LeakyNets(self.problem(points), layers=layers, width=width, effective_depth=rate)

    def _columns(self, nets: LeakyNets, points: ProblemPoints, index: int) -> dict[str, Any]:
        flat, motion, problem = nets.flat[index : index + 1], nets.motion(index), nets.problem
        values = torch.linalg.svdvals(motion.positions)
        ranks = (values > self.rank_tolerance * values[:, :1]).sum(1)
        cost, loss, _ = nets.evaluate(flat)
        columns = {
            "dataset": points.name,
            "loss": float(loss),
            "cost": float(cost),
            "squared_norm": float(flat.square().sum()),
            "stationarity": motion.stationarity,
            "hamiltonian": float(motion.hamiltonian.mean()),
            "hamiltonian_drift": motion.drift,
            "kinetic_energy": float(nets.parts(flat)[1].square().sum() / 2),
            "least_rank": int(ranks.min()),
            "hamiltonian_by_layer": motion.hamiltonian.tolist(),
            "rank_by_layer": ranks.double().tolist(),
            "train_error": prediction_error(
                nets.outputs(flat, problem.inputs)[0], points.targets, points.labels
            ),
        }
        if points.test_inputs is not None and points.test_targets is not None:
            outputs = nets.outputs(flat, points.test_inputs)[0]
            columns["test_error"] = prediction_error(outputs, points.test_targets, points.test_labels)
        return columns
