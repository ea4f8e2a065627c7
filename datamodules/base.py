"""The LightningDataModule that every image data set shares: subsets, labels, normalisation, loaders."""

import os
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as lightning
import torch
from torch import nn

from datamodules.augmentation import made_augmentation
from datamodules.batches import EpochOrder, TensorBatches
from datamodules.normalisation import Normalisation, Statistics, normalised, statistics
from datamodules.splits import Source, Split, balanced_order
from diffstab.errors import ArgumentError, DataError
from diffstab.streams import stream

Labels = Literal["parity", "classes"]

TEST_SEED = 0  # the test images are the same for every `seed`, so that runs compare on equal terms


class ImageDataModule(lightning.LightningDataModule):
    """Images and labels of a data set, whole in memory. Abstract: subclasses say how to read theirs.

    After `prepare_data()` and `setup()` the splits lie in `train_images`, `test_images` (n, C, H, W)
    float32 and `train_labels`, `test_labels` (n,); `train_classes`, `test_classes` (n,) int64 keep the
    original class indices under either choice of labels.

    The training subset is drawn by `seed`, as balanced over the classes (and over their parity) as it
    can be, and nested: a larger `n_train` with the same seed contains the smaller. The test subset is
    balanced too and does not depend on `seed`. The validation loader serves the test split: the project
    stops on training margins and selects nothing on validation data.

    Args:
        n_train: Number of training images; all of them when None.
        n_test: Number of test images; all of them when None.
        seed: Seed of the training subset and of the order of the batches, at least 0.
        labels: "parity" gives float32 labels (-1)^k for class k: even +1, odd -1. "classes" gives int64 k.
        normalisation: "sphere" (the papers'): centred by the mean image of the whole training split and
            scaled to norm sqrt(C H W). "standard": mean 0 and variance 1 per channel over the whole
            training split. "none": in [0, 1].
        batch_size: Images in a batch; None serves each split as one batch.
        root: Folder of the data sets; None means $DIFFSTAB_DATA, or ./data when that is unset.
        size: Side in pixels that the images are resized to, at least 3: smaller images have no pixel inside their
            border, so that no deformation moves them. None keeps theirs.
        augmentation: Module that changes the images of each training batch, (n, C, H, W) to the same shape, as
            `diffstab.diffeo.augmentation.DeformationAugmentation`; or a mapping of class_path and init_args of one. It
            acts on the normalised images. Draws are fresh in each epoch and hang on `seed`, epoch and batch alone.

    Attributes:
        name: Name of the data set.
        n_classes: Number of label values: 2 for parity.
        class_names: Names of the label values; ("even", "odd") for parity.
        image_shape: (C, H, W).
    """

    name: str
    train_images: torch.Tensor
    train_labels: torch.Tensor
    train_classes: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor
    test_classes: torch.Tensor
    class_names: tuple[str, ...]
    n_classes: int
    image_shape: tuple[int, int, int]

    def __init__(
        self,
        *,
        n_train: int | None = None,
        n_test: int | None = None,
        seed: int = 0,
        labels: Labels = "parity",
        normalisation: Normalisation = "sphere",
        batch_size: int | None = None,
        root: str | None = None,
        size: int | None = None,
        augmentation: nn.Module | dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        counts = {"n_train": n_train, "n_test": n_test, "batch_size": batch_size}
        for argument, count in counts.items():
            _check_integer(argument, 1 if count is None else count, least=1)
        _check_integer("size", 3 if size is None else size, least=3)
        _check_integer("seed", seed, least=0)
        _check_choice("labels", labels, ("parity", "classes"))
        _check_choice("normalisation", normalisation, ("sphere", "standard", "none"))
        self.n_train, self.n_test, self.seed, self.batch_size = n_train, n_test, seed, batch_size
        self.labels, self.normalisation, self.size = labels, normalisation, size
        self.augmentation = made_augmentation(augmentation)
        self.root = Path(root or os.environ.get("DIFFSTAB_DATA") or "data").expanduser()

    def read(self) -> Source:
        """Read both splits, whole, as they are stored.

        Returns:
            The data set.

        Raises:
            DataError: Files are missing or damaged.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement read().")

    def setup(self, stage: str | None = None) -> None:
        """Read, select, normalise and label both splits. Calling it again changes nothing.

        Args:
            stage: Ignored: both splits are served at every stage.

        Raises:
            DataError: Files are missing or damaged.
            ArgumentError: More images are asked for than there are, or training and test images differ in size.
            DegenerateError: The normalisation is undefined on these images.
        """
        if hasattr(self, "train_images"):
            return
        source = self.read()
        self._check_shapes(source)
        train = _subset("n_train", source.train, self.n_train, generator=stream(self.seed, "training images"))
        test = _subset("n_test", source.test, self.n_test, generator=stream(TEST_SEED, "test images"))
        moments = statistics(source.train.images, white=source.white, size=self.size)
        self.test_images, self.train_images = (
            normalised(
                split.images, moments, normalisation=self.normalisation, white=source.white, size=self.size
            )
            for split in (test, train)
        )
        self.train_classes, self.test_classes = train.classes, test.classes
        self.train_labels, self.test_labels = self._labelled(train.classes), self._labelled(test.classes)
        self.class_names = ("even", "odd") if self.labels == "parity" else source.class_names
        self.n_classes = len(self.class_names)
        _, channels, height, width = self.train_images.shape
        self.image_shape = (channels, height, width)

    def moments(self) -> Statistics:
        """Read the moments of the whole training split, which the normalisation takes.

        Raises:
            DataError: Files are missing or damaged.
        """
        source = self.read()
        return statistics(source.train.images, white=source.white, size=self.size)

    def _check_shapes(self, source: Source) -> None:
        """Refuse splits that no predictor could take both of."""
        train, test = (tuple(split.images.shape[1:]) for split in (source.train, source.test))
        if train[0] != test[0]:
            what = f"{self.name} has training images of {train[0]} channels and test images of {test[0]}"
            raise DataError(what, self.root, "Give both the same number of channels.")
        if train != test and self.size is None:
            shapes = f"{train[1:]} (training) and {test[1:]} (test)"
            raise ArgumentError("size", "be given when the images differ in size", shapes)

    def train_dataloader(self) -> TensorBatches:
        """Batches of the training split, in an order of their own in each epoch."""
        order = EpochOrder(len(self.train_images), seed=self.seed)
        return self._batches(self.train_images, self.train_labels, sampler=order, augment=self.augmentation)

    def val_dataloader(self) -> TensorBatches:
        """Batches of the test split."""
        return self.test_dataloader()

    def test_dataloader(self) -> TensorBatches:
        """Batches of the test split."""
        return self._batches(self.test_images, self.test_labels)

    def predict_dataloader(self) -> TensorBatches:
        """Batches of the test split."""
        return self.test_dataloader()

    def _batches(
        self,
        images: torch.Tensor,
        labels: torch.Tensor,
        *,
        sampler: EpochOrder | None = None,
        augment: nn.Module | None = None,
    ) -> TensorBatches:
        # A process group may outlive the trainer that made it, and the next one be of a single process.
        place = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else None
        return TensorBatches(
            images, labels, batch_size=self.batch_size, sampler=sampler, place=place, augment=augment
        )

    def _labelled(self, classes: torch.Tensor) -> torch.Tensor:
        if self.labels == "parity":
            return 1.0 - 2.0 * (classes % 2).float()
        return classes


def _subset(argument: str, split: Split, count: int | None, *, generator: torch.Generator) -> Split:
    """Select a class-balanced subset of a split, in a random order."""
    available = len(split.images)
    if count is not None and count > available:
        raise ArgumentError(
            argument, f"be at most {available}", count, f"The split has {available} images; None takes all."
        )
    chosen = balanced_order(split.classes, generator=generator)[:count]
    return Split(split.images[chosen], split.classes[chosen])


def _check_integer(argument: str, value: object, *, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ArgumentError(argument, f"be an integer of at least {least}", repr(value))


def _check_choice(argument: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ArgumentError(argument, "be " + " or ".join(f'"{choice}"' for choice in choices), repr(value))
