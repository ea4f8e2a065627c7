"""LeNet, the first of the convolutional nets."""

from __future__ import annotations

from torch import Tensor, nn

from diffstab.errors import ArgumentError


class LeNet(nn.Module):
    """Two blocks of a 5 x 5 convolution, relu and 2 x 2 maxima, then three linear layers of 120, 84 and the outputs.

    Args:
        in_channels: Channels of the images.
        size: Side of the images in pixels, at least 16: 28 or 32, say.
        out_features: Number of outputs.

    Raises:
        ArgumentError: If a size is too small.

    Source: LeCun, Bottou, Bengio, Haffner 1998, with relu and maxima in place of tanh and means.
    """

    def __init__(self, in_channels: int = 1, size: int = 28, *, out_features: int = 10) -> None:
        super().__init__()
        if min(in_channels, out_features) < 1:
            raise ArgumentError("in_channels and out_features", "be at least 1", (in_channels, out_features))
        if size < 16:
            raise ArgumentError("size", "be at least 16 pixels", size)
        side = ((size - 4) // 2 - 4) // 2
        self.size = size
        self.features = nn.Sequential(
            *(nn.Conv2d(in_channels, 6, 5), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            *(nn.Linear(16 * side**2, 120), nn.ReLU()),
            *(nn.Linear(120, 84), nn.ReLU()),
            nn.Linear(84, out_features),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs (n, out_features) for images (n, C, size, size).

        Raises:
            ArgumentError: If the images have another size.
        """
        if x.shape[2:] != (self.size, self.size):
            way_out = "Give the net the size of the images."
            raise ArgumentError(
                "images of LeNet", f"have {self.size} x {self.size} pixels", tuple(x.shape), way_out
            )
        output: Tensor = self.classifier(self.features(x))
        return output
