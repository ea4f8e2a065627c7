"""Key points, boxes and inverses for kornia's containers, from the parameters of one call."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from kornia.geometry.boxes import Boxes
from kornia.geometry.keypoints import Keypoints

from diffstab.diffeo.field import displacement_field
from diffstab.diffeo.folding import warn_of_loss
from diffstab.diffeo.points import inverse_field, moved_boxes, moved_points, source_points
from diffstab.diffeo.precision import restored, working_dtype
from diffstab.diffeo.warp import Mode, warp

Parameters = dict[str, torch.Tensor]


def moved_keypoints(points: Keypoints, params: Parameters, *, back: bool = False) -> Keypoints:
    """Move key points (n, N, 2) with the picture, or back."""
    return _replaced(points, params, source_points if back else moved_points, axes=2)


def moved_quadrilaterals(boxes: Boxes, params: Parameters, *, back: bool = False) -> Boxes:
    """Put upright boxes around the outlines of boxes (n, N, 4, 2) that are moved with the picture, or back."""
    return _replaced(boxes, params, partial(moved_boxes, back=back), axes=3)


def undone_images(
    images: torch.Tensor, params: Parameters, *, applied: torch.Tensor, mode: Mode
) -> torch.Tensor:
    """Undo the deformation of those of the images (n, C, H, W) to which it was applied.

    Warns:
        FoldingWarning: A field folds.
    """
    height, width = images.shape[2:]
    coefficients = params["coefficients"]
    warn_of_loss(displacement_field(coefficients[applied.to(coefficients.device)], height, width))
    if len(coefficients) > 1 and coefficients.stride(0) == 0:
        coefficients = coefficients[:1]
    field = inverse_field(coefficients, height, width)
    undone = warp(images, field.to(images.device, working_dtype(images.dtype)), mode)
    return torch.where(applied.to(images.device)[:, None, None, None], undone, images)


def _replaced(container: Any, params: Parameters, moved: Callable[..., torch.Tensor], *, axes: int) -> Any:
    """Return a copy of kornia's container with moved coordinates; its metadata stays."""
    data = container.data
    height, width = params["forward_input_shape"][-2:].tolist()
    batch = data if data.ndim > axes else data[None]
    result = moved(batch, params["coefficients"], (height, width))
    copy = container.clone()
    copy._data = restored(result, data.dtype).to(data.device).reshape(data.shape)
    return copy
