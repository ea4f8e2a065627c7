"""Tell whether a displacement field folds the image."""

import itertools
import warnings

import torch

from diffstab.diffeo.temperature import admissible_temperatures
from diffstab.errors import ArgumentError, FoldingWarning


def folded(field: torch.Tensor) -> torch.Tensor:
    r"""Tell which displacement fields fold: the determinant of I + grad d is not positive everywhere.

    The map s -> s + d(s) is interpolated bilinearly between pixels. Its determinant is affine in each
    cell, so it is positive in the whole cell if and only if it is so at the four corners, where the
    derivatives are differences of neighbours: the test is exact for the interpolated map. With a field
    that vanishes on the border, no fold means a one-to-one map of the image onto itself.

    Args:
        field: (count, 2, H, W) in pixels, any displacement, H and W at least 2.

    Returns:
        (count,) bool, True where the map folds.

    Raises:
        ArgumentError: The shape or dtype is wrong, or a value is not finite.

    Convention:
        The condition of the papers, det(I + grad d) > 0. `warp` samples the image at s - d(s), the
        map of ``folded(-field)``; over random fields the two have the same law.

    Source:
        Petrini et al., arXiv 2105.02468, section 2.
    """
    check_field(field)
    along_x = field.diff(dim=3)
    along_y = field.diff(dim=2)
    stretch_x, shear_y = along_x[:, 0] + 1, along_x[:, 1]
    shear_x, stretch_y = along_y[:, 0], along_y[:, 1] + 1
    result = torch.zeros(len(field), dtype=torch.bool, device=field.device)
    height, width = field.shape[2] - 1, field.shape[3] - 1
    for row, column in itertools.product((0, 1), (0, 1)):
        rows, columns = slice(row, row + height), slice(column, column + width)
        stretch = stretch_x[:, rows] * stretch_y[:, :, columns]
        determinant = stretch - shear_y[:, rows] * shear_x[:, :, columns]
        result |= (determinant <= 0).flatten(1).any(1)
    return result


def warn_of_folding(field: torch.Tensor, *, temperature: float, cutoff: int) -> None:
    """Warn with the folded share of the drawn fields when the temperature exceeds the admissible range.

    Args:
        field: (count, 2, H, W) in pixels.
        temperature: Temperature of the draw.
        cutoff: Cut-off of the draw.
    """
    height, width = field.shape[2:]
    highest = admissible_temperatures((height, width), cutoff).high
    if temperature > highest and len(field) > 0:
        share = folded(field).double().mean().item()
        warnings.warn(
            f"temperature {temperature:.3g} exceeds the admissible {highest:.3g} at cutoff {cutoff}: "
            f"{share:.1%} of the {len(field)} drawn fields fold the image. Lower delta_px or the cutoff.",
            FoldingWarning,
            stacklevel=3,
        )


def check_field(field: torch.Tensor) -> None:
    """Raise ArgumentError unless the field is float, finite and of shape (count, 2, H >= 2, W >= 2)."""
    shape = tuple(field.shape)
    if len(shape) != 4 or shape[1] != 2:
        raise ArgumentError("field", "have shape (count, 2, H, W)", shape)
    if min(shape[2:]) < 2:
        raise ArgumentError("field", "have a height and width of at least 2 pixels", shape)
    if field.dtype not in (torch.float32, torch.float64):
        raise ArgumentError("field", "be float32 or float64", field.dtype)
    # The sum is several times faster than isfinite on every value; only a suspect sum is looked into.
    if not bool(field.sum().isfinite()) and not bool(field.isfinite().all()):
        raise ArgumentError("field", "be finite", "NaN or infinity")
