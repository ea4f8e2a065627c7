"""The real handwritten digits that come with scikit-learn: no files, no network."""

from typing import Any

import torch

from datamodules.base import ImageDataModule
from datamodules.splits import Source, Split, balanced_order
from diffstab.streams import stream

N_TRAIN = 1200  # of 1797; the rest is the test split


class Digits(ImageDataModule):
    """1797 handwritten digits of 8 x 8 pixels and 17 grey levels, resized to 28 x 28.

    1200 of them, 120 of each digit, are the training split, the other 597 the test split; the division
    is fixed.

    Args:
        size: Side in pixels that the images are resized to; 8 or None keeps theirs.
        kwargs: Arguments of `ImageDataModule`; `root` is not used.

    Source:
        E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI repository (test part).
    """

    name = "digits"

    def __init__(self, *, size: int | None = 28, **kwargs: Any) -> None:
        super().__init__(size=size, **kwargs)

    def read(self) -> Source:
        """Read both splits."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = torch.from_numpy(digits.images).to(torch.uint8).unsqueeze(1)
        classes = torch.from_numpy(digits.target).long()
        order = balanced_order(classes, generator=stream(0, "division of the digits"))
        train, test = order[:N_TRAIN], order[N_TRAIN:]
        return Source(
            Split(images[train], classes[train]),
            Split(images[test], classes[test]),
            tuple(str(digit) for digit in range(10)),
            white=16,
        )
