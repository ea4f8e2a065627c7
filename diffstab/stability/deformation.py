"""What a random deformation is: parameters are drawn for each image, then applied."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from diffstab.diffeo.precision import restored, without_autocast, working_dtype
from diffstab.diffeo.warp import Mode, check_images, check_mode, warp_in_chunks
from diffstab.stability.field_facts import FieldFacts
from diffstab.stability.interpolation import blurred, gaussian_blurred
from diffstab.stability.measures import double_device
from diffstab.streams import NumberedStream


class Deformed(NamedTuple):
    """A deformed batch, and how it was deformed; NaN where the deformation is no random diffeomorphism.

    Attributes:
        images: Shape of the images that were deformed.
        delta_px: Typical displacement that was asked for, pixels.
        measured_delta_px: Root mean square of the drawn displacement vectors over images and pixels.
        temperature: T.
        cutoff: c.
        folded_share: Share of the drawn fields that fold the image, in [0, 1].
    """

    images: Tensor
    delta_px: float = math.nan
    measured_delta_px: float = math.nan
    temperature: float = math.nan
    cutoff: float = math.nan
    folded_share: float = math.nan


class Deform(Protocol):
    """What deforms a batch of images at random: any callable like this, returning images or `Deformed`."""

    def warn(self, facts: FieldFacts, shape: tuple[int, ...]) -> None:
        """Warn of fields that fold, where they are stronger than is admissible; most deformations have none."""
        return

    def __call__(self, images: Tensor, *, generator: torch.Generator) -> Deformed | Tensor:
        """Return the deformed images, of the shape of `images`."""


class Source(Protocol):
    """What a deformation draws from: float64 values for each of n images."""

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        """Standard normal values (n, *shape)."""

    def uniform(self, shape: tuple[int, ...]) -> Tensor:
        """Values in [0, 1), (n, *shape)."""


class BatchSource(NamedTuple):
    """One generator for a whole batch of images; values lie on its device."""

    images: int
    generator: torch.Generator

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        """Standard normal values (n, *shape)."""
        options = {"generator": self.generator, "device": self.generator.device, "dtype": torch.float64}
        return torch.randn((self.images, *shape), **options)  # type: ignore[call-overload, no-any-return]

    def uniform(self, shape: tuple[int, ...]) -> Tensor:
        """Values in [0, 1), (n, *shape)."""
        options = {"generator": self.generator, "device": self.generator.device, "dtype": torch.float64}
        return torch.rand((self.images, *shape), **options)  # type: ignore[call-overload, no-any-return]


class NumberedSource(NamedTuple):
    """Values that belong to the number of each image (n,), whatever the batch; on the CPU."""

    stream: NumberedStream
    numbers: Tensor
    field: int = 0

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        """Standard normal values (n, *shape)."""
        return self.stream.normal(self.numbers, shape, draw=self.field)

    def uniform(self, shape: tuple[int, ...]) -> Tensor:
        """Values in [0, 1), (n, *shape)."""
        return self.stream.uniform(self.numbers, shape, draw=self.field)


@dataclass(frozen=True)
class Deformation(ABC):
    """A random deformation: `draw` parameters for each image, `apply` them. It can be pickled.

    Attributes:
        mode: Interpolation of `diffstab.diffeo.warp`.
    """

    mode: Mode = "bilinear"

    def __post_init__(self) -> None:
        check_mode(self.mode)

    @abstractmethod
    def draw(self, source: Source, shape: tuple[int, ...]) -> Tensor:
        """Draw parameters (n, ...) in float64 for n images of a shape (C, H, W)."""

    @abstractmethod
    def field(self, parameters: Tensor, height: int, width: int) -> Tensor:
        """Displacements (n, 2, H, W) in pixels of such a grid: dx, dy. Other grids give the same field, resized."""

    def check(self, images: Tensor) -> None:
        """Raise ArgumentError unless images can be deformed."""
        check_images(images)

    def apply(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Deform images (n, C, H, W) by parameters of `draw`, on the images' device; values are not checked."""
        with without_autocast(images.device):
            return warp_in_chunks(
                images, self._field_for(images, parameters), lambda part: part, mode=self.mode
            )

    def resized(self, parameters: Tensor, size: tuple[int, int], other: tuple[int, int]) -> Tensor:
        """Parameters of the same field on a grid of another height and width; most do not depend on the size."""
        return parameters

    def interpolation_alone(self, images: Tensor, parameters: Tensor) -> Tensor | None:
        """What `apply` does to images without any displacement: see `diffstab.stability.interpolation`."""
        if self.mode == "nearest":
            return images
        with without_autocast(images.device):
            if self.mode == "gaussian":
                return gaussian_blurred(images)
            return restored(blurred(images, self._field_for(images, parameters)), images.dtype)

    def facts(self, parameters: Tensor, shape: tuple[int, ...]) -> FieldFacts:
        """Mean squared displacement of each image and whether its field folds; NaN if it is no diffeomorphism."""
        return FieldFacts.unknown(len(parameters))

    def strength(self, shape: tuple[int, ...]) -> tuple[float, float, float]:
        """Typical displacement asked for, temperature and cut-off; NaN if it is no diffeomorphism."""
        return math.nan, math.nan, math.nan

    def warn(self, facts: FieldFacts, shape: tuple[int, ...]) -> None:
        """Warn of fields that fold, where they are stronger than is admissible; most deformations have none."""
        return

    def __call__(self, images: Tensor, *, generator: torch.Generator) -> Deformed:
        """Deform a batch (n, C, H, W) by draws from one generator.

        Raises:
            ArgumentError: Images have a wrong shape or dtype, or are not finite.
        """
        self.check(images)
        shape = tuple(images.shape[1:])
        parameters = self.draw(BatchSource(len(images), generator), shape)
        facts, (delta_px, temperature, cutoff) = self.facts(parameters, shape), self.strength(shape)
        self.warn(facts, shape)
        return Deformed(
            self.apply(images, parameters), delta_px, facts.rms_px, temperature, cutoff, facts.folded_share
        )

    def _field_for(self, images: Tensor, parameters: Tensor) -> Tensor:
        device = double_device(images.device)
        field = self.field(parameters.to(device), *images.shape[-2:])
        return field.to(images.device, working_dtype(images.dtype))
