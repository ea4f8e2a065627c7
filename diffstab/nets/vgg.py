"""A small net in the manner of VGG: 3 x 3 convolutions in blocks, maxima between them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from diffstab.errors import ArgumentError


class VGG(nn.Module):
    """Blocks of 3 x 3 convolutions with relu, 2 x 2 maxima after each, then the mean over space and a linear layer.

    Images of any size from 2^(number of blocks) pixels go in. With the default widths it has 290,000 weights. Those of
    convolutions are He's normal ones.

    Args:
        in_channels: Channels of the images.
        channels: Channels of each block, at least one block.
        convolutions: Convolutions of a block.
        batch_norm: Whether batch normalisation stands between convolution and relu.
        out_features: Number of outputs.

    Raises:
        ArgumentError: If a size is below 1, or there is no block.

    Source: Simonyan, Zisserman 2014 (arXiv 1409.1556).
    """

    def __init__(
        self,
        in_channels: int = 3,
        channels: Sequence[int] = (32, 64, 128),
        *,
        convolutions: int = 2,
        batch_norm: bool = True,
        out_features: int = 10,
    ) -> None:
        super().__init__()
        if not channels or min(in_channels, *channels, convolutions, out_features) < 1:
            sizes = (in_channels, *channels, convolutions, out_features)
            raise ArgumentError("sizes of VGG", "be at least one block, each number at least 1", sizes)
        blocks = [
            nn.Sequential(*_layers(before, after, convolutions, batch_norm=batch_norm), nn.MaxPool2d(2))
            for before, after in itertools.pairwise([in_channels, *channels])
        ]
        self.features = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(channels[-1], out_features)
        for module in self.features.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs (n, out_features) for images (n, C, H, W)."""
        output: Tensor = self.head(self.pool(self.features(x)).flatten(1))
        return output


def _layers(before: int, after: int, convolutions: int, *, batch_norm: bool) -> Iterator[nn.Module]:
    for channels in [before] + [after] * (convolutions - 1):
        yield nn.Conv2d(channels, after, 3, padding=1, bias=not batch_norm)
        if batch_norm:
            yield nn.BatchNorm2d(after)
        yield nn.ReLU()
