"""What a learning curve on the sphere is made of: the configuration, checked as it is read."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any, NamedTuple

from diffstab.errors import ArgumentError
from diffstab.sphere.targets import Target
from diffstab.training.experiment import class_at
from diffstab.training.sphere.trained import SphereTraining

KERNELS = {"ntk": "ntk", "random_features": "random_feature"}
"""Lazy predictors and the names of their kernels."""

REGIMES = {"ntk": "lazy", "random_features": "lazy", "exact": "feature", "trained": "feature"}
"""Predictors and what they stand for in tables and figures."""


def build_target(choice: dict[str, Any]) -> Target:
    """Return the target that a description names.

    Args:
        choice: "class_path" of a `Target` and, optionally, its "init_args".

    Raises:
        ArgumentError: If the class does not exist, is no target or does not take an argument.
    """
    unknown = sorted(set(choice) - {"class_path", "init_args"})
    if unknown or "class_path" not in choice:
        raise ArgumentError("targets", "have the keys class_path and, optionally, init_args", sorted(choice))
    cls = class_at(choice["class_path"], argument="targets.class_path")
    if not issubclass(cls, Target):
        raise ArgumentError("targets.class_path", "name a target of diffstab.sphere", choice["class_path"])
    try:
        return cls(**choice.get("init_args") or {})
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
        largest_n_train: No run on more training points than these, as methods differ in cost; None for no bound.

    Raises:
        ArgumentError: If a value is out of range.
    """

    predictor: str = "ntk"
    ridge: float = 0.0
    penalty: float = 0.0
    tolerance: float = 1e-4
    training: SphereTraining = field(default_factory=SphereTraining)
    largest_n_train: int | None = None

    def __post_init__(self) -> None:
        if self.predictor not in REGIMES:
            condition = f"be one of {', '.join(REGIMES)}"
            raise ArgumentError("methods.*.predictor", condition, repr(self.predictor))
        for name in ("ridge", "penalty"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ArgumentError(f"methods.*.{name}", "be finite and at least 0", getattr(self, name))
        if not 0 < self.tolerance < 1:
            raise ArgumentError("methods.*.tolerance", "lie strictly between 0 and 1", self.tolerance)
        if self.largest_n_train is not None and self.largest_n_train < 1:
            raise ArgumentError("methods.*.largest_n_train", "be at least 1", self.largest_n_train)

    @property
    def regime(self) -> str:
        """Which regime the predictor stands for: lazy or feature."""
        return REGIMES[self.predictor]


def default_methods() -> dict[str, SphereMethod]:
    """The exact lazy predictor beside the exact feature one."""
    return {"lazy_ntk": SphereMethod(), "feature_exact": SphereMethod(predictor="exact")}


class Place(NamedTuple):
    """Which points and values a run sees: methods share them."""

    dimension: int
    target: str
    n_train: int
    seed: int


class SphereCell(NamedTuple):
    """One run of the grid."""

    place: Place
    method: str


@dataclass(frozen=True)
class SphereExperiment:
    """Learning curves of methods over dimensions, targets, training-set sizes and seeds.

    Args:
        dimensions: d: the points lie on the sphere S^(d-1).
        targets: Functions to learn, each a "class_path" of a `Target` and its "init_args".
        n_train: Numbers of training points.
        seeds: Each draws points, a realisation of the target, and rotations.
        methods: Ways to get a predictor, by label.
        n_test: Number of test points. A Gaussian field is drawn at n_train + n_test points together.
        rotation_deg: Angle by which test points are rotated to measure stability, degrees.
        degrees: Largest degree in which the error's power is measured; fewer are where their modes are four n.
        spectrum_points: Test points behind an estimated power.
        threads: Threads of linear algebra in a run; with another number results may differ in rounding.

    Raises:
        ArgumentError: If a list is empty, a value is out of range or a target cannot be made.
    """

    dimensions: list[int] = field(default_factory=lambda: [3])
    targets: list[dict[str, Any]] = field(
        default_factory=lambda: [{"class_path": "diffstab.sphere.ConstantTarget"}]
    )
    n_train: list[int] = field(default_factory=lambda: [8, 16, 32, 64])
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    methods: dict[str, SphereMethod] = field(default_factory=default_methods)
    n_test: int = 10_000
    rotation_deg: float = 10.0
    degrees: int = 200
    spectrum_points: int = 1500
    threads: int = 1

    def __post_init__(self) -> None:
        for name in ("dimensions", "targets", "n_train", "seeds", "methods"):
            if not getattr(self, name):
                raise ArgumentError(name, "not be empty", getattr(self, name))
        for name, least in (("dimensions", 2), ("n_train", 1), ("seeds", 0)):
            values = getattr(self, name)
            if min(values) < least or len(set(values)) < len(values):
                raise ArgumentError(name, f"hold different numbers of at least {least}", values)
        least_values = {"n_test": 2, "degrees": 0, "spectrum_points": 2, "threads": 1}
        for name, least in least_values.items():
            if getattr(self, name) < least:
                raise ArgumentError(name, f"be at least {least}", getattr(self, name))
        if not 0 < self.rotation_deg <= 180:
            raise ArgumentError("rotation_deg", "lie above 0 and up to 180", self.rotation_deg)
        if len(self.choices) < len(self.targets):
            names = ", ".join(build_target(choice).name for choice in self.targets)
            raise ArgumentError("targets", "have different names", names)

    @cached_property
    def choices(self) -> dict[str, dict[str, Any]]:
        """The description of each target by its name."""
        return {build_target(choice).name: choice for choice in self.targets}

    def cells(self) -> Iterator[SphereCell]:
        """Yield the runs, smallest training sets first."""
        names = list(self.choices)
        places = product(sorted(self.n_train), self.dimensions, names, self.seeds)
        for n_train, dimension, target, seed in places:
            for label, method in self.methods.items():
                if method.largest_n_train is None or n_train <= method.largest_n_train:
                    yield SphereCell(Place(dimension, target, n_train, seed), label)

    def resolved(self) -> dict[str, Any]:
        """Return the configuration as plain nested dictionaries."""
        return dataclasses.asdict(self)

    def cell_config(self, cell: SphereCell) -> dict[str, Any]:
        """Return what distinguishes a run within the experiment: its place in the grid, its parts in full."""
        settings = dataclasses.asdict(self.methods[cell.method])
        # A part of the grid: a larger bound keeps the records that are there.
        del settings["largest_n_train"]
        target = self.choices[cell.place.target]
        return {**cell.place._asdict(), "method": cell.method, "target": target, "settings": settings}
