"""Fields of the sine span in whitened coordinates, and the warp of one image by many of them.

A field of the span has one coordinate z = C_ij sqrt((i^2 + j^2) / T) for each component and mode: those of a random
diffeomorphism at temperature T are independent standard normal values. |z| is the whitened norm.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from diffstab.diffeo.precision import restored, without_autocast, working_dtype
from diffstab.diffeo.temperature import (
    check_sides,
    mode_variances,
    rms_displacement_px,
    sine_basis,
    temperature_from_displacement,
)


class WhitenedSpan:
    """Fields of the sine span on images of one size.

    Args:
        size: Height and width in pixels.
        delta_px: Typical displacement of a random diffeomorphism whose coordinates are standard normal; it fixes T.
        cutoff: High-frequency cut-off c >= 2.

    Raises:
        ArgumentError: An argument is out of range.
    """

    def __init__(self, size: tuple[int, int], *, delta_px: float, cutoff: int) -> None:
        check_sides(*size)
        self.size, self.cutoff = size, cutoff
        self.temperature = temperature_from_displacement(delta_px, size, cutoff)
        variances = mode_variances(cutoff)
        self._inside = variances > 0
        self._deviations = (self.temperature * variances[self._inside]).sqrt()

    @property
    def modes(self) -> int:
        """Modes of each of the two components."""
        return len(self._deviations)

    @property
    def dimension(self) -> int:
        """Number of coordinates."""
        return 2 * self.modes

    def rms_px(self, norm: float) -> float:
        """Root mean square displacement of a random field of a whitened norm, pixels."""
        of_a_draw = rms_displacement_px(self.temperature, self.size, self.cutoff)
        return norm * of_a_draw / math.sqrt(self.dimension)

    def coefficients(self, whitened: Tensor) -> Tensor:
        """Sine coefficients (..., 2, c, c) of coordinates (..., 2 modes), as `warp_by_coefficients` takes them."""
        parts = whitened.reshape(*whitened.shape[:-1], 2, self.modes) * self._deviations.to(whitened)
        result = parts.new_zeros((*parts.shape[:-1], self.cutoff, self.cutoff))
        result[..., self._inside.to(parts.device)] = parts
        return result

    def whitened(self, coefficients: Tensor) -> Tensor:
        """Coordinates (..., 2 modes) of sine coefficients (..., 2, c, c) within the cut-off."""
        inside = coefficients[..., self._inside.to(coefficients.device)]
        whitened: Tensor = (inside / self._deviations.to(inside)).flatten(-2)
        return whitened


class FieldWarp:
    """Warps each image by many fields of the span: the map of `diffstab.diffeo.warp`, bilinear, up to rounding.

    The sampling grid is affine in the coordinates, so that all grids are one product of matrices. Differentiable in
    the coordinates.

    Args:
        span: The fields.
        like: A tensor of the device and type of the images.
    """

    def __init__(self, span: WhitenedSpan, *, like: Tensor) -> None:
        height, width = span.size
        dtype = working_dtype(like.dtype)
        rows, columns = (sine_basis(side, span.cutoff) for side in span.size)
        waves = torch.einsum("yj,xi->ijyx", rows, columns)[span._inside]
        waves = waves * span._deviations[:, None, None]
        shifts = torch.zeros(2, span.modes, height, width, 2, dtype=torch.float64)
        # grid_sample counts a side of n pixels from -1 to 1, in n - 1 steps.
        shifts[0, ..., 0] = waves * (-2 * width / (width - 1))
        shifts[1, ..., 1] = waves * (-2 * height / (height - 1))
        places = [torch.linspace(-1, 1, side, dtype=torch.float64) for side in span.size]
        still = torch.stack(torch.meshgrid(places[1], places[0], indexing="xy"), dim=-1)
        self._size = (height, width)
        self._shifts = shifts.view(span.dimension, -1).to(like.device, dtype)
        self._still = still.reshape(1, -1).to(like.device, dtype)

    def __call__(self, images: Tensor, whitened: Tensor) -> Tensor:
        """Warp images.

        Args:
            images: (n, C, H, W).
            whitened: Coordinates (n, k, d) of k fields for each image.

        Returns:
            (n k, C, H, W): all versions of the first image, then of the second.
        """
        versions = whitened.shape[1]
        with without_autocast(images.device):
            grid = torch.addmm(self._still, whitened.flatten(0, 1).to(self._shifts), self._shifts)
            source = images.to(grid.dtype)[:, None].expand(-1, versions, -1, -1, -1).flatten(0, 1)
            warped = F.grid_sample(
                source, grid.view(-1, *self._size, 2), padding_mode="border", align_corners=True
            )
            return restored(warped, images.dtype)
