"""`diffstab sphere curve`: learning curves of lazy and feature predictors on the sphere."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from diffstab.errors import ArgumentError
from diffstab.experiments.classes import described_class
from diffstab.experiments.more_seeds import check_more_seeds, plain_more_seeds
from diffstab.experiments.sphere_fits import (
    KERNELS,
    REGIMES,
    Draw,
    averaged_columns,
    error_columns,
    fit,
    picture_columns,
    power_columns,
    rotation_columns,
    theory_columns,
)
from diffstab.experiments.unit import Axis, Cell, ClassOption, Experiment, Workplace
from diffstab.solvers.sphere_net import FLOWS, SphereTraining
from diffstab.sphere.points import uniform_points
from diffstab.sphere.targets import Target, TeacherTarget
from diffstab.stability import rotate_towards
from diffstab.streams import stream
from diffstab.training.devices import Devices


def build_target(choice: dict[str, Any]) -> Target:
    """Return the target that a description names.

    Args:
        choice: "class_path" of a `Target` and, optionally, its "init_args".

    Raises:
        ArgumentError: If the class does not exist, is no target or does not take an argument.
    """
    cls, options = described_class(choice, argument="targets")
    if not issubclass(cls, Target):
        raise ArgumentError("targets.class_path", "name a target of diffstab.sphere", choice["class_path"])
    try:
        return cls(**options)
    except TypeError as error:
        raise ArgumentError("targets.init_args", f"be arguments of {cls.__name__}", error) from error


@dataclass(frozen=True)
class SphereMethod:
    """One way to get a predictor from points and values.

    Args:
        predictor: "ntk" or "random_features" (kernel regression, lazy), "exact" (the minimal-norm network, solved)
            or "trained" (the same by training).
        ridge: Of the lazy predictors, added to the diagonal of the kernel; 0 interpolates.
        penalty: Of "exact": lambda in 1/(2n) sum (y - f)^2 + lambda |gamma|; 0 interpolates.
        tolerance: Of "exact": certified relative gap to reach.
        training: Of "trained": rule, width, penalty and stop rule; its seed and the run's together draw the start.
        penalties: Of "exact" and "trained": penalties of single dimensions, by d, in place of the one above.
        largest_n_train: No run on more training points than these, as methods differ in cost; None for no bound.
        most_draws: At each size no more draws than these, those of the first seeds: methods differ in scatter too.

    Raises:
        ArgumentError: If a value is out of range.
    """

    predictor: str = "ntk"
    ridge: float = 0.0
    penalty: float = 0.0
    tolerance: float = 1e-4
    training: SphereTraining = field(default_factory=SphereTraining)
    penalties: dict[int, float] = field(default_factory=dict)
    largest_n_train: int | None = None
    most_draws: int | None = None

    def __post_init__(self) -> None:
        if self.predictor not in REGIMES:
            condition = f"be one of {', '.join(REGIMES)}"
            raise ArgumentError("methods.*.predictor", condition, repr(self.predictor))
        for name in ("ridge", "penalty"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ArgumentError(f"methods.*.{name}", "be finite and at least 0", getattr(self, name))
        if not 0 < self.tolerance < 1:
            raise ArgumentError("methods.*.tolerance", "lie strictly between 0 and 1", self.tolerance)
        for name in ("largest_n_train", "most_draws"):
            if (most := getattr(self, name)) is not None and most < 1:
                raise ArgumentError(f"methods.*.{name}", "be at least 1", most)
        if self.penalties and self.predictor in KERNELS:
            raise ArgumentError("methods.*.penalties", "be left out of lazy predictors", self.penalties)
        for dimension in self.penalties:
            self.at(dimension)

    def at(self, dimension: int) -> SphereMethod:
        """Return the method in d dimensions, with the penalty that it has there.

        Raises:
            ArgumentError: If that is out of range.
        """
        if dimension not in self.penalties:
            return dataclasses.replace(self, penalties={})
        penalty = self.penalties[dimension]
        if self.predictor == "exact":
            return dataclasses.replace(self, penalty=penalty, penalties={})
        return dataclasses.replace(
            self, training=dataclasses.replace(self.training, penalty=penalty), penalties={}
        )

    def takes_part(self, n_train: int, draw: int) -> bool:
        """Return whether there is a run of the method at a size and a draw of it, counted from 1."""
        return n_train <= (self.largest_n_train or math.inf) and draw <= (self.most_draws or math.inf)

    @property
    def regime(self) -> str:
        """Which regime the predictor stands for: lazy or feature."""
        return REGIMES[self.predictor]


def default_methods() -> dict[str, SphereMethod]:
    """The exact lazy predictor beside the exact feature one."""
    return {"lazy_ntk": SphereMethod(), "feature_exact": SphereMethod(predictor="exact")}


@dataclass(frozen=True)
class SphereExperiment(Experiment):
    """Fit both regimes on the sphere over dimensions, targets, sizes and seeds.

    Args:
        dimensions: d: the points lie on the sphere S^(d-1).
        targets: Functions to learn, each a "class_path" of a `Target` and its "init_args".
        n_train: Numbers of training points.
        seeds: Each draws points, a realisation of the target, and rotations.
        more_seeds: Further seeds of single sizes, by the size.
        methods: Ways to get a predictor, by label.
        n_test: Number of test points. A Gaussian field is drawn at n_train + n_test points together.
        rotation_deg: Angle by which test points are rotated to measure stability, degrees.
        degrees: Largest degree in which the error's power is measured, 0 for none; fewer where their modes are four n.
        spectrum_points: Test points behind an estimated power.
        threads: Threads of linear algebra in a run; with another number results may differ in rounding.
        accelerator: Where trained predictors are trained, as in Lightning: "cpu", "gpu", "auto".
        devices: One device: 1, or a list of its number.

    Raises:
        ArgumentError: If a list is empty, a value is out of range or a target cannot be made.
    """

    name = "sphere curve"
    kind = "sphere"
    axes = (
        Axis("n_train", "n_train", "n", least=1, is_rising=True),
        Axis("dimensions", "dimension", "d", least=2),
        Axis("targets", "target"),
        Axis("seeds", "seed", "seed", least=0),
        Axis("methods", "method", is_place=False),
    )
    free = ("more_seeds", "accelerator", "devices")
    prepared_from = ("targets", "n_test", "rotation_deg")
    class_option = ClassOption("targets", "diffstab.sphere.targets.Target")
    curve = "n_train"
    measures = ("test_error", "drawn_error", "theory_error", "D_rotation", "n_atoms", "gap")

    dimensions: list[int] = field(default_factory=lambda: [3])
    targets: list[dict[str, Any]] = field(
        default_factory=lambda: [{"class_path": "diffstab.sphere.ConstantTarget"}]
    )
    n_train: list[int] = field(default_factory=lambda: [8, 16, 32, 64])
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    more_seeds: dict[int, list[int]] = field(default_factory=dict)
    methods: dict[str, SphereMethod] = field(default_factory=default_methods)
    n_test: int = 10_000
    rotation_deg: float = 10.0
    degrees: int = 200
    spectrum_points: int = 1500
    threads: int = 1
    accelerator: str = "cpu"
    devices: int | str | list[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_more_seeds(self.more_seeds, sizes=self.n_train, seeds=self.seeds)
        self.check_least(n_test=2, degrees=0, spectrum_points=2, threads=1)
        if not 0 < self.rotation_deg <= 180:
            raise ArgumentError("rotation_deg", "lie above 0 and up to 180", self.rotation_deg)
        solved = [label for label, method in self.methods.items() if method.predictor != "trained"]
        if self.accelerator != "cpu" and solved:
            condition = (
                f"be cpu for {', '.join(solved)}: linear systems and programs are solved there in float64"
            )
            raise ArgumentError("accelerator", condition, repr(self.accelerator))
        if len(self.choices) < len(self.targets):
            names = ", ".join(build_target(choice).name for choice in self.targets)
            raise ArgumentError("targets", "have different names", names)

    @cached_property
    def choices(self) -> dict[str, dict[str, Any]]:
        """The description of each target by its name."""
        return {build_target(choice).name: choice for choice in self.targets}

    def values(self, axis: Axis, cell: Mapping[str, Any]) -> Sequence[Any]:
        """Return the values on an axis: names of targets, and the seeds and methods that a size asks for."""
        if axis.name == "target":
            return list(self.choices)
        values = super().values(axis, cell)
        if axis.name == "seed":
            return self._seeds_at(cell["n_train"])
        if axis.name == "method":
            number = self._seeds_at(cell["n_train"]).index(cell["seed"]) + 1
            return [label for label in values if self.methods[label].takes_part(cell["n_train"], number)]
        return values

    def _seeds_at(self, n_train: int) -> list[int]:
        return [*self.seeds, *self.more_seeds.get(n_train, ())]

    def settings(self, cell: Cell) -> dict[str, Any]:
        """Return what tells a run apart: its place in the grid, its target and its method in full."""
        method = self.methods[cell["method"]].at(cell["dimension"])
        settings = dataclasses.asdict(method)
        # Parts of the grid: a larger bound keeps the records that are there. What is not used tells no run apart.
        del settings["largest_n_train"], settings["most_draws"], settings["penalties"]
        if method.predictor != "trained" or method.training.rule not in FLOWS:
            del settings["training"]["weight_tolerance"]
        return {**cell, "target": self.choices[cell["target"]], "settings": settings}

    def resolved(self) -> dict[str, Any]:
        """Return the configuration as plain nested dictionaries."""
        resolved = {**super().resolved(), "more_seeds": plain_more_seeds(self.more_seeds)}
        for method in resolved["methods"].values():
            method["penalties"] = {str(dimension): one for dimension, one in method["penalties"].items()}
        return resolved

    def prepare(self, place: Cell) -> Draw:
        """Draw points and values.

        Training points depend on the seed, d and n; test points and rotations on the seed and d; the realisation of
        the target on the seed, d, n and the target, and is one draw on training and test points together.
        """
        seed, dimension, n_train, name = (place[axis] for axis in ("seed", "dimension", "n_train", "target"))
        target = build_target(self.choices[name])
        train = uniform_points(
            n_train, dimension, generator=stream(seed, "training points", dimension, n_train)
        )
        test = uniform_points(self.n_test, dimension, generator=stream(seed, "test points", dimension))
        realisation = stream(seed, "target", dimension, n_train, name)
        values = target.values(torch.cat([train, test]), generator=realisation)
        generator = stream(seed, "rotations", dimension)
        directions = torch.randn(test.shape, generator=generator, dtype=torch.float64)
        rotated = rotate_towards(test, directions, angle_deg=self.rotation_deg)
        return Draw(target, train, values[:n_train], test, values[n_train:], rotated)

    def run(self, cell: Cell, shared: Draw, workplace: Workplace) -> dict[str, Any]:
        """Fit one method on one draw and measure it."""
        method, clock = self.methods[cell["method"]].at(cell["dimension"]), time.perf_counter()
        device = Devices(self.accelerator, self.devices).place()
        fitted = fit(method, shared, seed=cell["seed"], device=device)
        seconds, target = time.perf_counter() - clock, shared.target
        columns = {
            "dataset": f"{cell['target']}, d = {cell['dimension']}",
            "smoothness": target.smoothness,
            # The predicted exponents hold for targets that no direction stands out in.
            "isotropic": not (isinstance(target, TeacherTarget) and target.coordinates is not None),
            "predictor": method.predictor,
            "regime": method.regime,
            **error_columns(fitted.predict, shared),
            **averaged_columns(method, shared),
            **fitted.columns,
            **rotation_columns(fitted.predict, shared),
            **power_columns(
                method,
                fitted,
                shared,
                largest_degree=self.degrees,
                spectrum_points=self.spectrum_points,
            ),
            **theory_columns(method, shared, largest_degree=self.degrees),
            "rotation_deg": self.rotation_deg,
            "train_seconds": seconds,
        }
        is_drawn = cell["seed"] == self.seeds[0] and cell["dimension"] <= 3
        return {**columns, **(picture_columns(fitted, shared) if is_drawn else {})}
