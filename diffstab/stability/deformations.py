"""Random deformations of a batch: what a predictor's stability is measured against.

Each function here builds a `Deform` for `measure_stability` and `draw_pairs`.
"""

import math
from functools import partial
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from diffstab.diffeo import draw_field, folded, temperature_from_displacement, warp
from diffstab.diffeo.precision import working_dtype
from diffstab.diffeo.warp import Mode, check_images
from diffstab.errors import ArgumentError
from diffstab.stability.transforms import check_points, rotate, rotate_towards, translate


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

    def __call__(self, images: Tensor, *, generator: torch.Generator) -> Deformed | Tensor:
        """Return the deformed images, of the shape of `images`."""


def diffeomorphism(delta_px: float = 1.0, cutoff: int = 3, *, mode: Mode = "bilinear") -> Deform:
    """A `Deform` that draws one maximum-entropy diffeomorphism for each image.

    Args:
        delta_px: Typical displacement in pixels, > 0.
        cutoff: High-frequency cut-off c >= 2.
        mode: Interpolation of `diffstab.diffeo.warp`.

    Raises:
        ArgumentError: An argument is out of range.

    Warns:
        FoldingWarning: When used, if the temperature is above the admissible range for the images' size.
    """
    if not delta_px > 0:
        raise ArgumentError("delta_px", "be > 0", delta_px, "Without a deformation, R is 0 / 0.")
    temperature_from_displacement(delta_px, 2, cutoff)  # refuses bad values here, not at first use
    return partial(_diffeomorphic, delta_px=delta_px, cutoff=cutoff, mode=mode)


def random_rotation(angle_deg: float, *, mode: Mode = "bilinear") -> Deform:
    """A `Deform` that rotates each image by +angle_deg or -angle_deg with equal probability."""
    return partial(_rotated, angle_deg=angle_deg, mode=mode)


def random_translation(shift_px: float, *, mode: Mode = "bilinear") -> Deform:
    """A `Deform` that shifts each image by `shift_px` pixels in a uniformly random direction."""
    return partial(_translated, shift_px=shift_px, mode=mode)


def random_sphere_rotation(angle_deg: float) -> Deform:
    """A `Deform` that rotates each point (P, ...) by `angle_deg` towards a uniformly random direction."""
    return partial(_rotated_on_sphere, angle_deg=angle_deg)


def _diffeomorphic(
    images: Tensor, *, generator: torch.Generator, delta_px: float, cutoff: int, mode: Mode
) -> Deformed:
    check_images(images)
    count, _, height, width = images.shape
    temperature = temperature_from_displacement(delta_px, (height, width), cutoff)
    field = draw_field(
        count,
        height,
        width,
        temperature=temperature,
        cutoff=cutoff,
        generator=generator,
        dtype=working_dtype(images.dtype),
        device=images.device,
    )
    return Deformed(
        warp(images, field, mode),
        delta_px=delta_px,
        measured_delta_px=math.sqrt(field.square().sum(dim=1).mean(dtype=torch.float64)),
        temperature=temperature,
        cutoff=cutoff,
        folded_share=float(folded(field).double().mean()),
    )


def _rotated(images: Tensor, *, generator: torch.Generator, angle_deg: float, mode: Mode) -> Deformed:
    draws = torch.randint(2, images.shape[:1], generator=generator, device=generator.device)
    return Deformed(rotate(images, angle_deg * (2.0 * draws - 1), mode))


def _translated(images: Tensor, *, generator: torch.Generator, shift_px: float, mode: Mode) -> Deformed:
    draws = torch.rand(images.shape[:1], generator=generator, device=generator.device, dtype=torch.float64)
    angle = 2 * math.pi * draws
    return Deformed(translate(images, shift_px * torch.stack([angle.cos(), angle.sin()], dim=1), mode))


def _rotated_on_sphere(images: Tensor, *, generator: torch.Generator, angle_deg: float) -> Deformed:
    check_points(images, argument="points")
    points = images.to(working_dtype(images.dtype))
    directions = torch.randn(images.shape, generator=generator, device=generator.device, dtype=points.dtype)
    return Deformed(rotate_towards(points, directions, angle_deg=angle_deg).to(images.dtype))
