"""Strings of a hierarchy as images: one row of pixels, a channel for each feature."""

from __future__ import annotations

import torch
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.tasks.hierarchy import Hierarchy


def string_images(features: Tensor, places: Tensor, hierarchy: Hierarchy) -> Tensor:
    """Return one-hot images (n, v, 1, places), uint8: 1 where a feature lies, 0 elsewhere.

    Args:
        features: (n, s^L).
        places: (n, s^L).
        hierarchy: Of the strings.
    """
    images = torch.zeros(len(features), hierarchy.features, 1, hierarchy.n_places, dtype=torch.uint8)
    images[torch.arange(len(features))[:, None], features, 0, places] = 1
    return images


def read_images(images: Tensor, hierarchy: Hierarchy) -> tuple[Tensor, Tensor]:
    """Return features and places (n, s^L) of images of strings, as `string_images` makes them.

    Raises:
        ArgumentError: If they are no such images.
    """
    shape, count = (hierarchy.features, 1, hierarchy.n_places), hierarchy.n_features
    if images.ndim != 4 or tuple(images.shape[1:]) != shape:
        raise ArgumentError("images", f"have shape (n, {', '.join(map(str, shape))})", tuple(images.shape))
    rows = images[:, :, 0]
    occupied = rows.sum(1) != 0
    if not bool(((rows == 0) | (rows == 1)).all()) or bool((rows.sum(1) > 1).any()):
        way_out = 'Give the data normalisation="none".'
        raise ArgumentError(
            "images", "be one-hot: 0 and 1, one feature at most at a place", "others", way_out
        )
    if bool((occupied.sum(1) != count).any()):
        raise ArgumentError("images", f"hold {count} features each", "another number")
    places = occupied.nonzero()[:, 1].view(len(images), count)
    return rows.argmax(1).gather(1, places), places
