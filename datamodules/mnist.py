"""MNIST and Fashion-MNIST, read from their IDX files."""

import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from datamodules.base import ImageDataModule
from datamodules.download import download
from datamodules.splits import Source, Split
from diffstab.errors import DataError

WAY_OUT = "Delete the file: it is then downloaded again, or put a good copy there."


class MNIST(ImageDataModule):
    """70,000 handwritten digits of 28 x 28 pixels: 60,000 to train, 10,000 to test.

    Read from `<root>/MNIST/raw/`, as torchvision leaves them; each file may also be gzipped (.gz), be written
    with a dot (`train-images.idx3-ubyte`) or lie in a folder of its own name, as archives are unpacked.
    """

    name = "mnist"
    folder: ClassVar[str] = "MNIST/raw"
    class_names_read: ClassVar[tuple[str, ...]] = tuple(str(digit) for digit in range(10))

    def torchvision_class(self) -> Callable[..., Any]:
        """The class of torchvision that knows where to download from and the checksums."""
        from torchvision import datasets

        dataset: Callable[..., Any] = datasets.MNIST
        return dataset

    def prepare_data(self) -> None:
        """Download the files when one is missing.

        Raises:
            DataError: The download failed.
        """
        files = [
            f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
        ]
        folder = self.root / self.folder
        if any(_found(folder / file) is None for file in files):
            by_hand = f"Put {', '.join(files)} (or .gz) into {folder}, or set DIFFSTAB_DATA to their root."
            download(self.torchvision_class(), root=self.root, subfolder=self.folder, by_hand=by_hand)

    def read(self) -> Source:
        """Read both splits."""
        return Source(self._split("train"), self._split("t10k"), self.class_names_read, white=255)

    def _split(self, part: str) -> Split:
        folder = self.root / self.folder
        images = read_idx(folder / f"{part}-images-idx3-ubyte", dimensions=3).unsqueeze(1)
        classes = read_idx(folder / f"{part}-labels-idx1-ubyte", dimensions=1).long()
        if len(images) != len(classes):
            counts = f"{len(images)} {part} images but {len(classes)} labels"
            raise DataError(f"{self.name} has {counts}", folder, "Delete both files and download them again.")
        if len(classes) == 0 or classes.max() >= len(self.class_names_read):
            what = f"{self.name} needs {part} labels from 0 to {len(self.class_names_read) - 1}"
            raise DataError(what, folder, WAY_OUT)
        return Split(images, classes)


class FashionMNIST(MNIST):
    """70,000 articles of clothing of 28 x 28 pixels: 60,000 to train, 10,000 to test.

    Read from `<root>/FashionMNIST/raw/`, as torchvision leaves them; each file may also be gzipped (.gz), be written
    with a dot (`train-images.idx3-ubyte`) or lie in a folder of its own name, as archives are unpacked.
    """

    name = "fashion_mnist"
    folder: ClassVar[str] = "FashionMNIST/raw"
    class_names_read: ClassVar[tuple[str, ...]] = (
        "t-shirt",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    )

    def torchvision_class(self) -> Callable[..., Any]:
        """The class of torchvision that knows where to download from and the checksums."""
        from torchvision import datasets

        dataset: Callable[..., Any] = datasets.FashionMNIST
        return dataset


def read_idx(path: Path, *, dimensions: int) -> torch.Tensor:
    """Read an IDX file of unsigned bytes, under any name that archives give it; gzipped when only that is there.

    The file starts with two zero bytes, the type (8: unsigned byte) and the number of dimensions; the
    lengths follow as big-endian 32-bit integers, then the values.

    Args:
        path: The file, without .gz.
        dimensions: Number of dimensions expected.

    Returns:
        uint8 tensor of that many dimensions.

    Raises:
        DataError: The file is missing, damaged or of another kind.
    """
    content, path = _content(path)
    start = 4 + 4 * dimensions
    if content[:4] != bytes((0, 0, 8, dimensions)) or len(content) < start:
        what = f"{path.name} is no IDX file of unsigned bytes in {dimensions} dimensions"
        raise DataError(what, path, WAY_OUT)
    shape = np.frombuffer(content, dtype=">u4", count=dimensions, offset=4).astype(np.int64)
    expected = start + int(shape.prod())
    if len(content) != expected:
        raise DataError(f"{path.name} has {len(content)} bytes instead of {expected}", path, WAY_OUT)
    # torch.tensor copies: the buffer is read-only.
    return torch.tensor(np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape))


def _found(path: Path) -> Path | None:
    """Return the file of an IDX path under one of the names that archives give it, None if there is none."""
    dotted = path.name.replace("-idx", ".idx")
    names = [f"{name}{suffix}" for suffix in ("", ".gz") for name in (path.name, dotted)]
    places = [path.parent / name for name in names]
    places += [folder / name for folder in (path, path.with_name(dotted)) for name in names]
    return next((place for place in places if place.is_file()), None)


def _content(path: Path) -> tuple[bytes, Path]:
    """The bytes of a file or of its gzipped copy, and which of the two was read."""
    found = _found(path)
    if found is None:
        raise DataError(
            f"{path.name} is missing", path, "Call prepare_data() to download it, or put it there by hand."
        )
    if found.suffix != ".gz":
        return found.read_bytes(), found
    try:
        return gzip.decompress(found.read_bytes()), found
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{found.name} is no complete gzip file: {error}", found, WAY_OUT) from error
