"""What a torchvision sample holds beside (or as) its image, deformed by one draw: masks, boxes, key points, videos."""

from typing import Any, NamedTuple

import numpy as np
import PIL.Image
import torch
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as tv

from diffstab.diffeo.points import moved_boxes, moved_points
from diffstab.diffeo.precision import in_double, restored
from diffstab.diffeo.warp import Mode, warp_by_coefficients
from diffstab.errors import ArgumentError

_KEY_POINTS: Any = getattr(tv_tensors, "KeyPoints", ())  # torchvision 0.23
_UPRIGHT = ("XYXY", "XYWH", "CXCYWH")
_BYTE_MODES = ("L", "LA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
_NUMBER_MODES = ("F", "I", "I;16")
_EXACT_IN_FLOAT32 = 1 << 24
_PIXEL_CENTRE = (
    0.5  # torchvision's boxes count from the corner of the first pixel, its key points from the centre
)


class FieldDraw(NamedTuple):
    """One draw of a deformation for the n images of a sample."""

    coefficients: torch.Tensor  # (n, 2, c, c)
    applied: torch.Tensor  # (n,) bool: which images are deformed
    mode: Mode
    shared: bool  # one field for all


def is_spatial(leaf: Any) -> bool:
    """Tell whether a leaf of a sample always follows the field; a plain tensor does so only as the image."""
    return isinstance(leaf, tv_tensors.TVTensor | PIL.Image.Image)


def image_of(leaves: list[Any]) -> int | None:
    """Return the place of the image in a sample by torchvision's rule, None without one.

    It is the first image or video; the first plain tensor counts only where there is no such.
    """
    explicit = (tv_tensors.Image, tv_tensors.Video, PIL.Image.Image)
    for place, leaf in enumerate(leaves):
        if isinstance(leaf, explicit):
            return place
    for place, leaf in enumerate(leaves):
        if isinstance(leaf, torch.Tensor) and not isinstance(leaf, tv_tensors.TVTensor):
            return place
    return None


def batch_shape(leaf: Any) -> tuple[int, int, int, int]:
    """Return (n, C, H, W) of the leaf that sizes a sample: n = 1 but for batches of images or videos."""
    if isinstance(leaf, PIL.Image.Image):
        return (1, len(leaf.getbands()), leaf.height, leaf.width)
    if isinstance(leaf, (tv_tensors.BoundingBoxes, _KEY_POINTS)):  # an empty tuple counts too
        height, width = leaf.canvas_size
        return (1, 1, height, width)
    shape = tuple(leaf.shape)
    single = 4 if isinstance(leaf, tv_tensors.Video) else 3
    if not 2 <= len(shape) <= single + 1:
        raise ArgumentError("images", f"have 2 to {single + 1} dimensions", f"shape {shape}")
    batched = len(shape) == single + 1 and not isinstance(leaf, tv_tensors.Mask)
    return (shape[0] if batched else 1, shape[-3] if len(shape) > 2 else 1, *shape[-2:])


def deformed(leaf: Any, draw: FieldDraw) -> Any:
    """Deform one leaf of a sample, its type and metadata kept."""
    if isinstance(leaf, PIL.Image.Image):
        return _deformed_pil(leaf, draw)
    values = leaf.as_subclass(torch.Tensor)
    if isinstance(leaf, tv_tensors.Mask):
        result = deformed_masks(values, draw)
    elif isinstance(leaf, tv_tensors.BoundingBoxes):
        result = _deformed_boxes(values, draw, form=leaf.format, canvas=leaf.canvas_size)
    elif isinstance(leaf, _KEY_POINTS):
        result = _deformed_points(values, draw, canvas=leaf.canvas_size)
    elif isinstance(leaf, tv_tensors.Image | tv_tensors.Video) or not is_spatial(leaf):
        result = deformed_images(values, draw)
    else:
        way_out = "Give it as a plain tensor if it does not depend on the geometry."
        raise ArgumentError("sample", "hold types of torchvision.tv_tensors", type(leaf).__name__, way_out)
    return tv_tensors.wrap(result, like=leaf) if is_spatial(leaf) else result


def deformed_images(values: torch.Tensor, draw: FieldDraw) -> torch.Tensor:
    """Deform images (..., H, W) of floats or uint8, which are rounded; with n > 1 images the first axis is theirs."""
    rows = _by_image(as_floats(values), draw)
    result = torch.where(
        _like(draw.applied, rows), warp_by_coefficients(rows, draw.coefficients, draw.mode), rows
    )
    return restored(result, values.dtype).reshape(values.shape)


def deformed_masks(values: torch.Tensor, draw: FieldDraw) -> torch.Tensor:
    """Deform masks (..., H, W) of any type: each pixel takes the value of the nearest one, to the bit."""
    rows = _by_image(values, draw)
    height, width = rows.shape[2:]
    dtype = torch.float32 if height * width <= _EXACT_IN_FLOAT32 else torch.float64
    pixels = torch.arange(height * width, dtype=dtype, device=values.device).view(1, 1, height, width)
    pixels = pixels.expand(len(rows), -1, -1, -1)
    nearest = warp_by_coefficients(pixels, draw.coefficients, "nearest")
    nearest = torch.where(_like(draw.applied, pixels), nearest, pixels).long()
    return rows.flatten(2).gather(2, nearest.flatten(2).expand(-1, rows.shape[1], -1)).reshape(values.shape)


def as_floats(images: torch.Tensor) -> torch.Tensor:
    """Convert uint8 images to float32; refuse other integers, of which labels are made."""
    if images.dtype == torch.uint8:
        return images.float()
    if not images.dtype.is_floating_point:
        way_out = "Wrap masks in torchvision.tv_tensors.Mask; convert images of other integers to floats."
        raise ArgumentError("images", "be floating-point or uint8", images.dtype, way_out)
    return images


def _deformed_pil(image: PIL.Image.Image, draw: FieldDraw) -> PIL.Image.Image:
    if image.mode in _NUMBER_MODES:
        return _from_numbers(np.array(image), draw)
    if image.mode not in _BYTE_MODES:
        condition = f"have one of the modes {', '.join(_BYTE_MODES + _NUMBER_MODES)}"
        way_out = "Convert it with image.convert('RGB'), or wrap a mask in torchvision.tv_tensors.Mask."
        raise ArgumentError("PIL image", condition, repr(image.mode), way_out)
    bands = torch.stack([torch.from_numpy(np.array(band)) for band in image.split()])
    moved = deformed_images(bands, draw).numpy()
    return PIL.Image.merge(image.mode, [PIL.Image.fromarray(band) for band in moved])


def _from_numbers(pixels: np.ndarray, draw: FieldDraw) -> PIL.Image.Image:
    moved = deformed_images(torch.from_numpy(pixels.astype(np.float64)), draw).numpy()
    whole = np.issubdtype(pixels.dtype, np.integer)
    return PIL.Image.fromarray((np.rint(moved) if whole else moved).astype(pixels.dtype))


def _deformed_boxes(
    values: torch.Tensor, draw: FieldDraw, *, form: tv_tensors.BoundingBoxFormat, canvas: tuple[int, int]
) -> torch.Tensor:
    if form.name not in _UPRIGHT:
        way_out = "A deformed rectangle is none: give its corners as torchvision.tv_tensors.KeyPoints."
        raise ArgumentError(
            "bounding boxes", f"have one of the formats {', '.join(_UPRIGHT)}", form.name, way_out
        )
    upright = tv_tensors.BoundingBoxFormat.XYXY
    corners = tv.convert_bounding_box_format(in_double(values), old_format=form, new_format=upright)
    left, top, right, bottom = (corners - _PIXEL_CENTRE).unbind(-1)
    outline = torch.stack([left, top, right, top, right, bottom, left, bottom], dim=-1).reshape(1, -1, 4, 2)
    coefficients, applied = _of_one_image(draw, "bounding boxes")
    if not applied:
        return values.clone()
    moved = moved_boxes(outline, coefficients, canvas)[0] + _PIXEL_CENTRE
    around = torch.cat([moved[:, 0], moved[:, 2]], dim=-1)
    result = tv.convert_bounding_box_format(around, old_format=upright, new_format=form)
    return restored(result, values.dtype).to(values.device)


def _deformed_points(values: torch.Tensor, draw: FieldDraw, *, canvas: tuple[int, int]) -> torch.Tensor:
    coefficients, applied = _of_one_image(draw, "key points")
    if not applied:
        return values.clone()
    moved = moved_points(values.reshape(1, -1, 2), coefficients, canvas)
    return restored(moved.reshape(values.shape), values.dtype).to(values.device)


def _of_one_image(draw: FieldDraw, what: str) -> tuple[torch.Tensor, bool]:
    """Return the one field of a sample, and whether it is applied: boxes do not say to which image they belong."""
    if len(draw.coefficients) > 1 and not draw.shared:
        way_out = "Deform one sample at a time, or share the field by same_on_batch=True."
        raise ArgumentError(
            "sample", f"hold one image beside {what}", f"{len(draw.coefficients)} images", way_out
        )
    return draw.coefficients[:1], bool(draw.applied[:1].all())


def _by_image(values: torch.Tensor, draw: FieldDraw) -> torch.Tensor:
    """View values (..., H, W) as (n, channels, H, W): all of them of the one image, or the first axis by image."""
    count, height, width = len(draw.coefficients), *values.shape[-2:]
    if count != 1 and (values.ndim < 3 or len(values) != count):
        condition = f"hold {count} images or masks along the first axis in each of its parts"
        raise ArgumentError("sample", condition, f"shape {tuple(values.shape)}")
    channels = values.numel() // max(1, count * height * width)
    return values.reshape(count, channels, height, width)


def _like(applied: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    return applied.to(rows.device)[:, None, None, None]
