"""Regression on the sphere as a LightningDataModule: uniform points, and values of a target."""

import pytorch_lightning as lightning
import torch

from datamodules.batches import TensorBatches
from diffstab.errors import ArgumentError
from diffstab.sphere import ConstantTarget, Target, uniform_points
from diffstab.streams import stream


class SphereRegression(lightning.LightningDataModule):
    """Uniform points on the sphere S^(d-1) with values of a target, drawn by a seed; each split is one batch.

    After `setup()` the splits lie in `train_points`, `test_points` (n, d) float64 unit rows and `train_values`,
    `test_values` (n,). The values are one realisation on both splits together. The validation loader serves the
    test split.

    Args:
        dimension: d, at least 2.
        n_train: Number of training points.
        n_test: Number of test points.
        target: Function to learn; None is the constant 1.
        seed: Seed of points and target, at least 0.

    Raises:
        ArgumentError: If a number is out of range.
    """

    train_points: torch.Tensor
    train_values: torch.Tensor
    test_points: torch.Tensor
    test_values: torch.Tensor

    def __init__(
        self,
        *,
        dimension: int = 3,
        n_train: int = 64,
        n_test: int = 2000,
        target: Target | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        least_values = {
            "dimension": (dimension, 2),
            "n_train": (n_train, 1),
            "n_test": (n_test, 1),
            "seed": (seed, 0),
        }
        for name, (number, least) in least_values.items():
            if number < least:
                raise ArgumentError(name, f"be at least {least}", number)
        self.dimension, self.n_train, self.n_test, self.seed = dimension, n_train, n_test, seed
        self.target = ConstantTarget() if target is None else target

    def setup(self, stage: str | None = None) -> None:
        """Draw points and values. Calling it again changes nothing.

        Args:
            stage: Ignored: both splits are served at every stage.
        """
        if hasattr(self, "train_points"):
            return
        count, generator = self.n_train + self.n_test, stream(self.seed, "points on the sphere")
        points = uniform_points(count, self.dimension, generator=generator)
        values = self.target.values(points, generator=stream(self.seed, "target on the sphere"))
        self.train_points, self.test_points = points[: self.n_train], points[self.n_train :]
        self.train_values, self.test_values = values[: self.n_train], values[self.n_train :]

    def train_dataloader(self) -> TensorBatches:
        """The training split as one batch."""
        return TensorBatches(self.train_points, self.train_values, whole=True)

    def val_dataloader(self) -> TensorBatches:
        """The test split as one batch."""
        return self.test_dataloader()

    def test_dataloader(self) -> TensorBatches:
        """The test split as one batch."""
        return TensorBatches(self.test_points, self.test_values, whole=True)

    def predict_dataloader(self) -> TensorBatches:
        """The test split as one batch."""
        return self.test_dataloader()
