"""Tell whether a displacement field folds the image."""

import itertools
import warnings
from collections.abc import Callable

import torch

from diffstab.diffeo.temperature import admissible_temperatures
from diffstab.errors import ArgumentError, FoldingWarning


def folded(field: torch.Tensor) -> torch.Tensor:
    """Tell which displacement fields fold an image that `warp` reads at s - d(s).

    A field folds where the determinant of I - grad d is not positive. The map s -> s - d(s) is interpolated
    bilinearly between pixels. Its determinant is affine in each cell, so it is positive in the whole cell if and only
    if it is so at the four corners, where the derivatives are differences of neighbours: the test is exact for the
    interpolated map. With a field that vanishes on the border, no fold means a one-to-one map of the image onto itself.

    Args:
        field: (count, 2, H, W) in pixels, any displacement, H and W at least 2.

    Returns:
        (count,) bool, True where the map folds.

    Raises:
        ArgumentError: The shape or dtype is wrong, or a value is not finite.

    Convention:
        det(I - grad d) > 0, because the warped image takes its value at s - d(s). The papers write
        det(I + grad d) > 0; over random fields the two signs have the same law, for one field they differ.
        Of fields drawn at the highest admissible temperature about 60% fold at c = 2, 40% at c = 3, 32% at c = 5
        and 14% at c = 10 (on 28 px 59, 39, 34 and 13%; on 64 px 57, 36, 31 and 15%).

    Source:
        Petrini et al., arXiv 2105.02468, section 2.
    """
    check_field(field)
    along_x = field.diff(dim=3)
    along_y = field.diff(dim=2)
    stretch_x, shear_y = 1 - along_x[:, 0], along_x[:, 1]  # the signs of the two shears cancel
    shear_x, stretch_y = along_y[:, 0], 1 - along_y[:, 1]
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
    warn_of_folded_share(
        lambda: folded(field).double().mean().item(),
        len(field),
        (height, width),
        temperature=temperature,
        cutoff=cutoff,
    )


def warn_of_folded_share(
    share: Callable[[], float], count: int, size: tuple[int, int], *, temperature: float, cutoff: int
) -> None:
    """Warn with the folded share of drawn fields when the temperature exceeds the admissible range.

    Args:
        share: Finds the share; called where it is needed.
        count: Number of the fields.
        size: Height and width of the images in pixels.
        temperature: Temperature of the draw.
        cutoff: Cut-off of the draw.
    """
    highest = admissible_temperatures(size, cutoff).high
    if temperature > highest and count > 0:
        warnings.warn(
            f"temperature {temperature:.3g} exceeds the admissible {highest:.3g} at cutoff {cutoff}: "
            f"{share():.1%} of the {count} drawn fields fold the image. Lower delta_px or the cutoff.",
            FoldingWarning,
            stacklevel=4,
        )


def warn_of_loss(field: torch.Tensor) -> None:
    """Warn that a deformation cannot be undone everywhere where a field folds.

    Args:
        field: (count, 2, H, W) in pixels: the fields that are undone.
    """
    number = int(folded(field).sum())
    lost = "what lay under a fold is lost, and the result is wrong there"
    _tell_if_any(number, f"{number} of the {len(field)} fields that are undone fold the image: {lost}")


def warn_of_lost_points(lost: torch.Tensor) -> None:
    """Warn that the places of some points were not found, which happens only where a field folds strongly.

    Args:
        lost: Bool, one entry for each point.
    """
    number = int(lost.sum())
    places = f"the places of {number} of {lost.numel()} points were not found, they are off by about a pixel"
    _tell_if_any(number, f"The field folds the image: {places}", above=1)


def _tell_if_any(number: int, text: str, *, above: int = 0) -> None:
    """Warn where the caller of the public function stands, `above` calls higher than that of who warns."""
    if number > 0:
        warnings.warn(f"{text}. Lower delta_px or the cutoff.", FoldingWarning, stacklevel=4 + above)


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
