"""Temperature, cut-off and typical displacement of maximum-entropy diffeomorphisms."""

import math
from typing import NamedTuple

import torch

from diffstab.errors import ArgumentError


class AdmissibleRange(NamedTuple):
    """Temperatures that move the image (``low``) and do not fold it (``high``)."""

    low: float
    high: float


def temperature_from_displacement(delta_px: float, size: int | tuple[int, int], cutoff: int) -> float:
    """Return the temperature whose typical displacement is ``delta_px``.

        T = 4 delta^2 / (pi n^2 ln c)

    Args:
        delta_px: Root-mean-square length of the displacement vector, pixels, at least 0.
        size: Side n in pixels, or (height, width); a rectangle counts as the square with
            n^2 = (H^2 + W^2) / 2, which has the same mean squared displacement.
        cutoff: High-frequency cut-off c, at least 2.

    Returns:
        The temperature T, without unit.

    Raises:
        ArgumentError: An argument is out of range.

    Convention:
        The relation is asymptotic in c. `rms_displacement_px` has the exact value.

    Source:
        Petrini et al., arXiv 2105.02468, section 2.
    """
    _check_at_least_zero("delta_px", delta_px)
    check_cutoff(cutoff)
    return 4 * delta_px**2 / (math.pi * _squared_size_px(size) * math.log(cutoff))


def displacement_from_temperature(temperature: float, size: int | tuple[int, int], cutoff: int) -> float:
    """Return the typical displacement in pixels at a temperature.

        delta = n sqrt(pi T ln c) / 2

    Args:
        temperature: T, at least 0.
        size: Side n in pixels, or (height, width), as in `temperature_from_displacement`.
        cutoff: High-frequency cut-off c, at least 2.

    Returns:
        Root-mean-square length of the displacement vector, pixels, to leading order in c.

    Raises:
        ArgumentError: An argument is out of range.

    Source:
        Petrini et al., arXiv 2105.02468, section 2.
    """
    check_temperature(temperature)
    check_cutoff(cutoff)
    return math.sqrt(_squared_size_px(size) * math.pi * temperature * math.log(cutoff)) / 2


def admissible_temperatures(size: int | tuple[int, int], cutoff: int) -> AdmissibleRange:
    """Return the range of temperatures that move the image by half a pixel or more and do not fold it.

        T_min = 1 / (pi n^2 ln c),  T_max = 4 / (pi^3 c^2 ln c)

    Args:
        size: Side n in pixels, or (height, width), as in `temperature_from_displacement`.
        cutoff: High-frequency cut-off c, at least 2.

    Returns:
        ``low`` and ``high``. The range is empty (``low > high``) when c > 2 n / pi.

    Raises:
        ArgumentError: An argument is out of range.

    Convention:
        ``high`` is a bound in the typical sense: of the fields drawn there 60% fold at c = 2, 40% at c = 3,
        32% at c = 5 and 14% at c = 10; at half of it about one in twenty at c = 3. `diffstab.diffeo.folded` tells
        which.

    Source:
        Petrini et al., arXiv 2105.02468, section 2.
    """
    check_cutoff(cutoff)
    low = temperature_from_displacement(0.5, size, cutoff)
    return AdmissibleRange(low, 4 / (math.pi**3 * cutoff**2 * math.log(cutoff)))


def rms_displacement_px(temperature: float, size: int | tuple[int, int], cutoff: int) -> float:
    """Return the exact root mean square of the displacement over the pixel grid.

        delta_rms^2 = (H^2 + W^2) T sum_ij <sin^2(i pi u)>_u <sin^2(j pi v)>_v / (i^2 + j^2)

    with averages over the columns u and the rows v of the grid, border included.

    Args:
        temperature: T, at least 0.
        size: Side n in pixels, or (height, width).
        cutoff: High-frequency cut-off c, at least 2.

    Returns:
        sqrt(E mean over pixels of (dx^2 + dy^2)) in pixels, for any c.

    Raises:
        ArgumentError: An argument is out of range.
    """
    check_temperature(temperature)
    height, width = _sides_px(size)
    power_rows = sine_basis(height, cutoff).square().mean(0)
    power_columns = sine_basis(width, cutoff).square().mean(0)
    variance = mode_variances(cutoff) * power_columns[:, None] * power_rows[None, :]
    return math.sqrt((height**2 + width**2) * temperature * float(variance.sum()))


def mode_variances(cutoff: int) -> torch.Tensor:
    """Return the variance of each mode at unit temperature: 1 / (i^2 + j^2) within the cut-off, else 0.

    Args:
        cutoff: High-frequency cut-off c, at least 2; modes with sqrt(i^2 + j^2) < c + 1/2 are kept.

    Returns:
        (c, c) in float64; entry [i - 1, j - 1] belongs to sin(i pi u) sin(j pi v).

    Raises:
        ArgumentError: The cut-off is out of range.

    Source:
        Petrini et al., arXiv 2105.02468, section 2.
    """
    check_cutoff(cutoff)
    modes = torch.arange(1, cutoff + 1, dtype=torch.float64)
    squared = modes[:, None] ** 2 + modes[None, :] ** 2
    return torch.where(squared < (cutoff + 0.5) ** 2, 1 / squared, 0.0)


def sine_basis(size_px: int, cutoff: int) -> torch.Tensor:
    """Return sin(i pi u) on the pixels of one side, zero to the bit on the first and the last.

    Args:
        size_px: Number of pixels n of the side, at least 2; pixel k lies at u = k / (n - 1).
        cutoff: Number of modes.

    Returns:
        (n, cutoff) in float64; column i - 1 holds mode i.
    """
    modes = torch.arange(1, cutoff + 1, dtype=torch.float64)
    basis = torch.sin(math.pi * torch.linspace(0, 1, size_px, dtype=torch.float64)[:, None] * modes)
    basis[[0, -1]] = 0.0  # sin(i pi) rounds to 1e-16
    return basis


def check_cutoff(cutoff: int) -> None:
    """Raise ArgumentError unless the cut-off is an integer of at least 2."""
    if not isinstance(cutoff, int) or cutoff < 2:
        raise ArgumentError(
            "cutoff",
            "be an integer of at least 2",
            cutoff,
            "The temperature relations divide by its logarithm.",
        )


def check_temperature(temperature: float) -> None:
    """Raise ArgumentError unless the temperature is finite and at least 0."""
    _check_at_least_zero("temperature", temperature)


def check_sides(height: int, width: int) -> None:
    """Raise ArgumentError unless both sides of an image are integers of at least 2 pixels."""
    for name, side in (("height", height), ("width", width)):
        if not isinstance(side, int) or side < 2:
            raise ArgumentError(name, "be an integer of at least 2 pixels", side)


def _check_at_least_zero(name: str, value: float) -> None:
    if not 0 <= value < math.inf:
        raise ArgumentError(name, "be finite and at least 0", value)


def _sides_px(size: int | tuple[int, int]) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    check_sides(height, width)
    return height, width


def _squared_size_px(size: int | tuple[int, int]) -> float:
    height, width = _sides_px(size)
    return (height**2 + width**2) / 2
