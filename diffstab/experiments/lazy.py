"""`diffstab lazy`: the exact lazy limit on whole data sets: kernel regression with its test error and stability."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.experiments.classes import build_data
from diffstab.experiments.image_columns import share_columns
from diffstab.experiments.images import StabilityChoice
from diffstab.experiments.unit import DATA_MODULE, Axis, Cell, Experiment, Workplace, prepared
from diffstab.kernels import RidgePath, RidgePathSettings, fit_ridge_path
from diffstab.stability import StabilityReport, layer_stability, to_record
from diffstab.streams import integer_seed

LABELS = ("classes", "parity")
"""What is predicted: the class, by a function per class, or whether its number is even."""

MATRICES = "matrices"
"""Folder, beside the records, of kernel matrices and iterates of runs that have not ended."""

_BATCH = 256
_Stability = Mapping[tuple[float, str], StabilityReport]


@dataclass(frozen=True)
class LazyExperiment(Experiment):
    """Solve for the exact lazy limit on all images of a data set, and measure its test error and stability.

    Args:
        data: Data module: "class_path" and "init_args", without n_train and seed. Its classes are used, whatever its
            labels are.
        n_train: Sizes of the training set.
        seeds: Each draws a training set and deformations.
        depths: Numbers of hidden layers of the infinitely wide relu net.
        ridges: What is added to the diagonal of the kernel matrix, in units of the mean of the diagonal. All are solved
            for at once.
        labels: "classes" and "parity".
        kernel: "ntk", or "random_feature" (only the last layer trained).
        tolerance: Relative residual at which the solver stops.
        max_steps: Most steps of the solver.
        rank: Number of points behind the preconditioner; None is 8 sqrt(n).
        stability: How D, G and R are measured.
        threads: Torch threads; None leaves torch's choice.
        scratch: Folder for the matrix and the iterates of unfinished runs, 2 n^2 bytes (7.2 GB for 60,000 images); None
            is `matrices` in the results folder. Files are removed when a run has ended.

    Raises:
        ArgumentError: If a list is empty or a value is out of range.
    """

    name = "lazy"
    kind = "lazy"
    axes = (
        Axis("n_train", "n_train", "n", least=2, is_rising=True),
        Axis("seeds", "seed", "seed", least=0),
        Axis("depths", "depth", "depth", least=1),
        Axis("ridges", "ridge", "ridge", is_place=False),
        Axis("labels", "labels", is_place=False),
    )
    free = ("threads", "scratch")
    prepared_from = ("data",)
    class_option = DATA_MODULE
    together = True
    folder_prefix = "lazy_"
    curve = "n_train"
    measures = ("test_error", "train_error", "D", "G", "R")

    data: dict[str, Any] = field(default_factory=lambda: {"class_path": "datamodules.Digits"})
    n_train: list[int] = field(default_factory=lambda: [256, 1024])
    seeds: list[int] = field(default_factory=lambda: [0])
    depths: list[int] = field(default_factory=lambda: [1])
    ridges: list[float] = field(default_factory=lambda: [1e-2, 1e-4, 1e-6])
    labels: list[str] = field(default_factory=lambda: list(LABELS))
    kernel: str = "ntk"
    tolerance: float = 1e-4
    max_steps: int = 500
    rank: int | None = None
    stability: StabilityChoice = field(default_factory=StabilityChoice)
    threads: int | None = None
    scratch: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if set(self.labels) - set(LABELS):
            raise ArgumentError("labels", f"be among {', '.join(LABELS)}", self.labels)
        if self.kernel not in ("ntk", "random_feature"):
            raise ArgumentError("kernel", "be ntk or random_feature", repr(self.kernel))
        self.check_least(threads=1)
        self._solver(depth=1, seed=0)

    def _solver(self, *, depth: int, seed: int) -> RidgePathSettings:
        return RidgePathSettings(
            kernel=self.kernel,
            depth=depth,
            ridges=tuple(self.ridges),
            tolerance=self.tolerance,
            max_steps=self.max_steps,
            rank=self.rank,
            seed=seed,
        )

    def check_data(self) -> None:
        """Refuse data that cannot be had."""
        *_, cell = self.cells()
        prepared(self, self.place(cell))

    def prepare(self, place: Cell) -> Any:
        """Load the data of a size and seed."""
        return build_data(self.data, n_train=place["n_train"], seed=place["seed"])

    def run_together(
        self, cells: Sequence[Cell], shared: Any, workplace: Workplace
    ) -> Iterator[tuple[Cell, dict[str, Any]]]:
        """Solve for all ridges and labels of a place at once."""
        place = Path(self.scratch or workplace.folder / MATRICES) / workplace.keys[cells[0]]
        clocks = time.perf_counter(), time.process_time()
        targets = class_targets(shared.train_classes)
        settings = self._solver(depth=cells[0]["depth"], seed=cells[0]["seed"])
        path = fit_ridge_path(
            shared.train_images, targets, settings, folder=place.absolute(), tell=workplace.tell
        )
        spent = {
            "train_seconds": time.perf_counter() - clocks[0],
            "cpu_seconds": time.process_time() - clocks[1],
        }
        outputs = path.predict(shared.test_images)
        measured = self._measured(path, shared, seed=cells[0]["seed"])
        for cell in cells:
            yield (
                cell,
                {"dataset": shared.name, **self._columns(cell, path, outputs, shared, measured), **spent},
            )
        shutil.rmtree(place, ignore_errors=True)

    def _measured(self, path: RidgePath, data: Any, *, seed: int) -> _Stability:
        """D, G and R by ridge and labels, in one pass over the images: all share the rows of the kernel."""
        choice = self.stability
        found = layer_stability(
            path.predict,
            data.test_images[: choice.images],
            partial(_layers, path),
            deform=choice.deform,
            noise=choice.noise,
            fields_per_image=choice.fields_per_image,
            batch_size=_BATCH,
            bootstrap=choice.bootstrap,
            confidence=choice.confidence,
            seed=integer_seed(seed, "deformations of the lazy limit", below=2**63),
        )
        pairs = [(ridge, labels) for ridge in path.ridges for labels in LABELS]
        return dict(zip(pairs, found.values(), strict=True))

    def _columns(
        self, cell: Cell, path: RidgePath, outputs: Tensor, data: Any, measured: _Stability
    ) -> dict[str, Any]:
        ridge, labels = cell["ridge"], cell["labels"]
        at = path.ridges.index(ridge)
        # On training points f = y - ridge a, but for the residual.
        fitted = class_targets(data.train_classes) - path.ridge_values[at] * path.dual[:, at]
        error = _error_rate(outputs[:, at], data.test_classes, labels)
        return {
            **share_columns(error, len(data.test_classes), self.stability.confidence),
            "train_error": _error_rate(fitted, data.train_classes, labels),
            "relative_residual": float(path.residual[at]),
            "exact_residual": float(path.exact_residual[at]),
            "steps": int(path.steps[at]),
            "stability_images": len(data.test_images[: self.stability.images]),
            **to_record(measured[ridge, labels]),
        }


def class_targets(classes: Tensor) -> Tensor:
    """Return the targets (n, C + 1): 1 - 1/C in the class of an image and -1/C elsewhere; last, parity as -1/+1."""
    count = int(classes.max()) + 1
    own = torch.nn.functional.one_hot(classes, count).double() - 1 / count
    return torch.cat([own, _parity(classes)[:, None]], dim=1)


def _parity(classes: Tensor) -> Tensor:
    return 1.0 - 2.0 * (classes % 2).double()


def _outputs(outputs: Tensor, labels: str) -> Tensor:
    """Return the part of the outputs (m, C + 1) that predicts the labels."""
    return outputs[:, :-1] if labels == "classes" else outputs[:, -1:]


def _error_rate(outputs: Tensor, classes: Tensor, labels: str) -> float:
    """Return the share of images with the wrong class, or the wrong sign."""
    part = _outputs(outputs, labels)
    wrong = part.argmax(dim=1) != classes if labels == "classes" else part[:, 0].sign() != _parity(classes)
    return float(wrong.double().mean())


def _layers(path: RidgePath, images: Tensor) -> dict[str, Tensor]:
    outputs = path.predict(images)
    return {
        f"ridge {ridge}, {labels}": _outputs(outputs[:, at], labels)
        for at, ridge in enumerate(path.ridges)
        for labels in LABELS
    }
