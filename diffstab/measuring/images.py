"""Numbered images in [0, 1] from any data set, and the batches of them that each process measures."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, Sampler

from diffstab.errors import ArgumentError, DataError, DiffstabError
from diffstab.image_files import on_white
from diffstab.streams import stream

UNKNOWN = -1
"""Label of an image that has none."""

_IMAGE_KEYS = ("image", "images", "img", "pixel_values")
_LABEL_KEYS = ("label", "labels", "target", "targets")
_LUMA = torch.tensor([0.299, 0.587, 0.114])  # ITU-R BT.601, as Pillow's mode "L"
_ROUNDING = 1e-3  # of decoders that interpolate
_MODEL_S_WORK = "Mean and standard deviation belong to the model's preprocessing, after the deformation."


class NumberedImage(NamedTuple):
    """One image of a data set.

    Attributes:
        image: (C, H, W) float32 in [0, 1].
        label: Number of its class; `UNKNOWN` where it has none.
        number: Its place in the data set: what is drawn for it hangs on that.
        path: File that it comes from; "" for none.
    """

    image: Tensor
    label: int
    number: int
    path: str


class ImageBatch:
    """Some images of a data set; moved as a whole, and by nobody turned into another type.

    Args:
        rows: The images, all of one shape.

    Attributes:
        images: (n, C, H, W) float32 in [0, 1].
        labels: (n,) int64.
        numbers: (n,) int64.
        paths: One for each.

    Raises:
        ArgumentError: They differ in shape.
    """

    def __init__(self, rows: Sequence[NumberedImage]) -> None:
        for row in rows:
            if row.image.shape != rows[0].image.shape:
                shapes = " and ".join(
                    f"{tuple(one.image.shape)} ({one.path or one.number})" for one in (rows[0], row)
                )
                raise ArgumentError("size", "be given when images differ in size", shapes)
        self.images = torch.stack([row.image for row in rows])
        self.labels = torch.tensor([row.label for row in rows])
        self.numbers = torch.tensor([row.number for row in rows])
        self.paths = [row.path for row in rows]

    def __len__(self) -> int:
        return len(self.images)

    def to(self, *place: Any, **options: Any) -> ImageBatch:
        """Move the images to a device; what is read on the host stays there."""
        self.images = self.images.to(*place, **options)
        return self

    def pin_memory(self) -> ImageBatch:
        """Keep the images where a GPU can fetch them by itself."""
        self.images = self.images.pin_memory()
        return self


@dataclass(frozen=True)
class ImageSet(Dataset[NumberedImage]):
    """Images of any data set of torch's kind, by number.

    Attributes:
        items: Gives by number an image, a tuple that begins with image and label, or a dictionary with both. Images
            are Pillow's, uint8 (array of (H, W, C), tensor of (C, H, W)), or floating tensors (C, H, W) in [0, 1].
        name: Of the data set.
        labels: (count,) classes, where they are known without reading an image; None where each item tells.
        class_names: By number of the class; empty where nobody knows.
        paths: File of each image; empty for none.
        size: Side in pixels: the shorter side is resized to it, and the square in the middle kept. None keeps sizes.
        grey: Whether colours are turned into grey levels, one channel.
    """

    items: Any
    name: str
    labels: Tensor | None = None
    class_names: tuple[str, ...] = ()
    paths: Sequence[str] = ()
    size: int | None = None
    grey: bool = False

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 3:
            raise ArgumentError("size", "be at least 3", self.size, "Deformations move no border pixel.")

    def __len__(self) -> int:
        return len(self.items)

    def read(self, number: int) -> NumberedImage:
        """Read an image.

        Raises:
            ArgumentError: It is none, or does not lie in [0, 1].
        """
        image, label = _parts(self.items[number])
        path = self.paths[number] if len(self.paths) else ""
        pixels = _in_unit_range(image, path or f"image {number} of {self.name}")
        if self.grey and len(pixels) == 3:
            pixels = torch.tensordot(_LUMA, pixels, dims=1)[None]
        known = label if self.labels is None else int(self.labels[number])
        return NumberedImage(_resized(pixels, self.size), known, number, path)

    def __getitem__(self, number: int) -> NumberedImage:
        return self.read(number)

    def __getitems__(self, numbers: Sequence[int]) -> ImageBatch | str:
        """Read a batch; what is wrong comes back in words, since worker processes lose the type of an error."""
        try:
            return ImageBatch([self.read(number) for number in numbers])
        except DiffstabError as error:
            return str(error)

    def batch(self, numbers: Tensor) -> ImageBatch:
        """Read some images, which must have one shape.

        Raises:
            DiffstabError: One of them cannot be read, or they differ in shape.
        """
        return read_batch(self.__getitems__(numbers.tolist()))

    def with_classes(self, names: Sequence[str]) -> ImageSet:
        """Return the same images with labels that count in the order of the given names of classes.

        Raises:
            ArgumentError: A class of the data set is not among the names.
        """
        missing = sorted(set(self.class_names) - set(names))
        if missing or self.labels is None:
            received = ", ".join(missing) or f"{self.name} without classes"
            raise ArgumentError("classes", "name every class of the data", received)
        places = torch.tensor([list(names).index(name) for name in self.class_names])
        labels = torch.where(self.labels >= 0, places[self.labels.clamp(min=0)], UNKNOWN)
        return replace(self, labels=labels, class_names=tuple(names))

    def order(self, seed: int) -> Tensor:
        """Return the numbers in a random order of which every beginning is as even over the classes as it can be.

        A longer beginning contains the shorter ones. Without known labels every order is equally likely.

        Args:
            seed: Of the draw.
        """
        shuffled = torch.randperm(len(self), generator=stream(seed, "measured images"))
        if self.labels is None:
            return shuffled
        by_class = shuffled[torch.argsort(self.labels[shuffled], stable=True)]
        classes, counts = torch.unique_consecutive(self.labels[by_class], return_counts=True)
        rounds = torch.cat([torch.arange(count) for count in counts.tolist()])
        # Within a round the classes come in an order of its own, so that no class is always the first.
        turns = torch.rand(int(counts.max()), len(classes), generator=stream(seed, "turns of classes"))
        turn = turns[rounds, torch.repeat_interleave(torch.arange(len(classes)), counts)]
        return by_class[torch.argsort(rounds + turn.double())]

    def loader(
        self,
        numbers: Tensor,
        *,
        batch_size: int,
        workers: int = 0,
        pin: bool = False,
        gate: Gate | None = None,
    ) -> DataLoader[NumberedImage]:
        """Return a loader of batches of the given numbers, in their order; each process has every W-th of them.

        Args:
            numbers: (n,) which images.
            batch_size: Images in a batch.
            workers: Processes that read.
            pin: Whether batches go to a GPU.
            gate: No further image is served once it is closed.
        """
        # A generator of its own: a loader without one draws from the global generator.
        own: dict[str, Any] = {"num_workers": workers, "pin_memory": pin, "generator": stream(0, "workers")}
        return DataLoader(
            self, batch_size=batch_size, sampler=_Shared(numbers, gate or Gate()), collate_fn=_same, **own
        )


def read_batch(batch: ImageBatch | str) -> ImageBatch:
    """Return what a loader has read, or raise what was wrong with it.

    Raises:
        DiffstabError: An image cannot be read.
    """
    if isinstance(batch, str):
        raise DiffstabError(batch)
    return batch


@dataclass
class Gate:
    """Lets images through until it is closed."""

    is_open: bool = True


class _Shared(Sampler[int]):
    """The numbers of this process, r, r + W, ... of all: each image once."""

    def __init__(self, numbers: Tensor, gate: Gate) -> None:
        self._numbers, self._gate = numbers, gate

    def _own(self) -> list[int]:
        there = torch.distributed.is_available() and torch.distributed.is_initialized()
        rank, world = (torch.distributed.get_rank(), torch.distributed.get_world_size()) if there else (0, 1)
        found: list[int] = self._numbers[rank::world].tolist()
        return found

    def __iter__(self) -> Iterator[int]:
        return itertools.takewhile(lambda _: self._gate.is_open, self._own())

    def __len__(self) -> int:
        return len(self._own())


def _same(batch: Any) -> Any:
    return batch


def _parts(item: Any) -> tuple[Any, int]:
    """Return image and label of an item of a data set."""
    if isinstance(item, Mapping):
        images = [item[key] for key in _IMAGE_KEYS if key in item]
        labels = [item[key] for key in _LABEL_KEYS if key in item]
        if len(images) != 1:
            raise ArgumentError(
                "data", f"have one of the keys {', '.join(_IMAGE_KEYS)}", sorted(map(str, item))
            )
        return images[0], _label(labels[0] if labels else None)
    if isinstance(item, tuple | list) and item:
        return item[0], _label(item[1] if len(item) > 1 else None)
    return item, UNKNOWN


def _label(value: Any) -> int:
    """Return the number of a class; targets that are none (masks, real numbers, -1 and +1) count as no label."""
    if isinstance(value, Tensor | np.ndarray):
        value = value.item() if value.size == 1 or getattr(value, "numel", lambda: 0)() == 1 else None
    return int(value) if isinstance(value, int | np.integer) and value >= 0 else UNKNOWN


def _in_unit_range(image: Any, what: str) -> Tensor:
    """Return an image as (C, H, W) float32 in [0, 1]."""
    if isinstance(image, Image.Image):
        if image.mode.startswith(("I", "F")):  # Pillow would cut them to white without a word
            received = f"Pillow's mode {image.mode} ({what})"
            raise ArgumentError("data", "serve images of 8 bits, or floating in [0, 1]", received)
        image = np.asarray(image if image.mode == "L" else on_white(image).convert("RGB"))
    if isinstance(image, np.ndarray) and image.dtype == np.uint8:
        stored = image[:, :, None] if image.ndim == 2 else image
        image = torch.tensor(stored).permute(2, 0, 1)  # a copy: Pillow's arrays are read-only
    if not isinstance(image, Tensor) or image.ndim not in (2, 3):
        received = f"shape {tuple(image.shape)}" if isinstance(image, Tensor) else type(image).__name__
        raise ArgumentError("data", "serve images (C, H, W)", f"{received} ({what})")
    pixels: Tensor = image.reshape(-1, *image.shape[-2:])
    if pixels.dtype == torch.uint8:
        return pixels.float() / 255
    low, high = float(pixels.min()), float(pixels.max())
    if not (pixels.is_floating_point() and low >= -_ROUNDING and high <= 1 + _ROUNDING):
        condition = "serve images of 8 bits, or floating in [0, 1]"
        received = f"{pixels.dtype} from {low:.3g} to {high:.3g} ({what})"
        raise ArgumentError("data", condition, received, _MODEL_S_WORK)
    return pixels.float()


def _resized(image: Tensor, side: int | None) -> Tensor:
    """Return the square in the middle of an image whose shorter side was resized."""
    height, width = image.shape[-2:]
    if side is None or height == width == side:
        return image
    scale = side / min(height, width)
    size = (max(side, round(height * scale)), max(side, round(width * scale)))
    larger = functional.interpolate(image[None], size=size, mode="bilinear", antialias=True)[0]
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    return larger[:, top : top + side, left : left + side]


def check_count(count: int | None, available: int) -> int:
    """Return how many images are measured.

    Args:
        count: How many are asked for; None for all.
        available: How many there are.

    Raises:
        ArgumentError: More are asked for than there are, or fewer than two.
        DataError: There are fewer than two.
    """
    if available < 2:
        raise DataError(
            "The data hold fewer than two images", available, "D compares images with one another."
        )
    if count is not None and not 2 <= count <= available:
        raise ArgumentError("images", f"lie between 2 and {available}", count, "Left out, all are measured.")
    return available if count is None else count
