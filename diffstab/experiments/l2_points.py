"""What the experiments on L2-regularised nets share: settings, and a data module's draw as columns of `diffstab.l2`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional

from diffstab.errors import ArgumentError
from diffstab.experiments.classes import build_data
from diffstab.experiments.unit import DATA_MODULE, Cell, Experiment, prepared
from diffstab.l2.descent import DescentSettings
from diffstab.l2.problem import COSTS, L2Problem
from diffstab.l2.reduction import reduced_inputs
from diffstab.training.devices import Devices


class ProblemPoints(NamedTuple):
    """Training and test points, one per column.

    Attributes:
        name: Name of the data set.
        inputs: X in a basis of its span, shape (rank, N).
        targets: (n_L, N) for mse, one-hot where points have classes; (N,) int64 for cross-entropy.
        test_inputs: In the same basis, shape (rank, M); None without a test split.
        test_targets: (n_L, M) or (M,); None without a test split.
        labels: Class of each training point, (N,) int64; None where there are no classes.
        test_labels: (M,) int64; None without classes or test split.
        classes: Number of classes; None where there are none.
        plateau_width: Known start of the plateau at depth 2 without bias, or None.
        plateau_cost: Known norm there, or None.
    """

    name: str
    inputs: Tensor
    targets: Tensor
    test_inputs: Tensor | None
    test_targets: Tensor | None
    labels: Tensor | None
    test_labels: Tensor | None
    classes: int | None
    plateau_width: int | None
    plateau_cost: float | None

    def to(self, device: torch.device) -> ProblemPoints:
        """Return the same points on a device."""
        parts = (part.to(device) if isinstance(part, Tensor) else part for part in self)
        return ProblemPoints(*cast("Any", parts))


def load_points(
    choice: dict[str, Any], *, n_train: int, seed: int, cost: str, dtype: torch.dtype
) -> ProblemPoints:
    """Draw the points of a data module.

    Inputs are given in coordinates of the span of the training inputs, where a net has the same minima
    (`diffstab.l2.reduction`).

    Args:
        choice: "class_path" and "init_args" of a data module of images or of a `RegressionDataModule`.
        n_train: Number of training points.
        seed: Seed of the draw.
        cost: "mse" or "cross_entropy"; the latter needs classes.
        dtype: Floating type of the points.

    Returns:
        The points.

    Raises:
        ArgumentError: If the data module does not exist, holds other data, or has no classes for cross-entropy.
        DataError: If the data are missing or damaged.
    """
    if cost not in COSTS:
        raise ArgumentError("cost", f"be one of {', '.join(COSTS)}", repr(cost))
    data = build_data(choice, n_train=n_train, seed=seed)
    if hasattr(data, "train_images"):
        splits = [(data.train_images, data.train_labels), (data.test_images, data.test_labels)]
        classes = None if data.train_labels.is_floating_point() else data.n_classes
    elif hasattr(data, "train_inputs"):
        splits = [(data.train_inputs, data.train_targets), (data.test_inputs, data.test_targets)]
        classes = None
    else:
        condition = "name a data module with train_images or train_inputs"
        raise ArgumentError("data.class_path", condition, repr(choice["class_path"]))
    if cost == "cross_entropy" and classes is None:
        way_out = "Image data give them with labels: classes; otherwise take cost: mse."
        raise ArgumentError("data", "have classes for cross_entropy", repr(data.name), way_out)
    (inputs, labels), (test_inputs, test_labels) = splits
    reduced, basis = reduced_inputs(_columns(inputs))
    has_test = test_inputs is not None
    return ProblemPoints(
        name=data.name,
        inputs=reduced.to(dtype),
        targets=_targets(labels, classes, cost, dtype),
        test_inputs=(basis.T @ _columns(test_inputs)).to(dtype) if has_test else None,
        test_targets=_targets(test_labels, classes, cost, dtype) if has_test else None,
        labels=None if classes is None else labels,
        test_labels=None if classes is None or not has_test else test_labels,
        classes=classes,
        plateau_width=getattr(data, "plateau_width", None),
        plateau_cost=getattr(data, "plateau_cost", None),
    )


def one_point(cost: str) -> ProblemPoints:
    """Return a single point, on which settings are checked before any data are read."""
    place = torch.ones(1, 1, dtype=torch.float64)
    target = torch.zeros(1, dtype=torch.int64) if cost == "cross_entropy" else place
    return ProblemPoints("", place, target, None, None, None, None, 2, None, None)


def prediction_error(outputs: Tensor, targets: Tensor, labels: Tensor | None) -> float:
    """Return the share of points whose largest output is not their class; without classes the mean of |z - y|^2."""
    if labels is not None:
        return float((outputs.argmax(0) != labels).double().mean())
    return float((outputs - targets).square().sum(0).mean())


def _columns(rows: Tensor) -> Tensor:
    """Return points (N, ...) as columns (n_0, N) in float64."""
    return rows.flatten(1).double().T.contiguous()


def _targets(labels: Tensor, classes: int | None, cost: str, dtype: torch.dtype) -> Tensor:
    if classes is None:
        return labels.reshape(len(labels), -1).T.to(dtype).contiguous()
    if cost == "cross_entropy":
        return labels
    return functional.one_hot(labels, classes).T.to(dtype).contiguous()


@dataclass(frozen=True)
class L2Experiment(Experiment):
    """A kind of experiment on L2-regularised nets; a subclass has a field or an axis `n_train`.

    Args:
        data: Data module: "class_path" and "init_args", without n_train and seed.
        seeds: Each draws the points and the initial weights.
        cost: "mse" (|z - y|^2 / 2; classes become one-hot targets) or "cross_entropy"; a mean over the points.
        penalty: lambda > 0.
        bias: b >= 0, the amount of bias.
        activation: "relu", "linear" or "softplus".
        descent: How weights are trained: Adam and the finish, and the gain of the initial weights.
        threads: Of linear algebra; None leaves torch's choice.
        accelerator: Where nets are trained, as in Lightning: "cpu", "gpu", "auto".
        devices: One device: 1, or a list of its number.
    """

    free: ClassVar[tuple[str, ...]] = ("threads", "accelerator", "devices")
    class_option = DATA_MODULE

    data: dict[str, Any] = field(default_factory=lambda: {"class_path": "datamodules.TeacherNetwork"})
    seeds: list[int] = field(default_factory=lambda: [0])
    cost: str = "mse"
    penalty: float = 1e-3
    bias: float = 1.0
    activation: str = "relu"
    descent: DescentSettings = field(default_factory=DescentSettings)
    threads: int | None = None
    accelerator: str = "cpu"
    devices: int | str | list[int] = 1

    @property
    def layers(self) -> int:
        """The number of weight matrices."""
        raise NotImplementedError

    @property
    def torch_dtype(self) -> torch.dtype:
        """The floating type of points and weights."""
        return torch.float64

    def problem(self, points: ProblemPoints) -> L2Problem:
        """Return what is minimised on the points."""
        options = {name: getattr(self, name) for name in ("cost", "penalty", "bias", "activation")}
        classes = points.classes if self.cost == "cross_entropy" else None
        return L2Problem(points.inputs, points.targets, depth=self.layers, classes=classes, **options)

    def prepare(self, place: Cell) -> ProblemPoints:
        """Draw the points of a size and seed."""
        n_train = place.get("n_train", self.n_train)  # type: ignore[attr-defined]  # of the subclass
        seed, dtype = place["seed"], self.torch_dtype
        points = load_points(self.data, n_train=n_train, seed=seed, cost=self.cost, dtype=dtype)
        return points.to(Devices(self.accelerator, self.devices).place(self.torch_dtype))

    def check_data(self) -> None:
        """Refuse data that no problem can be made of."""
        *_, cell = self.cells()
        self.problem(prepared(self, self.place(cell)))
