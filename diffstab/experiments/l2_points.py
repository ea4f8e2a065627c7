"""A data module's draw as the columns that `diffstab.l2` works on."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional

from diffstab.errors import ArgumentError
from diffstab.experiments.classes import build_data
from diffstab.l2.problem import COSTS, L2Problem
from diffstab.l2.reduction import reduced_inputs


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


def problem_of(settings: Any, points: ProblemPoints, *, depth: int) -> L2Problem:
    """Return what an experiment, of any cost, penalty, bias and activation, minimises on points."""
    options = {name: getattr(settings, name) for name in ("cost", "penalty", "bias", "activation")}
    classes = points.classes if settings.cost == "cross_entropy" else None
    return L2Problem(points.inputs, points.targets, depth=depth, classes=classes, **options)


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
