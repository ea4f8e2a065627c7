"""The LightningDataModule that regression problems share: matrices in memory, each split one batch."""

from typing import NamedTuple

import pytorch_lightning as lightning
from torch import Tensor

from datamodules.batches import TensorBatches
from diffstab.errors import ArgumentError


class RegressionData(NamedTuple):
    """What a regression problem consists of.

    Attributes:
        train_inputs: (n, n_0) float64, one row per point.
        train_targets: (n, n_L) float64.
        test_inputs: (m, n_0), or None where there is nothing to test on.
        test_targets: (m, n_L), or None.
    """

    train_inputs: Tensor
    train_targets: Tensor
    test_inputs: Tensor | None = None
    test_targets: Tensor | None = None


class RegressionDataModule(lightning.LightningDataModule):
    """Inputs and targets as matrices with one row per point. Abstract: subclasses say what to draw.

    After `setup()` they lie in `train_inputs`, `train_targets`, `test_inputs`, `test_targets`; the last two are None
    where there is no test split. The validation loader serves the test split.

    Args:
        n_train: Number of training points, at least 1.
        seed: Seed of what is drawn, at least 0.

    Attributes:
        name: Name of the data set.
        plateau_width: Least width, in depth 2 without bias, from which a wider net has no smaller norm when it meets
            the targets; None where it is not known.
        plateau_cost: The norm sum_l |W_l|^2 there; None where it is not known.

    Raises:
        ArgumentError: If a number is out of range.
    """

    name: str
    plateau_width: int | None = None
    plateau_cost: float | None = None
    train_inputs: Tensor
    train_targets: Tensor
    test_inputs: Tensor | None
    test_targets: Tensor | None

    def __init__(self, *, n_train: int, seed: int) -> None:
        super().__init__()
        check_least("n_train", n_train, 1)
        check_least("seed", seed, 0)
        self.n_train, self.seed = n_train, seed

    def draw(self) -> RegressionData:
        """Return the problem, the same at every call."""
        raise NotImplementedError(f"{type(self).__name__} must implement draw().")

    def setup(self, stage: str | None = None) -> None:
        """Draw both splits. Calling it again changes nothing.

        Args:
            stage: Ignored: both splits are served at every stage.
        """
        if not hasattr(self, "train_inputs"):
            self.train_inputs, self.train_targets, self.test_inputs, self.test_targets = self.draw()

    def train_dataloader(self) -> TensorBatches:
        """The training split as one batch."""
        return TensorBatches(self.train_inputs, self.train_targets, whole=True)

    def val_dataloader(self) -> TensorBatches | list[TensorBatches]:
        """The test split as one batch; no loader without one."""
        return self.test_dataloader()

    def test_dataloader(self) -> TensorBatches | list[TensorBatches]:
        """The test split as one batch; no loader without one."""
        if self.test_inputs is None or self.test_targets is None:
            return []
        return TensorBatches(self.test_inputs, self.test_targets, whole=True)

    def predict_dataloader(self) -> TensorBatches | list[TensorBatches]:
        """The test split as one batch; no loader without one."""
        return self.test_dataloader()


def check_least(argument: str, number: float, least: float) -> None:
    """Raise ArgumentError unless a number is at least another."""
    if not number >= least:
        raise ArgumentError(argument, f"be at least {least}", number)
