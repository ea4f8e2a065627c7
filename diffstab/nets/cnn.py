"""A small convolutional net."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import Tensor, nn

from diffstab.errors import ArgumentError


class CNN(nn.Module):
    """Blocks of a 3 x 3 convolution, relu and 2 x 2 mean pooling, then the mean over space and a linear layer.

    It takes images of any size from 2^(number of blocks) pixels. Weights are drawn as torch draws those of its layers.

    Args:
        in_channels: Channels of the images.
        channels: Channels after each block, at least one.
        out_features: Number of outputs.

    Raises:
        ArgumentError: If a size is below 1, or there is no block.
    """

    def __init__(
        self, in_channels: int = 1, channels: Sequence[int] = (16, 32), *, out_features: int = 10
    ) -> None:
        super().__init__()
        if not channels or min(in_channels, *channels, out_features) < 1:
            raise ArgumentError("channels", "be at least one size, each at least 1", list(channels))
        blocks = [
            layer
            for before, after in itertools.pairwise([in_channels, *channels])
            for layer in (nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2))
        ]
        self.features = nn.Sequential(*blocks)
        self.head = nn.Linear(channels[-1], out_features)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs (n, out_features) for images (n, C, H, W)."""
        output: Tensor = self.head(self.features(x).mean((2, 3)))
        return output
