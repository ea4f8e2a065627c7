"""Apply displacement fields to images."""

from collections.abc import Callable
from typing import Literal, get_args

import torch
import torch.nn.functional as F

from diffstab.diffeo.field import check_coefficients, series_on_grid
from diffstab.diffeo.folding import check_field
from diffstab.diffeo.precision import restored, without_autocast, working_dtype
from diffstab.errors import ArgumentError

Mode = Literal["bilinear", "nearest", "gaussian"]

GAUSSIAN_SIGMA_PX = 0.4715
_GAUSSIAN_RADIUS_PX = 3  # a tap left out weighs exp(-3.5^2 / (2 sigma^2)) ~ 1e-12 or less
_CHUNK_PIXELS = 1 << 17  # pixels per chunk on the CPU: its buffers stay in the cache and in the heap


def warp(images: torch.Tensor, field: torch.Tensor, mode: Mode = "bilinear") -> torch.Tensor:
    """Deform images by displacement fields.

        y(r, s) = x(r - dx(r, s), s - dy(r, s))

    Args:
        images: (n, C, H, W), floating-point, finite; H and W at least 2. They are warped in float64 if
            they are float64, else in float32, under autocast too.
        field: (n, 2, H, W) in pixels, one field per image, or (1, 2, H, W), shared by all; of the dtype that
            the images are warped in, on their device.
        mode: ``"bilinear"``; ``"nearest"`` (halfway goes to the even pixel); or ``"gaussian"``, the mean of
            the pixels with weights exp(-distance^2 / (2 sigma^2)), sigma = 0.4715 px, normalised over the
            pixels inside the image (those beyond 3 px of the nearest pixel, below 1e-11 in all, left out).

    Returns:
        (n, C, H, W), same dtype. Differentiable in the images, and in the field except for nearest.

    Raises:
        ArgumentError: Images or field have a wrong shape, dtype or device, or are not finite; unknown mode.

    Convention:
        Pixel centres are the grid, x along columns to the right and y along rows downwards. Points outside
        the image are clamped to it. A zero field is the identity to the bit for bilinear and nearest at
        any size; for gaussian it is a blur of 0.4715 px, as in the papers.

    Source:
        Petrini et al., arXiv 2105.02468, section 2.
    """
    check_mode(mode)
    check_images(images)
    check_field(field)
    n, _, height, width = images.shape
    if field.shape[0] not in (1, n) or field.shape[2:] != images.shape[2:]:
        condition = f"have shape ({n} or 1, 2, {height}, {width}) like the images"
        raise ArgumentError("field", condition, tuple(field.shape))
    working = working_dtype(images.dtype)
    if (field.dtype, field.device) != (working, images.device):
        condition = f"be {working} on {images.device} for images of {images.dtype}"
        way_out = f"Use field.to(images.device, {working})."
        raise ArgumentError("field", condition, f"{field.dtype} on {field.device}", way_out)
    return warp_in_chunks(images, field, lambda part: part, mode=mode)


def warp_by_coefficients(
    images: torch.Tensor, coefficients: torch.Tensor, mode: Mode = "bilinear"
) -> torch.Tensor:
    """Deform images by the fields of sine coefficients, without keeping all the fields in memory.

    Args:
        images: (n, C, H, W), as for `warp`.
        coefficients: (n, 2, c, c), or (1, 2, c, c) shared by all; converted to the images' device and to the dtype
            that they are warped in.
        mode: As for `warp`.

    Returns:
        ``warp(images, displacement_field(coefficients, H, W), mode)``.

    Raises:
        ArgumentError: As for `warp`, or the coefficients have a wrong shape or are not finite.
    """
    check_mode(mode)
    check_images(images)
    check_coefficients(coefficients)
    n, _, height, width = images.shape
    if len(coefficients) not in (1, n):
        condition = f"have {n} rows (or 1) like the images"
        raise ArgumentError("coefficients", condition, len(coefficients))
    working = coefficients.to(images.device, working_dtype(images.dtype))
    if n > 1 and working.stride(0) == 0:
        working = working[:1]  # one row, expanded: a shared field is evaluated once
    evaluate = series_on_grid(height, width, cutoff=working.shape[-1], scale=(width, height), like=working)
    return warp_in_chunks(images, working, evaluate, mode=mode)


def check_images(images: torch.Tensor) -> None:
    """Raise ArgumentError unless the images are finite floats of shape (n, C, H >= 2, W >= 2)."""
    if images.ndim != 4:
        raise ArgumentError("images", "have shape (n, C, H, W)", tuple(images.shape))
    check_dtype(images)
    if min(images.shape[2:]) < 2:
        raise ArgumentError("images", "have a height and width of at least 2 pixels", tuple(images.shape))
    # The sum is several times faster than isfinite on every value; only a suspect sum is looked into.
    if not bool(images.sum().isfinite()) and not bool(images.isfinite().all()):
        raise ArgumentError("images", "be finite", "NaN or infinity")


def check_dtype(images: torch.Tensor) -> None:
    """Raise ArgumentError unless the images are floating-point."""
    if not images.dtype.is_floating_point:
        way_out = "Convert images of integers with images.float()."
        raise ArgumentError("images", "be floating-point", images.dtype, way_out)


def check_mode(mode: str) -> None:
    """Raise ArgumentError unless the interpolation is a known one."""
    if mode not in get_args(Mode):
        raise ArgumentError("mode", f"be one of {', '.join(get_args(Mode))}", repr(mode))


def warp_in_chunks(
    images: torch.Tensor,
    parameters: torch.Tensor,
    field_of: Callable[[torch.Tensor], torch.Tensor],
    *,
    mode: Mode,
) -> torch.Tensor:
    """Warp images by the fields that parameters give, without looking for values that are not finite.

    Args:
        images: (n, C, H, W), floating.
        parameters: (n or 1, ...), on the device of the images, in the dtype that these are warped in.
        field_of: Gives the fields (m, 2, H, W) of some rows of the parameters.
        mode: As for `warp`.
    """
    n, channels, height, width = images.shape
    if images.numel() == 0:
        return images.clone()
    sample = _by_gaussian if mode == "gaussian" else _grid_resampler(height, width, mode, like=parameters)

    def warp_part(images: torch.Tensor, parameters: torch.Tensor) -> torch.Tensor:
        with without_autocast(images.device):
            return restored(sample(images.to(parameters.dtype), field_of(parameters)), images.dtype)

    if len(parameters) == 1:  # one grid for all: the images become channels
        return warp_part(images.reshape(1, n * channels, height, width), parameters).reshape(images.shape)
    chunk = max(1, _CHUNK_PIXELS // (height * width))
    if images.device.type != "cpu" or images.requires_grad or parameters.requires_grad or chunk >= n:
        return warp_part(images, parameters)
    result = torch.empty_like(images, memory_format=torch.contiguous_format)
    for start in range(0, n, chunk):
        part = slice(start, start + chunk)
        result[part] = warp_part(images[part], parameters[part])
    return result


def _grid_resampler(
    height: int, width: int, mode: str, *, like: torch.Tensor
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Make the `grid_sample` for images of one shape, on sides padded to powers of two.

    `grid_sample` takes normalised coordinates and turns them back into pixels. With a power of two N and
    align_corners=False, g = (2 x + 1) / N - 1 and its inverse are exact in floating point for every whole x:
    that is what makes a zero field the identity to the bit. The padding is never seen: coordinates are
    clamped to the image, and its last row and column weigh 1 there.
    """
    padded_height, padded_width = (1 << (size - 1).bit_length() for size in (height, width))
    rows, columns = _normalised(height, padded_height), _normalised(width, padded_width)
    pixels_to_grid = like.new_tensor([-2 / padded_width, -2 / padded_height])[:, None, None]
    whole = torch.stack(torch.meshgrid(columns, rows, indexing="xy")).to(like)
    column_range, row_range = ((side[0].item(), side[-1].item()) for side in (columns, rows))
    padding = (0, padded_width - width, 0, padded_height - height)

    def resample(images: torch.Tensor, field: torch.Tensor) -> torch.Tensor:
        grid = torch.addcmul(whole, field, pixels_to_grid)
        if column_range == row_range:
            grid.clamp_(*row_range)
        else:
            grid[:, 0].clamp_(*column_range)
            grid[:, 1].clamp_(*row_range)
        padded = F.pad(images, padding) if any(padding) else images
        return F.grid_sample(padded, grid.permute(0, 2, 3, 1), mode=mode, align_corners=False)

    return resample


def _normalised(size: int, padded: int) -> torch.Tensor:
    return (2 * torch.arange(size, dtype=torch.float64) + 1) / padded - 1


def _by_gaussian(images: torch.Tensor, field: torch.Tensor) -> torch.Tensor:
    height, width = images.shape[2:]
    margin = _GAUSSIAN_RADIUS_PX
    rows = torch.arange(height, dtype=field.dtype, device=field.device)[:, None]
    columns = torch.arange(width, dtype=field.dtype, device=field.device)
    row_nearest, row_weights = _gaussian_taps((rows - field[:, 1]).clamp(0, height - 1), height)
    column_nearest, column_weights = _gaussian_taps((columns - field[:, 0]).clamp(0, width - 1), width)
    pixels = F.pad(images, (margin, margin, margin, margin)).flatten(2)
    row_step = width + 2 * margin
    first_tap = row_nearest * row_step + column_nearest  # top left, counted in the padded image
    index = first_tap.flatten(1)[:, None].expand(-1, images.shape[1], -1)
    result = images.new_zeros(())
    for row, row_weight in enumerate(row_weights):
        line = images.new_zeros(())
        for column, column_weight in enumerate(column_weights):
            tap = pixels[:, :, row * row_step + column :].gather(2, index)
            line = torch.addcmul(line, tap, column_weight.flatten(1)[:, None])
        result = torch.addcmul(result, line, row_weight.flatten(1)[:, None])
    return result.reshape(images.shape)


def _gaussian_taps(position_px: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the nearest pixel to each position along one side, and the weights of its neighbours.

    The weights, neighbours first, are zero outside the image and sum to 1.
    """
    nearest = position_px.detach().round()
    offsets = torch.arange(-_GAUSSIAN_RADIUS_PX, _GAUSSIAN_RADIUS_PX + 1).to(position_px)
    taps = nearest + offsets.view(-1, *[1] * position_px.ndim)
    weights = torch.exp((position_px - taps).square() / (-2 * GAUSSIAN_SIGMA_PX**2))
    weights = weights * ((taps >= 0) & (taps < size))
    return nearest.long(), weights / weights.sum(0)
