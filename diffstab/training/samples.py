"""Images and labels of whatever a data loader serves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from diffstab.errors import ArgumentError

IMAGE_KEYS = ("images", "image")
LABEL_KEYS = ("label", "labels", "target", "targets")

_WAY_OUT = "Serve (images, ...) or a dictionary with images."


def images_of(batch: Any) -> Tensor:
    """Return the images of a batch: a tensor, the first entry of a tuple or list, or "image" or "images" of a dict.

    Raises:
        ArgumentError: If the batch is of another kind, or its images are no tensor.
    """
    if isinstance(batch, Mapping):
        return _entry(batch, IMAGE_KEYS)
    if isinstance(batch, tuple | list) and batch:
        return _tensor(batch[0], "batch[0]", described(batch))
    return _tensor(batch, "batch", described(batch))


def labels_of(batch: Any) -> Tensor:
    """Return the labels of a batch: the second entry of a tuple or list, or that of `LABEL_KEYS` in a dict.

    Raises:
        ArgumentError: If there are none.
    """
    if isinstance(batch, Mapping):
        return _entry(batch, LABEL_KEYS)
    if isinstance(batch, tuple | list) and len(batch) > 1:
        return _tensor(batch[1], "batch[1]", described(batch))
    raise ArgumentError("batch", "hold labels beside the images", described(batch), "Serve (images, labels).")


def described(batch: Any) -> str:
    """Describe what a loader served, in a few words."""
    if isinstance(batch, Mapping):
        return f"{type(batch).__name__} with keys {', '.join(map(str, batch)) or '(none)'}"
    if isinstance(batch, Tensor):
        return f"a tensor of shape {tuple(batch.shape)}"
    if isinstance(batch, tuple | list):
        return f"{type(batch).__name__} of ({', '.join(type(part).__name__ for part in batch)})"
    return type(batch).__name__


def _entry(batch: Mapping[Any, Any], keys: tuple[str, ...]) -> Tensor:
    found = [key for key in keys if key in batch]
    if len(found) != 1:
        raise ArgumentError("batch", f"have one of the keys {', '.join(keys)}", described(batch), _WAY_OUT)
    return _tensor(batch[found[0]], f"batch[{found[0]!r}]", described(batch))


def _tensor(value: Any, name: str, received: str) -> Tensor:
    if not isinstance(value, Tensor) or value.ndim == 0:
        raise ArgumentError(name, "be a tensor (n, ...)", received, _WAY_OUT)
    return value
