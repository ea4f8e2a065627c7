"""What a model does to an image in [0, 1] before its first layer: it is part of the model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor

from diffstab.errors import ArgumentError

Size = int | tuple[int, int]


@dataclass(frozen=True)
class Preprocessing:
    """Images in [0, 1] to the input of a model: resize, crop, scale, then (x - mean) / std for each channel.

    It acts on whole batches on any device, in their floating type, and gradients pass through it. Deformations act on
    the images before it.

    Args:
        resize: Pixels of the shorter side, or (height, width); None keeps the size. With antialiasing, as torchvision.
        crop: Side of the central part that is kept, or (height, width); None keeps all.
        scale: What white is to be: 1, or 255 for a model of pixels from 0 to 255.
        mean: Of each channel, or one for all, after the scale; None takes nothing off.
        std: Of each channel, or one for all, after the scale; None divides by nothing.
        channels: "rgb" leaves the order of channels, "bgr" reverses it (before mean and std).
        interpolation: "bilinear" or "bicubic", of the resizing.

    Raises:
        ArgumentError: If a value is out of range; at work, if images have other channels than mean and std.
    """

    resize: Size | None = None
    crop: Size | None = None
    scale: float = 1.0
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    channels: Literal["rgb", "bgr"] = "rgb"
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"

    def __post_init__(self) -> None:
        for name in ("resize", "crop"):
            object.__setattr__(self, name, _size(name, getattr(self, name)))
        for name in ("mean", "std"):
            object.__setattr__(self, name, _numbers(name, getattr(self, name)))
        if not (self.scale > 0 and math.isfinite(self.scale)):
            raise ArgumentError("scale", "be positive and finite, as 1 or 255", self.scale)
        if self.std is not None and min(self.std) <= 0:
            raise ArgumentError("std", "be positive", self.std)
        lengths = {
            len(numbers) for numbers in (self.mean, self.std) if numbers is not None and len(numbers) > 1
        }
        if len(lengths) > 1:
            raise ArgumentError("mean and std", "have one number for each channel", (self.mean, self.std))
        if self.channels not in ("rgb", "bgr"):
            raise ArgumentError("channels", "be rgb or bgr", repr(self.channels))
        if self.interpolation not in ("bilinear", "bicubic"):
            raise ArgumentError("interpolation", "be bilinear or bicubic", repr(self.interpolation))

    def __call__(self, images: Tensor) -> Tensor:
        """Return the model's input (n, C, h, w) for images (n, C, H, W) in [0, 1]."""
        self._check_channels(images)
        images = self._of_size(images)
        if self.channels == "bgr":
            images = images.flip(1)
        if self.scale != 1:
            images = images * self.scale
        if self.mean is not None:
            images = images - _per_channel(self.mean, images)
        return images if self.std is None else images / _per_channel(self.std, images)

    @property
    def input_size(self) -> tuple[int, int] | None:
        """Height and width of what enters the model; None where they are those of the images."""
        size = self.crop if self.crop is not None else self.resize if isinstance(self.resize, tuple) else None
        return (size, size) if isinstance(size, int) else size

    def takes_all(self, size: tuple[int, int]) -> bool:
        """Whether all of an image (height, width) enters the model, and nothing around it."""
        if self.crop is None:
            return True
        sides = self.resize if self.resize is not None else size
        if isinstance(sides, int):
            sides = (sides * size[0] // min(size), sides * size[1] // min(size))
        return self.input_size == sides

    @property
    def is_identity(self) -> bool:
        """Whether images enter the model as they are."""
        return self == Preprocessing(interpolation=self.interpolation)

    def __str__(self) -> str:
        """Say what is done, in a few words."""
        default = Preprocessing()
        changed = {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if getattr(self, field.name) != getattr(default, field.name)
        }
        if self.resize is None:
            changed.pop("interpolation", None)
        return ", ".join(f"{name} {_text(value)}" for name, value in changed.items()) or "none"

    def _of_size(self, images: Tensor) -> Tensor:
        if self.resize is None and self.crop is None:
            return images
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms.v2 import functional

        if self.resize is not None:
            size = list(self.resize) if isinstance(self.resize, tuple) else [self.resize]
            mode = InterpolationMode(self.interpolation)
            images = functional.resize(images, size, interpolation=mode, antialias=True)
        if self.crop is not None:
            size = list(self.crop) if isinstance(self.crop, tuple) else [self.crop]
            images = functional.center_crop(images, size)
        return images

    def _check_channels(self, images: Tensor) -> None:
        if images.ndim != 4 or not images.is_floating_point():
            received = f"{images.dtype} of shape {tuple(images.shape)}"
            raise ArgumentError("images", "be floating, of shape (n, C, H, W)", received)
        wanted = max(len(numbers or (0,)) for numbers in (self.mean, self.std))
        if wanted > 1 and images.shape[1] != wanted:
            way_out = "Read the images with as many channels as the model takes."
            raise ArgumentError(
                "images", f"have the {wanted} channels of mean and std", images.shape[1], way_out
            )


def torchvision_preprocessing(transforms: Any) -> Preprocessing:
    """Read the transforms that belong to weights of torchvision, `weights.transforms()`.

    Raises:
        ArgumentError: If they are not those of images.
    """
    name = type(transforms).__name__
    if name == "ObjectDetection":
        return Preprocessing()
    if not hasattr(transforms, "mean") or name.startswith("Video"):
        way_out = "Only models of single images can be measured."
        raise ArgumentError("weights", "have transforms of an image", name, way_out)
    return Preprocessing(
        resize=_one_or_two(getattr(transforms, "resize_size", None)),
        crop=_one_or_two(getattr(transforms, "crop_size", None)),
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        interpolation=transforms.interpolation.value,
    )


def timm_preprocessing(config: dict[str, Any]) -> Preprocessing:
    """Read a data configuration of timm, `timm.data.resolve_model_data_config(model)`.

    Raises:
        ArgumentError: If its images are cropped in a way that is not known here.
    """
    _, height, width = config["input_size"]
    share, mode = config["crop_pct"], config.get("crop_mode", "center")
    if mode not in ("center", "squash"):
        way_out = "Give resize and crop."
        raise ArgumentError("crop_mode of the weights", "be center or squash", repr(mode), way_out)
    sides = (math.floor(height / share), math.floor(width / share))
    return Preprocessing(
        resize=sides if mode == "squash" or height != width else sides[0],
        crop=(height, width),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        interpolation="bilinear" if config["interpolation"] == "bilinear" else "bicubic",
    )


def _per_channel(numbers: tuple[float, ...], images: Tensor) -> Tensor:
    return _constants(numbers, images.device, images.dtype)


@lru_cache(maxsize=64)
def _constants(numbers: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return numbers on a device; kept, as each copy to a GPU waits for it."""
    with torch.inference_mode(False):  # whoever needs gradients later must be able to use them
        return torch.tensor(numbers, device=device, dtype=dtype).view(1, -1, 1, 1)


def _size(name: str, size: Any) -> Size | None:
    sides = [size] if isinstance(size, int) else size
    if sides is None:
        return None
    whole = isinstance(sides, Sequence) and all(isinstance(side, int) and side > 0 for side in sides)
    if not whole or isinstance(size, bool) or len(sides) not in (1, 2):
        raise ArgumentError(name, "be one or two whole numbers of pixels", repr(size))
    return (sides[0], sides[1]) if len(sides) == 2 else int(sides[0])


def _one_or_two(size: Any) -> Size | None:
    return None if size is None else _size("size of the weights' transforms", size)


def _numbers(name: str, value: Any) -> tuple[float, ...] | None:
    if value is None:
        return None
    numbers = tuple(float(part) for part in value) if isinstance(value, Sequence) else (float(value),)
    if not numbers or not all(map(math.isfinite, numbers)):
        raise ArgumentError(name, "hold finite numbers", repr(value))
    return numbers


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return "(" + ", ".join(f"{part:g}" for part in value) + ")"
    return f"{value:g}" if isinstance(value, float) else str(value)
