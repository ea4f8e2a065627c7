"""What interpolation alone does to an image: a blur that moves nothing, of the bandwidth of the warp at each pixel.

A bilinear warp by a displacement with fractional parts (a, b) takes the mean of the neighbours of a point with weights
1 - a and a along the columns, of variance a (1 - a), and 1 - b and b along the rows. The zero displacement of the
same variance is the symmetric mean with weights

    a (1 - a) / 2,   1 - a (1 - a),   a (1 - a) / 2      along the columns, then likewise with b along the rows.

To leading order in the wave number, the two damp an image by the same factor; at the finest scales the symmetric mean
damps less. A Gaussian warp by a zero field is a blur already, and a nearest-pixel warp by one is none.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from diffstab.diffeo.warp import warp_in_chunks

Padding = Literal["replicate", "circular"]


def blurred(images: Tensor, field: Tensor, *, padding: Padding = "replicate") -> Tensor:
    """Blur images as a bilinear warp by a field does, without moving anything.

    Args:
        images: (n, C, H, W), floating.
        field: (n, 2, H, W) in pixels, in the dtype that images are warped in, on their device.
        padding: What lies beyond the border: the border pixel, or the opposite side.

    Returns:
        (n, C, H, W), in the dtype of the field; a field of whole pixels gives the images.
    """
    result = images.to(field.dtype)
    for component, axis in ((0, 3), (1, 2)):
        share = field[:, component, None] - field[:, component, None].floor()
        weight = share * (1 - share) / 2
        result = result + weight * _second_difference(result, axis, padding)
    return result


def _second_difference(images: Tensor, axis: int, padding: Padding) -> Tensor:
    pads = (1, 1, 0, 0) if axis == 3 else (0, 0, 1, 1)
    padded = F.pad(images, pads, mode=padding)
    size = images.shape[axis]
    return padded.narrow(axis, 0, size) + padded.narrow(axis, 2, size) - 2 * images


def gaussian_blurred(images: Tensor) -> Tensor:
    """Warp images (n, C, H, W) by a zero field in the Gaussian mode: a blur of 0.4715 px."""
    zero = torch.zeros(1, 2, *images.shape[-2:], device=images.device)
    field = zero.double() if images.dtype == torch.float64 else zero
    return warp_in_chunks(images, field, lambda part: part, mode="gaussian")
