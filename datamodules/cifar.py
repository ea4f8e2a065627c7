"""CIFAR10, read by torchvision, which checks every file against its checksum."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch

from datamodules.base import ImageDataModule
from datamodules.download import download
from datamodules.splits import Source, Split
from diffstab.errors import DataError


class CIFAR10(ImageDataModule):
    """60,000 colour photographs of 32 x 32 pixels in ten classes: 50,000 to train, 10,000 to test.

    Read from `<root>/cifar-10-batches-py/`, as torchvision leaves them.
    """

    name = "cifar10"
    folder: ClassVar[str] = "cifar-10-batches-py"

    def torchvision_class(self) -> Callable[..., Any]:
        """The class of torchvision that downloads, checks and reads the files."""
        from torchvision import datasets

        dataset: Callable[..., Any] = datasets.CIFAR10
        return dataset

    def prepare_data(self) -> None:
        """Download the files when the folder is missing.

        Raises:
            DataError: The download failed.
        """
        if not (self.root / self.folder).exists():
            by_hand = f"Unpack cifar-10-python.tar.gz into {self.root}, or set DIFFSTAB_DATA to its root."
            download(self.torchvision_class(), root=self.root, subfolder=self.folder, by_hand=by_hand)

    def read(self) -> Source:
        """Read both splits."""
        train, names = self._split(train=True)
        test, _ = self._split(train=False)
        return Source(train, test, names, white=255)

    def _split(self, *, train: bool) -> tuple[Split, tuple[str, ...]]:
        try:
            dataset = self.torchvision_class()(str(self.root), train=train)
        except RuntimeError as error:
            folder = self.root / self.folder
            what = "cifar10 is missing, or a file of it does not match its checksum"
            way_out = f"Delete {folder} and call prepare_data() to download it again."
            raise DataError(what, folder, way_out) from error
        images = torch.from_numpy(dataset.data).permute(0, 3, 1, 2).contiguous()
        return Split(images, torch.tensor(dataset.targets)), tuple(dataset.classes)
