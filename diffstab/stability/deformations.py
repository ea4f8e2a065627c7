"""Random deformations of images: what a predictor's stability is measured against.

Each function here builds a `Deformation` for `measure_stability`, `LayerPass` and `draw_pairs`.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from diffstab.diffeo import mode_variances, temperature_from_displacement
from diffstab.diffeo.field import series_on_grid
from diffstab.diffeo.folding import warn_of_folded_share
from diffstab.diffeo.precision import restored, without_autocast, working_dtype
from diffstab.diffeo.warp import Mode, warp_in_chunks
from diffstab.errors import ArgumentError
from diffstab.stability.deformation import Deform, Deformation, Deformed, Source
from diffstab.stability.field_facts import FieldFacts, facts_of_series
from diffstab.stability.interpolation import blurred
from diffstab.stability.measures import double_device
from diffstab.stability.transforms import (
    check_points,
    rotate_towards,
    rotation_field,
    scaling_field,
    translate_circularly,
    translation_field,
)

__all__ = [
    "Deform",
    "Deformation",
    "Deformed",
    "diffeomorphism",
    "random_rotation",
    "random_scaling",
    "random_sphere_rotation",
    "random_translation",
]


def diffeomorphism(delta_px: float = 1.0, cutoff: int = 3, *, mode: Mode = "bilinear") -> Deformation:
    """A `Deformation` that draws one maximum-entropy diffeomorphism for each image.

    Args:
        delta_px: Typical displacement in pixels, > 0.
        cutoff: High-frequency cut-off c >= 2.
        mode: Interpolation of `diffstab.diffeo.warp`.

    Raises:
        ArgumentError: An argument is out of range.

    Warns:
        FoldingWarning: When used, if the temperature is above the admissible range for the images' size.
    """
    return Diffeomorphism(mode, delta_px, cutoff)


def random_rotation(angle_deg: float, *, mode: Mode = "bilinear") -> Deformation:
    """A `Deformation` that rotates each image by +angle_deg or -angle_deg with equal probability."""
    return Rotation(mode, angle_deg)


def random_translation(
    shift_px: float, *, mode: Mode = "bilinear", circular: bool = False, whole: bool = False
) -> Deformation:
    """A `Deformation` that shifts each image by `shift_px` pixels in a uniformly random direction.

    Args:
        shift_px: Length of the shift in pixels.
        mode: Interpolation of `diffstab.diffeo.warp`; only "bilinear" for circular shifts.
        circular: What leaves on one side comes back on the other; else the border pixel is repeated.
        whole: Round both coordinates of the shift to whole pixels, so that nothing is interpolated.

    Raises:
        ArgumentError: An argument is out of range.
    """
    return Translation(mode, shift_px, circular, whole)


def random_scaling(share: float, *, mode: Mode = "bilinear") -> Deformation:
    """A `Deformation` that magnifies each image by 1 + share or by 1 / (1 + share) with equal probability."""
    return Scaling(mode, share)


def random_sphere_rotation(angle_deg: float) -> Deformation:
    """A `Deformation` that rotates each point (P, ...) by `angle_deg` towards a uniformly random direction."""
    return SphereRotation(angle_deg=angle_deg)


@dataclass(frozen=True)
class Diffeomorphism(Deformation):
    """See `diffeomorphism`. Parameters are the sine coefficients (n, 2, c, c)."""

    delta_px: float = 1.0
    cutoff: int = 3

    def __post_init__(self) -> None:
        """Refuse bad values here, not at first use."""
        super().__post_init__()
        if not self.delta_px > 0:
            raise ArgumentError("delta_px", "be > 0", self.delta_px, "Without a deformation, R is 0 / 0.")
        temperature_from_displacement(self.delta_px, 2, self.cutoff)

    def draw(self, source: Source, shape: tuple[int, ...]) -> Tensor:
        """Draw sine coefficients."""
        _, temperature, _ = self.strength(shape)
        normal = source.normal((2, self.cutoff, self.cutoff))
        return normal * (temperature * mode_variances(self.cutoff)).sqrt().to(normal.device)

    def field(self, parameters: Tensor, height: int, width: int) -> Tensor:
        """Evaluate the sine series."""
        scale = (width, height)
        return series_on_grid(height, width, cutoff=self.cutoff, scale=scale, like=parameters)(parameters)

    def apply(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Warp images, without keeping all the fields in memory."""
        working, (height, width) = self._working(images, parameters), images.shape[-2:]
        with without_autocast(images.device):
            series = series_on_grid(height, width, cutoff=self.cutoff, scale=(width, height), like=working)
            return warp_in_chunks(images, working, series, mode=self.mode)

    def facts(self, parameters: Tensor, shape: tuple[int, ...]) -> FieldFacts:
        """Mean squared displacement of each image, and whether its field folds."""
        return facts_of_series(parameters.cpu(), *shape[-2:])

    def strength(self, shape: tuple[int, ...]) -> tuple[float, float, float]:
        """Typical displacement asked for, temperature and cut-off."""
        height, width = shape[-2:]
        return (
            self.delta_px,
            temperature_from_displacement(self.delta_px, (height, width), self.cutoff),
            self.cutoff,
        )

    def warn(self, facts: FieldFacts, shape: tuple[int, ...]) -> None:
        """Warn of fields that fold, where the temperature is above the admissible range."""
        _, temperature, _ = self.strength(shape)
        height, width = shape[-2:]
        warn_of_folded_share(
            lambda: facts.folded_share,
            len(facts.folded),
            (height, width),
            temperature=temperature,
            cutoff=self.cutoff,
        )

    def _field_for(self, images: Tensor, parameters: Tensor) -> Tensor:
        return self.field(self._working(images, parameters), *images.shape[-2:])

    @staticmethod
    def _working(images: Tensor, parameters: Tensor) -> Tensor:
        return parameters.to(dtype=working_dtype(images.dtype)).to(images.device)


@dataclass(frozen=True)
class Rotation(Deformation):
    """See `random_rotation`. Parameters are the angles in degrees (n,)."""

    angle_deg: float = 0.0

    def __post_init__(self) -> None:
        """Refuse bad values."""
        super().__post_init__()
        _check_finite("angle_deg", self.angle_deg)

    def draw(self, source: Source, shape: tuple[int, ...]) -> Tensor:
        """Draw the sense of each rotation."""
        return self.angle_deg * _signs(source)

    def field(self, parameters: Tensor, height: int, width: int) -> Tensor:
        """Displacements of rotations about the centre."""
        return rotation_field(parameters, height, width)


@dataclass(frozen=True)
class Translation(Deformation):
    """See `random_translation`. Parameters are the shifts (dx, dy) in pixels (n, 2)."""

    shift_px: float = 0.0
    circular: bool = False
    whole: bool = False

    def __post_init__(self) -> None:
        """Refuse bad values."""
        super().__post_init__()
        _check_finite("shift_px", self.shift_px)
        if self.circular and self.mode != "bilinear":
            raise ArgumentError("mode", 'be "bilinear" for circular shifts', repr(self.mode))

    def draw(self, source: Source, shape: tuple[int, ...]) -> Tensor:
        """Draw the direction of each shift."""
        angle = 2 * math.pi * source.uniform(())
        shift = self.shift_px * torch.stack([angle.cos(), angle.sin()], dim=1)
        return shift.round() if self.whole else shift

    def field(self, parameters: Tensor, height: int, width: int) -> Tensor:
        """The shift at every pixel."""
        return translation_field(parameters, height, width)

    def resized(self, parameters: Tensor, size: tuple[int, int], other: tuple[int, int]) -> Tensor:
        """Shifts of the same share of a grid's sides."""
        return parameters * parameters.new_tensor([other[1] / size[1], other[0] / size[0]])

    def apply(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Shift images."""
        if not self.circular:
            return super().apply(images, parameters)
        place = double_device(images.device)
        working = images.to(place).to(working_dtype(images.dtype))
        return restored(translate_circularly(working, parameters), images.dtype).to(images.device)

    def interpolation_alone(self, images: Tensor, parameters: Tensor) -> Tensor | None:
        """The blur of the shift, around the border where shifts are circular."""
        if not self.circular:
            return super().interpolation_alone(images, parameters)
        field = self._field_for(images, parameters)
        return restored(blurred(images, field, padding="circular"), images.dtype)


@dataclass(frozen=True)
class Scaling(Deformation):
    """See `random_scaling`. Parameters are the factors (n,)."""

    share: float = 0.0

    def __post_init__(self) -> None:
        """Refuse bad values."""
        super().__post_init__()
        if not 0 < self.share < math.inf:
            raise ArgumentError("share", "be > 0 and finite", self.share)

    def draw(self, source: Source, shape: tuple[int, ...]) -> Tensor:
        """Draw whether each image grows or shrinks."""
        return (math.log1p(self.share) * _signs(source)).exp()

    def field(self, parameters: Tensor, height: int, width: int) -> Tensor:
        """Displacements of scalings about the centre."""
        return scaling_field(parameters, height, width)


@dataclass(frozen=True)
class SphereRotation(Deformation):
    """See `random_sphere_rotation`. Parameters are directions of the shape of the points."""

    angle_deg: float = 0.0

    def draw(self, source: Source, shape: tuple[int, ...]) -> Tensor:
        """Draw a direction for each point."""
        return source.normal(shape)

    def field(self, parameters: Tensor, height: int, width: int) -> Tensor:
        """Refuse: points have no pixels."""
        raise ArgumentError("deformation", "move pixels of images", "a rotation of points on the sphere")

    def check(self, images: Tensor) -> None:
        """Raise ArgumentError unless they are points (P, ...)."""
        check_points(images, argument="points")

    def apply(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Rotate points."""
        points = images.to(working_dtype(images.dtype))
        directions = parameters.to(dtype=points.dtype).to(points.device)
        return rotate_towards(points, directions, angle_deg=self.angle_deg).to(images.dtype)

    def interpolation_alone(self, images: Tensor, parameters: Tensor) -> Tensor | None:
        """Return the points: nothing is interpolated."""
        return images


def _signs(source: Source) -> Tensor:
    """+1 or -1 for each image, with equal probability."""
    return 1 - 2 * (source.uniform(()) < 0.5).to(torch.float64)


def _check_finite(argument: str, value: float) -> None:
    if not math.isfinite(value):
        raise ArgumentError(argument, "be finite", value)
