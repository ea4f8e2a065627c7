"""Rotations, translations and scalings of images, and rotations of points on the sphere, by given amounts."""

import math

import torch
from torch import Tensor

from diffstab.diffeo import warp
from diffstab.diffeo.precision import working_dtype
from diffstab.diffeo.warp import Mode
from diffstab.errors import ArgumentError


def rotate(images: Tensor, angle_deg: Tensor, mode: Mode = "bilinear") -> Tensor:
    """Rotate images about their centre.

    Args:
        images: Shape (P, C, H, W).
        angle_deg: Angle of each image in degrees, shape (P,).
        mode: Interpolation of `diffstab.diffeo.warp`.

    Returns:
        Shape (P, C, H, W). What comes from outside is the nearest border pixel.

    Raises:
        ArgumentError: Shapes do not fit, or images or angles are not finite.

    Convention:
        A positive angle turns the picture counterclockwise as displayed, rows downwards: 90 degrees is
        `torch.rot90(images, 1, (-2, -1))`.
    """
    angles = _amounts(angle_deg, images, shape=images.shape[:1], argument="angle_deg")
    return warp(images, rotation_field(angles, *images.shape[-2:]).to(working_dtype(images.dtype)), mode)


def rotation_field(angle_deg: Tensor, height: int, width: int) -> Tensor:
    """Displacements (n, 2, H, W) in pixels that turn pictures about their centre, for angles (n,) in degrees."""
    radians = torch.deg2rad(angle_deg)
    cosine, sine = radians.cos()[:, None, None], radians.sin()[:, None, None]
    columns, rows = _from_centre(height, width, like=angle_deg)
    # The picture turns by the angle, so a pixel takes the value of the point turned back by it.
    source_columns, source_rows = cosine * columns - sine * rows, sine * columns + cosine * rows
    return torch.stack([columns - source_columns, rows - source_rows], dim=1)


def scale(images: Tensor, factor: Tensor, mode: Mode = "bilinear") -> Tensor:
    """Magnify images about their centre.

    Args:
        images: Shape (P, C, H, W).
        factor: Factor of each image, shape (P,), > 0; above 1 the picture grows.
        mode: Interpolation of `diffstab.diffeo.warp`.

    Returns:
        Shape (P, C, H, W). What comes from outside is the nearest border pixel.

    Raises:
        ArgumentError: Shapes do not fit, a value is not finite, or a factor is not positive.
    """
    factors = _amounts(factor, images, shape=images.shape[:1], argument="factor")
    if not bool((factors > 0).all()):
        raise ArgumentError("factor", "be > 0", float(factors.min()))
    return warp(images, scaling_field(factors, *images.shape[-2:]).to(working_dtype(images.dtype)), mode)


def scaling_field(factor: Tensor, height: int, width: int) -> Tensor:
    """Displacements (n, 2, H, W) in pixels that magnify pictures about their centre by factors (n,)."""
    columns, rows = _from_centre(height, width, like=factor)
    share = (1 - 1 / factor)[:, None, None]
    return torch.stack([columns * share + 0 * rows, rows * share + 0 * columns], dim=1)


def _from_centre(height: int, width: int, *, like: Tensor) -> tuple[Tensor, Tensor]:
    """Columns (W,) and rows (H, 1) counted from the centre of the image."""
    rows = torch.arange(height, dtype=like.dtype, device=like.device)[:, None] - (height - 1) / 2
    return torch.arange(width, dtype=like.dtype, device=like.device) - (width - 1) / 2, rows


def translate(images: Tensor, shift_px: Tensor, mode: Mode = "bilinear") -> Tensor:
    """Translate images.

    Args:
        images: Shape (P, C, H, W).
        shift_px: Shift (dx, dy) of each image in pixels, shape (P, 2).
        mode: Interpolation of `diffstab.diffeo.warp`.

    Returns:
        Shape (P, C, H, W). What comes from outside is the nearest border pixel.

    Raises:
        ArgumentError: Shapes do not fit, or images or shifts are not finite.

    Convention:
        Positive dx moves the picture to the right, positive dy downwards.
    """
    shift = _amounts(shift_px, images, shape=(images.shape[0], 2), argument="shift_px")
    return warp(images, translation_field(shift, *images.shape[-2:]).to(working_dtype(images.dtype)), mode)


def translation_field(shift_px: Tensor, height: int, width: int) -> Tensor:
    """Displacements (n, 2, H, W) of pictures shifted as a whole by (n, 2) pixels."""
    return shift_px[:, :, None, None].expand(-1, -1, height, width)


def translate_circularly(images: Tensor, shift_px: Tensor) -> Tensor:
    """Translate images (P, C, H, W) by shifts (P, 2): what leaves on one side comes back on the other.

    Between pixels the value is interpolated bilinearly; whole shifts are exact. Directions as of `translate`.
    """
    shift = _amounts(shift_px, images, shape=(images.shape[0], 2), argument="shift_px")
    for axis, amounts in ((3, shift[:, 0]), (2, shift[:, 1])):
        images = _rolled(images, amounts, axis)
    return images


def _rolled(images: Tensor, shift_px: Tensor, axis: int) -> Tensor:
    size = images.shape[axis]
    places = torch.arange(size, dtype=shift_px.dtype, device=shift_px.device) - shift_px[:, None]
    below = places.floor()
    line = [len(images), 1, 1, 1]
    line[axis] = size
    index, share = below.long().view(line) % size, (places - below).to(images.dtype).view(line)
    first, second = (images.take_along_dim(which % size, dim=axis) for which in (index, index + 1))
    return first + share * (second - first)


def rotate_towards(points: Tensor, directions: Tensor, *, angle_deg: float) -> Tensor:
    """Rotate points on the sphere of their own norm towards directions.

        x' = cos(a) x + sin(a) |x| t,  t the unit vector along the part of the direction orthogonal to x

    Args:
        points: Shape (P, ...); all axes but the first are one vector of d >= 2 numbers, not zero.
        directions: The same shape; the part along the point does not matter, the rest must not vanish.
        angle_deg: Angle between x and x' in degrees.

    Returns:
        Shape (P, ...), |x'| = |x|.

    Raises:
        ArgumentError: Shapes differ, a value is not finite, a point is zero, or a direction is along it.
    """
    check_points(points, argument="points")
    if directions.shape != points.shape:
        condition = f"have the shape of points, {tuple(points.shape)}"
        raise ArgumentError("directions", condition, f"shape {tuple(directions.shape)}")
    if not math.isfinite(angle_deg):
        raise ArgumentError("angle_deg", "be finite", angle_deg)
    flat, towards = points.flatten(1), directions.to(points).flatten(1)
    norms = torch.linalg.vector_norm(flat, dim=1, keepdim=True)
    unit = flat / norms
    tangent = towards - (towards * unit).sum(dim=1, keepdim=True) * unit
    tangent = tangent - (tangent * unit).sum(dim=1, keepdim=True) * unit  # once more, against round-off
    lengths = torch.linalg.vector_norm(tangent, dim=1, keepdim=True)
    round_off = 10 * torch.finfo(flat.dtype).eps * torch.linalg.vector_norm(towards, dim=1, keepdim=True)
    if flat.shape[1] < 2 or not bool((lengths > round_off).all()):
        condition = "be non-zero vectors of at least two numbers, each with a part orthogonal to its point"
        raise ArgumentError("points and directions", condition, "a zero or parallel one")
    angle = math.radians(angle_deg)
    rotated: Tensor = math.cos(angle) * flat + math.sin(angle) * norms * (tangent / lengths)
    return rotated.reshape(points.shape)


def _amounts(amounts: Tensor, images: Tensor, *, shape: tuple[int, ...], argument: str) -> Tensor:
    """The amounts in float64 beside the images, once both are known to fit."""
    if images.ndim != 4:
        raise ArgumentError("images", "have shape (P, C, H, W)", f"shape {tuple(images.shape)}")
    if tuple(amounts.shape) != tuple(shape):
        raise ArgumentError(argument, f"have shape {tuple(shape)}", f"shape {tuple(amounts.shape)}")
    if not bool(amounts.isfinite().all()):
        raise ArgumentError(argument, "be finite", "NaN or infinity")
    return amounts.to(device=images.device, dtype=torch.float64)


def check_points(points: Tensor, *, argument: str) -> None:
    """Raise ArgumentError unless `points` is a finite, floating tensor of shape (P, ...)."""
    if not points.is_floating_point() or points.ndim < 2:
        received = f"{points.dtype} of shape {tuple(points.shape)}"
        raise ArgumentError(argument, "be floating and of shape (P, ...)", received)
    if not bool(points.isfinite().all()):
        raise ArgumentError(argument, "be finite", "NaN or infinity")
