"""Draw maximum-entropy displacement fields."""

from collections.abc import Callable

import torch

from diffstab.diffeo.folding import warn_of_folding
from diffstab.diffeo.precision import without_autocast, working_dtype
from diffstab.diffeo.temperature import (
    check_sides,
    check_temperature,
    mode_variances,
    sine_basis,
    temperature_from_displacement,
)
from diffstab.errors import ArgumentError


def draw_coefficients(
    count: int,
    cutoff: int,
    *,
    temperature: float,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> torch.Tensor:
    """Draw the sine coefficients of independent fields.

        C_ij ~ Normal(0, T / (i^2 + j^2)),  sqrt(i^2 + j^2) < c + 1/2

    Args:
        count: Number of fields, at least 0.
        cutoff: High-frequency cut-off c, at least 2.
        temperature: T, at least 0.
        generator: Source of randomness. The draw is made on its device in float64, so that one seed
            gives the same fields in either dtype and on every device.
        dtype: Dtype of the result.
        device: Device of the result; the generator's when None.

    Returns:
        (count, 2, c, c): component (dx, dy), then i of sin(i pi u) along the width, then j of
        sin(j pi v) along the height; zero outside the cut-off.

    Raises:
        ArgumentError: An argument is out of range.

    Source:
        Petrini et al., arXiv 2105.02468, section 2.
    """
    if not isinstance(count, int) or count < 0:
        raise ArgumentError("count", "be an integer of at least 0", count)
    check_temperature(temperature)
    if not dtype.is_floating_point:
        raise ArgumentError("dtype", "be a floating-point dtype", dtype)
    deviations = (temperature * mode_variances(cutoff)).sqrt().to(generator.device)
    shape = (count, 2, cutoff, cutoff)
    normal = torch.randn(shape, generator=generator, dtype=torch.float64, device=generator.device)
    return (normal * deviations).to(device=device or generator.device, dtype=dtype)


def displacement_field(coefficients: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Evaluate fields on the pixel grid.

        dx = W sum_ij Cx_ij sin(i pi u) sin(j pi v)
        dy = H sum_ij Cy_ij sin(i pi u) sin(j pi v)

    Args:
        coefficients: (count, 2, c, c) as drawn by `draw_coefficients`.
        height: H in pixels, at least 2.
        width: W in pixels, at least 2.

    Returns:
        (count, 2, H, W) in pixels, in float64 for float64 coefficients, else in float32, under autocast too;
        channel 0 is dx (columns), channel 1 is dy (rows).

    Raises:
        ArgumentError: A shape, size or dtype is wrong, or a coefficient is not finite.

    Convention:
        Column x lies at u = x / (W - 1) and row y at v = y / (H - 1): the field is zero to the bit on
        the border pixels. A rectangle carries the field of the unit square, scaled by each side's length.
        Modes of i >= W - 1 (or j >= H - 1) vanish or alias on the grid.
    """
    check_sides(height, width)
    check_coefficients(coefficients)
    working = coefficients.to(working_dtype(coefficients.dtype))
    cutoff = working.shape[-1]
    with without_autocast(working.device):
        return series_on_grid(height, width, cutoff=cutoff, scale=(width, height), like=working)(working)


def series_on_grid(
    height: int, width: int, *, cutoff: int, scale: tuple[float, float], like: torch.Tensor
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Make the sine series on one grid, dx times ``scale[0]`` and dy times ``scale[1]``, in the dtype of ``like``."""
    rows, columns = sine_basis(height, cutoff).to(like), sine_basis(width, cutoff).to(like).T.contiguous()
    factors = like.new_tensor(scale)[:, None, None]

    def evaluate(coefficients: torch.Tensor) -> torch.Tensor:
        # The sum over i is one product of matrices for all fields and j at once; then the sum over j.
        scaled = (coefficients * factors).transpose(2, 3)
        lines = (scaled.reshape(-1, cutoff) @ columns).view(-1, cutoff, width)
        return torch.bmm(rows.expand(len(lines), -1, -1), lines).view(-1, 2, height, width)

    return evaluate


def draw_field(
    count: int,
    height: int,
    width: int,
    *,
    delta_px: float | None = None,
    temperature: float | None = None,
    cutoff: int = 3,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> torch.Tensor:
    """Draw displacement fields in pixels. A count of 1 makes one field that `warp` shares over a batch.

    Args:
        count: Number of independent fields.
        height: H in pixels, at least 2.
        width: W in pixels, at least 2.
        delta_px: Typical displacement in pixels; exactly one of this and ``temperature`` is given.
        temperature: Temperature T.
        cutoff: High-frequency cut-off c, at least 2.
        generator: Source of randomness.
        dtype: Dtype of the result, float32 or float64.
        device: Device of the result; the generator's when None.

    Returns:
        (count, 2, H, W) in pixels; channel 0 is dx (columns), channel 1 is dy (rows).

    Raises:
        ArgumentError: An argument is out of range, or not exactly one strength is given.

    Warns:
        FoldingWarning: The temperature exceeds the admissible range; the message has the folded share.
    """
    check_sides(height, width)
    if dtype not in (torch.float32, torch.float64):
        way_out = "Half-precision images are warped by float32 fields."
        raise ArgumentError("dtype", "be float32 or float64", dtype, way_out)
    strength = resolve_temperature(delta_px, temperature, height=height, width=width, cutoff=cutoff)
    coefficients = draw_coefficients(
        count, cutoff, temperature=strength, generator=generator, dtype=dtype, device=device
    )
    field = displacement_field(coefficients, height, width)
    warn_of_folding(field, temperature=strength, cutoff=cutoff)
    return field


def resolve_temperature(
    delta_px: float | None, temperature: float | None, *, height: int, width: int, cutoff: int
) -> float:
    """Return the temperature from whichever of the two strengths is given.

    Raises:
        ArgumentError: Both or none are given, or the given one is out of range.
    """
    if delta_px is not None and temperature is None:
        return temperature_from_displacement(delta_px, (height, width), cutoff)
    if temperature is not None and delta_px is None:
        check_temperature(temperature)
        return temperature
    raise ArgumentError(
        "delta_px and temperature", "be given one without the other", f"{delta_px} and {temperature}"
    )


def check_coefficients(coefficients: torch.Tensor) -> None:
    """Raise ArgumentError unless the coefficients are finite floats of shape (count, 2, c, c)."""
    shape = tuple(coefficients.shape)
    if len(shape) != 4 or shape[1] != 2 or shape[2] != shape[3]:
        raise ArgumentError("coefficients", "have shape (count, 2, c, c)", shape)
    if not coefficients.dtype.is_floating_point:
        raise ArgumentError("coefficients", "be floating-point", coefficients.dtype)
    if not bool(coefficients.isfinite().all()):
        raise ArgumentError("coefficients", "be finite", "NaN or infinity")
