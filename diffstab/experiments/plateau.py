"""`diffstab plateau`: the least loss of L2-regularised nets against their width."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from diffstab.errors import ArgumentError
from diffstab.experiments.l2_points import L2Experiment, ProblemPoints, one_point
from diffstab.experiments.plateau_minima import OPTIMISERS, find_minima, run_columns
from diffstab.experiments.unit import Axis, Cell, Workplace
from diffstab.l2.frank_wolfe import FrankWolfeSettings
from diffstab.l2.projected import ProjectedSettings


@dataclass(frozen=True)
class PlateauExperiment(L2Experiment):
    """Find the least loss of L2-regularised nets at every width.

    Args:
        n_train: Numbers of training points.
        widths: Of all hidden layers.
        restarts: Initialisations of each width; the best one counts.
        optimisers: "weights" (Adam, then L-BFGS or gradient descent), "shrinking" (the best of the widest nets,
            its most alike neurons merged down to each width and trained on), "representations" (projected gradient) or
            "covariances" (Frank-Wolfe over the cone, which finds its own width).
        penalty: lambda; plays no part with `interpolation`.
        depth: L >= 2, the number of weight matrices.
        interpolation: Minimise the norm of nets that meet the targets, R(X, Y), in place of the penalised loss.
        projected: How representations are descended on.
        frank_wolfe: How the cone of covariances is searched.
        plateau_tolerance: Share of the smallest loss by which a loss of the plateau may lie above it, for the page.
        prune_angle_deg: Neurons within this angle count as aligned.
        dtype: "float64" or "float32".

    Raises:
        ArgumentError: If a list is empty, a value is out of range or options exclude each other.
    """

    name = "plateau"
    kind = "plateau"
    axes = (
        Axis("n_train", "n_train", "n", least=1, is_rising=True),
        Axis("seeds", "seed", "seed", least=0),
        Axis("optimisers", "optimiser"),
        Axis("widths", "width", "width", least=1, is_place=False, is_rising=True),
        Axis("restarts", "restart", "restart", is_place=False),
    )
    free = (*L2Experiment.free, "plateau_tolerance")
    prepared_from = ("data", "cost", "dtype", "accelerator", "devices")
    together = True
    folder_prefix = "plateau_"
    curve = "width"
    measures = ("loss", "cost", "squared_norm", "train_error", "test_error", "pruned_loss")

    n_train: list[int] = field(default_factory=lambda: [100])
    widths: list[int] = field(default_factory=lambda: [1, 2, 3, 4, 6, 8, 12, 16])
    restarts: int = 3
    optimisers: list[str] = field(default_factory=lambda: ["weights"])
    depth: int = 3
    interpolation: bool = False
    projected: ProjectedSettings = field(default_factory=ProjectedSettings)
    frank_wolfe: FrankWolfeSettings = field(default_factory=FrankWolfeSettings)
    plateau_tolerance: float = 0.01
    prune_angle_deg: float = 1.0
    dtype: str = "float64"

    def __post_init__(self) -> None:
        super().__post_init__()
        if set(self.optimisers) - set(OPTIMISERS):
            raise ArgumentError("optimisers", f"be among {', '.join(OPTIMISERS)}", self.optimisers)
        self.check_least(depth=2, threads=1)
        if self.dtype not in ("float32", "float64"):
            raise ArgumentError("dtype", "be float32 or float64", repr(self.dtype))
        if not 0 < self.plateau_tolerance < 1:
            raise ArgumentError("plateau_tolerance", "lie in (0, 1)", self.plateau_tolerance)
        if not 1e-5 <= self.prune_angle_deg < 90:
            raise ArgumentError("prune_angle_deg", "lie in [1e-5, 90)", self.prune_angle_deg)
        self._check_problem()

    def _check_problem(self) -> None:
        """Refuse what no problem can be made of, on one point, before any data are read."""
        problem = self.problem(one_point(self.cost))
        if self.penalty == 0 and not self.interpolation:
            way_out = "The least norm at zero loss is found with interpolation: true."
            raise ArgumentError("penalty", "be positive", self.penalty, way_out)
        if self.interpolation and (self.cost == "cross_entropy" or self.optimisers != ["weights"]):
            condition = "be false but for cost mse and the optimiser weights"
            raise ArgumentError("interpolation", condition, f"{self.cost} and {', '.join(self.optimisers)}")
        for optimiser in {"shrinking", "covariances"} & set(self.optimisers):
            if not problem.is_homogeneous:
                raise ArgumentError("activation", f"be relu or linear for {optimiser}", repr(self.activation))
        if "covariances" in self.optimisers and self.dtype != "float64":
            raise ArgumentError("dtype", "be float64 for covariances", repr(self.dtype))

    @property
    def layers(self) -> int:
        """The number of weight matrices."""
        return self.depth

    @property
    def torch_dtype(self) -> torch.dtype:
        """The floating type of points and weights."""
        return torch.float64 if self.dtype == "float64" else torch.float32

    def values(self, axis: Axis, cell: Mapping[str, Any]) -> Sequence[Any]:
        """Return the values on an axis; the covariances have no width, and shrinking starts once."""
        if axis.name in ("width", "restart") and cell["optimiser"] == "covariances":
            return [0]
        if axis.name == "restart" and cell["optimiser"] == "shrinking":
            return [0]
        return super().values(axis, cell)

    def run_together(
        self, cells: Sequence[Cell], shared: ProblemPoints, workplace: Workplace
    ) -> Iterator[tuple[Cell, dict[str, Any]]]:
        """Train all nets of a place together: what a net is trained beside changes it by rounding."""
        problem, clock = self.problem(shared), time.perf_counter()
        minima = find_minima(self, problem, cells)
        times = {"train_seconds": time.perf_counter() - clock, "runs_together": len(cells)}
        for cell, minimum in zip(cells, minima, strict=True):
            yield cell, {**run_columns(self, cell, shared, problem, minimum), **times}
