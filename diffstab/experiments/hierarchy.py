"""`diffstab hierarchy`: how many strings of a random hierarchy a convolutional net needs, one record per training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from diffstab.errors import ArgumentError
from diffstab.experiments.classes import build_data
from diffstab.experiments.unit import Axis, Cell, Experiment, Workplace
from diffstab.nets import CentredOutput, TreeNet
from diffstab.nets.initial import initial_weights
from diffstab.solvers.optimise import OptimiserSettings
from diffstab.solvers.status import Status
from diffstab.solvers.stopping import StopRule
from diffstab.stability import FeatureMoves, LayerPass, SynonymExchange
from diffstab.streams import integer_seed
from diffstab.tasks import Hierarchy
from diffstab.training.train_net import train_net

DATA = "datamodules.RandomHierarchy"
LETTERS = {"D": "deformation", "G": "noise", "R": "relative"}


def _adam() -> OptimiserSettings:
    stop = StopRule(margin_share=None, loss_bound=0.01, max_steps=20_000)
    return OptimiserSettings(name="adam", learning_rate=2e-3, batch_size=128, stop=stop)


@dataclass(frozen=True)
class HierarchyExperiment(Experiment):
    """Find how many strings of a random hierarchy a convolutional net in the shape of its tree needs.

    Args:
        levels: Values of L, the number of levels.
        synonyms: Values of m, the number of tuples for each class and feature.
        empty: Values of s_0, the number of empty places for each feature; 0 is the dense model.
        multiples: Sizes of the training set in units of n_c m^L (s_0 + 1)^2. Tasks that have not strings enough for the
            largest, beside a quarter for tests, are left out.
        seeds: Each draws the rules, the training strings and the initial weights.
        features: v, the number of features of a level.
        classes: n_c.
        tuple_size: s.
        pool: Number of strings that training sets are drawn from.
        n_test: Number of test strings; errors and sensitivities are measured on them.
        width: Channels of each layer of the net.
        optimiser: How it is trained, on the cross-entropy.
        threads: Of linear algebra; None leaves torch's choice.

    Raises:
        ArgumentError: If a list is empty or a value is out of range.
    """

    name = "hierarchy"
    kind = "hierarchy"
    axes = (
        Axis("levels", "levels", "L", least=1),
        Axis("synonyms", "synonyms", "m", least=2),
        Axis("empty", "empty", "s0", least=0),
        Axis("multiples", "multiple", "multiple", is_rising=True),
        Axis("seeds", "seed", "seed", least=0),
    )
    free = ("threads",)
    curve = "n_train"
    measures = ("test_error", "D_synonyms", "D_moves")

    levels: list[int] = field(default_factory=lambda: [2])
    synonyms: list[int] = field(default_factory=lambda: [4])
    empty: list[int] = field(default_factory=lambda: [0])
    multiples: list[float] = field(default_factory=lambda: [0.25, 0.5, 1.0, 2.0])
    seeds: list[int] = field(default_factory=lambda: [0])
    features: int = 8
    classes: int = 8
    tuple_size: int = 2
    pool: int = 20_000
    n_test: int = 1000
    width: int = 64
    optimiser: OptimiserSettings = field(default_factory=_adam)
    threads: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_least(pool=2, n_test=2, width=1, threads=1)
        for cell in self._along(self.axes[:3], {}):
            self.hierarchy(cell)
        if not min(self.multiples) > 0 or not any(self.cells()):
            condition = "be above 0, and leave a task with strings enough"
            raise ArgumentError("multiples", condition, self.multiples, "Raise pool or the levels.")

    def hierarchy(self, cell: Mapping[str, Any]) -> Hierarchy:
        """Return the rules of a cell; those of seed 0 where it has none yet."""
        sizes = {name: getattr(self, name) for name in ("features", "classes", "tuple_size")}
        own = {name: cell[name] for name in ("levels", "synonyms", "empty")}
        return Hierarchy(**sizes, **own, seed=cell.get("seed", 0))

    def values(self, axis: Axis, cell: Mapping[str, Any]) -> Sequence[Any]:
        """Return the values on an axis; no multiples of a task with too few strings."""
        found = super().values(axis, cell)
        if axis.name != "multiple":
            return found
        rules = self.hierarchy(cell)
        most = min(self.pool, rules.n_strings - rules.n_strings // 4)
        return found if found[-1] * rules.known_size <= most else []

    def run(self, cell: Cell, shared: None, workplace: Workplace) -> dict[str, Any]:
        """Train a net, and measure its test error and sensitivities."""
        rules = self.hierarchy(cell)
        count = max(1, round(cell["multiple"] * rules.known_size))
        data = build_data(self._data(cell), n_train=count, seed=cell["seed"])
        patch = self.tuple_size * (cell["empty"] + 1)
        shape = {"patch": patch, "depth": cell["levels"], "width": self.width}
        with initial_weights(cell["seed"]):
            net = TreeNet(self.features, **shape, out_features=self.classes)
        model, status = train_net(
            net,
            data,
            xi=0.0,
            loss="cross_entropy",
            optimiser=self.optimiser,
            on_progress=lambda now: workplace.tell({"step": now.steps, "loss": now.loss}),
        )
        return {
            "dataset": task_name(rules),
            "n_train": count,
            "known_size": rules.known_size,
            "chance": 1 - 1 / self.classes,
            **_outcome(status),
            **_measured(model, data, rules, seed=cell["seed"]),
        }

    def _data(self, cell: Cell) -> dict[str, Any]:
        sizes = {
            name: getattr(self, name) for name in ("features", "classes", "tuple_size", "pool", "n_test")
        }
        own = {name: cell[name] for name in ("levels", "synonyms", "empty")}
        tests = min(self.n_test, self.hierarchy(cell).n_strings // 4)
        return {
            "class_path": DATA,
            "init_args": {**sizes, **own, "rules_seed": cell["seed"], "n_test": tests},
        }


def task_name(rules: Hierarchy) -> str:
    """Return what a task is called: "L = 2, m = 4", with s₀ where there are empty places."""
    return f"L = {rules.levels}, m = {rules.synonyms}" + (f", s₀ = {rules.empty}" if rules.empty else "")


def _outcome(status: Status) -> dict[str, Any]:
    return {
        "train_error": status.error,
        "loss": status.loss,
        "steps": status.steps,
        "stop_reason": status.reason,
    }


def _measured(model: CentredOutput, data: Any, rules: Hierarchy, *, seed: int) -> dict[str, float]:
    """Test error, and D, G and R of output and layers: under synonyms, and under moves where there is room."""
    changes: dict[str, Any] = {"synonyms": SynonymExchange(hierarchy=rules)}
    if rules.empty:
        changes["moves"] = FeatureMoves(hierarchy=rules)
    layers = {"": ""} | {f"net.layers.{layer}": f"_{layer + 1}" for layer in range(rules.levels)}
    draws = integer_seed(seed, "changes of strings", below=2**63)
    with LayerPass(model, layers=list(layers), deformations=list(changes.values()), seed=draws) as measuring:
        outputs = [
            measuring.update(data.test_images[part], part)
            for part in torch.split(torch.arange(len(data.test_images)), 256)
        ]
    wrong = torch.cat(outputs).argmax(1) != data.test_labels
    numbers = {"test_error": float(wrong.double().mean())}
    for (place, layer), sums in measuring.sums().items():
        name, found = list(changes)[place] + layers[layer], sums.stability()
        numbers |= {f"{letter}_{name}": float(getattr(found, what)) for letter, what in LETTERS.items()}
    return numbers
