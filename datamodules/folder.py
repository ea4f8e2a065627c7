"""Any folder of images, one subfolder per class."""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from datamodules.base import ImageDataModule
from datamodules.splits import Source, Split
from diffstab.errors import ArgumentError, DataError
from diffstab.image_files import decoded, image_files, is_left_behind


class ImageFolder(ImageDataModule):
    """Images in `<root>/<folder>/train/<class>/` and `<root>/<folder>/test/<class>/`.

    Every file in a class folder or below it must be an image of 8 bits per channel that Pillow can read; links are
    followed, and a broken one is an error. Hidden files and folders are passed over, and so is what tools leave
    behind (`__MACOSX`, `@eaDir`, `Thumbs.db` and the like). An image is turned as its EXIF orientation says, its
    transparent parts show white, and of an animation the first frame counts. Classes are numbered in alphabetical
    order. All images must have one size (any rectangle), or `size` must be given: then each is resized to a square
    as it is read. The images of the last folder read stay decoded in memory, for the next run on it in the same
    process.

    Args:
        folder: Folder of the data set, relative to `root` or absolute; its last part is the name of the
            data set.
        channels: 3 reads the images as RGB, 1 as grey levels.
        kwargs: Arguments of `ImageDataModule`.
    """

    def __init__(self, *, folder: str, channels: Literal[1, 3] = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if channels not in (1, 3):
            raise ArgumentError("channels", "be 1 (grey) or 3 (RGB)", repr(channels))
        self.folder = self.root / folder
        self.channels = channels
        self.name = self.folder.name

    def read(self) -> Source:
        """Read both splits."""
        names = _class_names(self.folder / "train")
        test_names = _class_names(self.folder / "test")
        if names != test_names:
            odd_ones = ", ".join(sorted(set(names) ^ set(test_names)))
            what = f"train and test hold different classes: {odd_ones} on one side only"
            raise DataError(what, self.folder, "Give each class a folder on both sides.")
        files = [_files(self.folder / part, names) for part in ("train", "test")]
        paths = [path for part in files for path, _ in part]
        stamped = tuple((path, path.stat().st_mtime_ns) for path in paths)
        images = _decoded_files(stamped, mode="RGB" if self.channels == 3 else "L", size=self.size)
        train, test = torch.split(images, [len(part) for part in files])
        classes = [torch.tensor([index for _, index in part]) for part in files]
        return Source(Split(train, classes[0]), Split(test, classes[1]), names, white=255)


def _class_names(part: Path) -> tuple[str, ...]:
    """The classes of one part, sorted."""
    if not part.is_dir():
        way_out = "Lay the images out as train/<class>/ and test/<class>/, or set DIFFSTAB_DATA to the root."
        raise DataError(f"The folder {part.name} is missing", part, way_out)
    names = sorted(
        child.name for child in part.iterdir() if child.is_dir() and not is_left_behind(child.name)
    )
    if not names:
        raise DataError(f"The folder {part.name} holds no class folders", part, "Make one folder per class.")
    return tuple(names)


def _files(part: Path, names: tuple[str, ...]) -> list[tuple[Path, int]]:
    """The image files of one part, sorted, each with the index of its class."""
    found = []
    for index, name in enumerate(names):
        files = image_files(part / name)
        if not files:
            raise DataError(
                f"The class {name} holds no images", part / name, "Add images or remove the folder."
            )
        found += [(file, index) for file in files]
    return found


@lru_cache(maxsize=1)
def _decoded_files(
    stamped: tuple[tuple[Path, int], ...], *, mode: Literal["RGB", "L"], size: int | None
) -> torch.Tensor:
    """Decode files, each given with its time of change, into one (n, C, H, W) uint8 tensor.

    The last result is kept, because a sweep sets up the same folder again for every cell; the times of
    change tell whether it still holds.
    """
    paths = [path for path, _ in stamped]
    decode = partial(decoded, mode=mode, size=size)
    first = decode(paths[0])
    images = np.empty((len(paths), *first.shape), dtype=np.uint8)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for index, pixels in enumerate(pool.map(decode, paths)):
            if pixels.shape != first.shape:
                shapes = f"{first.shape[:2]} ({paths[0]}) and {pixels.shape[:2]} ({paths[index]})"
                raise ArgumentError("size", "be given when the images differ in size", shapes)
            images[index] = pixels
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
