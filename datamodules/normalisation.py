"""From stored pixels to the images that a predictor sees."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from torch.nn import functional

from diffstab.errors import ArgumentError, DegenerateError

Normalisation = Literal["sphere", "standard", "none"]

CHUNK = 4096  # images turned to floats at a time: bounds the memory, whatever the size of the data set


class Statistics(NamedTuple):
    """Moments of a training split, in units where white is 1."""

    mean_image: torch.Tensor  # (C, H, W) float64
    channel_mean: torch.Tensor  # (C, 1, 1) float64
    channel_deviation: torch.Tensor  # (C, 1, 1) float64


def resized(images: torch.Tensor, size: int | None) -> torch.Tensor:
    """Resize images to size x size pixels, bilinearly and with antialiasing when they shrink.

    Args:
        images: (n, C, H, W) float.
        size: Side in pixels; None, or the side that they have, leaves the images alone.

    Returns:
        (n, C, size, size).
    """
    if size is None or images.shape[-2:] == (size, size):
        return images
    return functional.interpolate(images, size=(size, size), mode="bilinear", antialias=True)


def statistics(stored: torch.Tensor, *, white: int, size: int | None) -> Statistics:
    """Measure the moments of a split after resizing, in chunks.

    Args:
        stored: (n, C, H, W) uint8.
        white: Stored value that stands for 1.
        size: Side that the images are resized to, in pixels; None keeps theirs.

    Returns:
        The moments.
    """
    total, total_square = torch.zeros(()), torch.zeros(())
    for chunk in _float_chunks(stored, white=white, size=size, dtype=torch.float64):
        total = total + chunk.sum(0)
        total_square = total_square + chunk.square().sum((0, 2, 3))
    mean_image = total / len(stored)
    channel_mean = mean_image.mean((1, 2), keepdim=True)
    mean_square = total_square.view_as(channel_mean) / (len(stored) * mean_image[0].numel())
    variance = mean_square - channel_mean.square()
    # What is left of a constant channel is rounding, far below one grey level in one pixel.
    variance[variance <= 64 * torch.finfo(variance.dtype).eps * mean_square] = 0
    return Statistics(mean_image, channel_mean, variance.sqrt())


def normalised(
    stored: torch.Tensor, moments: Statistics, *, normalisation: Normalisation, white: int, size: int | None
) -> torch.Tensor:
    """Turn stored images into the normalised ones.

    "sphere": centred by the mean image and scaled to the sphere of radius sqrt(d),

        x <- sqrt(d) (x - mean) / |x - mean|,  d = C H W

    "standard": per channel (x - mean_c) / deviation_c. "none": in [0, 1].

    Args:
        stored: (n, C, H, W) uint8.
        moments: Moments of the whole training split.
        normalisation: Which of the three.
        white: Stored value that stands for 1.
        size: Side that the images are resized to, in pixels; None keeps theirs.

    Returns:
        (n, C, H, W) float32, contiguous.

    Raises:
        ArgumentError: Unknown normalisation.
        DegenerateError: An image equals the mean image ("sphere"), or a channel is constant ("standard").

    Source:
        "sphere": the image experiments of Petrini, Cagnetta, Vanden-Eijnden, Wyart, arXiv 2206.12314.
    """
    images = torch.empty(len(stored), *moments.mean_image.shape, dtype=torch.float32)
    chunks = _float_chunks(stored, white=white, size=size, dtype=images.dtype)
    for place, chunk in zip(torch.split(images, CHUNK), chunks):
        place.copy_(_normalised_chunk(chunk, moments, normalisation))
    return images


def _normalised_chunk(chunk: torch.Tensor, moments: Statistics, normalisation: Normalisation) -> torch.Tensor:
    if normalisation == "sphere":
        return _on_sphere(chunk - moments.mean_image.to(chunk))
    if normalisation == "standard":
        if (moments.channel_deviation == 0).any():
            raise DegenerateError(
                'A channel of the training images is constant: normalisation="standard" is undefined there; '
                'choose "none".'
            )
        return (chunk - moments.channel_mean.to(chunk)) / moments.channel_deviation.to(chunk)
    if normalisation == "none":
        return chunk
    raise ArgumentError("normalisation", 'be "sphere", "standard" or "none"', repr(normalisation))


def _float_chunks(
    stored: torch.Tensor, *, white: int, size: int | None, dtype: torch.dtype
) -> Iterator[torch.Tensor]:
    """Yield the images as floats in [0, 1] at their final size, some at a time."""
    for chunk in torch.split(stored, CHUNK):
        yield resized(chunk.to(dtype) / white, size)


def _on_sphere(centred: torch.Tensor) -> torch.Tensor:
    """Scale each image (n, C, H, W) to norm sqrt(d); a zero image has no direction."""
    norms: torch.Tensor = torch.linalg.vector_norm(centred, dim=(1, 2, 3))
    # An image that differs from the mean by rounding only has no direction either.
    floor = torch.finfo(centred.dtype).eps * centred[0].numel() ** 0.5
    if (norms <= floor).any():
        raise DegenerateError(
            'An image equals the mean image of the training split: normalisation="sphere" is undefined '
            'there; remove that image or choose normalisation="none".'
        )
    scales: torch.Tensor = centred[0].numel() ** 0.5 / norms
    return centred * scales.view(-1, 1, 1, 1)
