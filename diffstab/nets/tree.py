"""A convolutional net in the shape of a tree: each layer joins patches that do not overlap."""

from __future__ import annotations

import math

from torch import Tensor, nn

from diffstab.errors import ArgumentError


class TreeNet(nn.Module):
    """Convolutions along a row, filter and stride one patch, each with relu; then the mean over places, a linear layer.

    With a depth of L and patches of s (s_0 + 1) places it has the shape of the tree of a random hierarchy
    (`diffstab.tasks.Hierarchy`). Inputs are multiplied by the root of their number of channels, so that one-hot places
    have unit mean square; weights are He's normal ones.

    Args:
        in_channels: Channels of the images, the number of features of a string.
        patch: Places that a filter spans.
        depth: Number of convolutions.
        width: Channels of each convolution.
        out_features: Number of outputs.

    Raises:
        ArgumentError: If a size is below 1.
    """

    def __init__(
        self, in_channels: int = 8, *, patch: int = 2, depth: int = 2, width: int = 128, out_features: int = 8
    ) -> None:
        super().__init__()
        sizes = (in_channels, patch, depth, width, out_features)
        if min(sizes) < 1:
            raise ArgumentError("sizes of TreeNet", "be at least 1 each", sizes)
        channels = [in_channels] + [width] * depth
        self.layers = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(before, width, (1, patch), stride=(1, patch)), nn.ReLU())
                for before in channels[:-1]
            )
        )
        self.head = nn.Linear(width, out_features)
        self.scale, self.least = math.sqrt(in_channels), patch**depth
        for module in self.layers.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs (n, out_features) for images (n, C, 1, places).

        Raises:
            ArgumentError: If the places are not a multiple of patch^depth, as some would be left out.
        """
        if x.ndim != 4 or x.shape[3] % self.least or not x.shape[3]:
            condition = f"have shape (n, C, 1, places), places a multiple of patch^depth = {self.least}"
            raise ArgumentError("images", condition, tuple(x.shape))
        output: Tensor = self.head(self.layers(self.scale * x).mean((2, 3)))
        return output
