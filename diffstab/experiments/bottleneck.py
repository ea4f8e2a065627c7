"""`diffstab bottleneck`: the rank of the narrowest layer that a deep L2-regularised net finds for itself."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from diffstab.errors import ArgumentError
from diffstab.experiments.l2_points import L2Experiment, ProblemPoints, load_points, one_point
from diffstab.experiments.plateau_minima import error_columns
from diffstab.experiments.unit import Axis, Cell, ClassOption, Workplace
from diffstab.l2.descent import Descended, DescentSettings, train_widths
from diffstab.l2.network import forward
from diffstab.l2.problem import L2Problem
from diffstab.training.devices import Devices

_GIVEN = frozenset({"n_train", "seed", "inner"})


@dataclass(frozen=True)
class BottleneckExperiment(L2Experiment):
    """Train deep L2-regularised nets on functions that pass through few numbers, and count the rank of their layers.

    A function h(g(x)) with `inner` numbers between has bottleneck rank at most `inner`; a deep net of small norm is
    expected to have a layer of that rank (Jacot, "Implicit bias of large depth networks: a notion of rank for nonlinear
    functions", arXiv 2209.15055).

    Args:
        inner: Numbers between g and h, given to the data module.
        restarts: Draws of the weights for each seed.
        n_train: Number of training points.
        depth: L >= 2, the number of weight matrices.
        width: Of all hidden layers.
        rank_tolerance: A singular value of a hidden layer Z_l, centred over the points, counts from this share of the
            layer's largest on.

    Raises:
        ArgumentError: If a list is empty or a value is out of range.
    """

    name = "bottleneck"
    kind = "bottleneck"
    axes = (
        Axis("inner", "inner", "k", least=1, is_rising=True),
        Axis("seeds", "seed", "seed", least=0),
        Axis("restarts", "restart", "restart", is_place=False),
    )
    together = True
    class_option = ClassOption("data", "pytorch_lightning.LightningDataModule", _GIVEN)
    folder_prefix = "bottleneck_"
    curve = "inner"
    measures = ("bottleneck_rank", "test_error", "loss")

    data: dict[str, Any] = field(default_factory=lambda: {"class_path": "datamodules.ComposedTeacher"})
    inner: list[int] = field(default_factory=lambda: [1, 2, 3])
    restarts: int = 1
    n_train: int = 500
    depth: int = 8
    width: int = 20
    penalty: float = 0.01
    rank_tolerance: float = 0.1
    descent: DescentSettings = field(default_factory=lambda: DescentSettings(learning_rate=0.003))

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_least(n_train=1, depth=2, width=1)
        if not 0 < self.rank_tolerance < 1:
            raise ArgumentError("rank_tolerance", "lie in (0, 1)", self.rank_tolerance)
        if self.penalty <= 0:
            raise ArgumentError("penalty", "be positive", self.penalty)
        self.problem(one_point(self.cost))

    @property
    def layers(self) -> int:
        """The number of weight matrices."""
        return self.depth

    def prepare(self, place: Cell) -> ProblemPoints:
        """Draw the points of a function."""
        given = {**self.data.get("init_args", {}), "inner": place["inner"]}
        choice = {**self.data, "init_args": given}
        points = load_points(
            choice, n_train=self.n_train, seed=place["seed"], cost=self.cost, dtype=self.torch_dtype
        )
        return points.to(Devices(self.accelerator, self.devices).place(self.torch_dtype))

    def run_together(
        self, cells: Sequence[Cell], shared: ProblemPoints, workplace: Workplace
    ) -> Iterator[tuple[Cell, dict[str, Any]]]:
        """Train the draws of a place together."""
        problem, clock = self.problem(shared), time.perf_counter()
        seed = cells[0]["seed"]
        found = train_widths(problem, [self.width], restarts=self.restarts, seed=seed, settings=self.descent)
        seconds = time.perf_counter() - clock
        for cell in cells:
            run = found[cell["restart"]]
            errors = error_columns(problem, shared, run.weights)
            yield cell, {**self._columns(run, problem, shared.name), **errors, "train_seconds": seconds}

    def _columns(self, run: Descended, problem: L2Problem, dataset: str) -> dict[str, Any]:
        layers = forward(problem, run.weights)[:-1]
        # What all points share is carried for the bias and tells no points apart.
        values = [torch.linalg.svdvals(layer - layer.mean(1, keepdim=True)) for layer in layers]
        ranks = [int((one > self.rank_tolerance * one[0]).sum()) for one in values]
        narrowest = values[ranks.index(min(ranks))]
        return {
            "dataset": dataset,
            "loss": run.loss,
            "cost": run.cost,
            "squared_norm": run.squared_norm,
            "stationarity": run.stationarity,
            "converged": run.converged,
            "steps": run.steps,
            "bottleneck_rank": min(ranks),
            "rank_by_layer": ranks,
            "singular_values": (narrowest / narrowest[0]).tolist(),
        }
