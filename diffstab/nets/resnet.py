"""The residual nets of images of 32 pixels (CIFAR): 20 layers and more, shortcuts without weights."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from diffstab.errors import ArgumentError


class ResNet(nn.Module):
    """Residual net of three stages of width w, 2 w and 4 w, then the mean over space and a linear layer.

    Images of any size from 4 pixels go in; the second and the third stage halve it. Weights are He's normal ones. The
    names in the state dict are those of github akamaster/pytorch_resnet_cifar10, whose trained nets take images in
    [0, 1] less mean (0.485, 0.456, 0.406), over standard deviation (0.229, 0.224, 0.225).

    Args:
        in_channels: Channels of the images.
        depth: Layers with weights, 6 m + 2 for m blocks in a stage: 20, 32, 44, 56, ...
        width: Channels of the first stage.
        out_features: Number of outputs.

    Raises:
        ArgumentError: If no net has that depth, or a size is below 1.

    Source: He, Zhang, Ren, Sun 2015 (arXiv 1512.03385), section 4.2, shortcuts of option A.
    """

    def __init__(
        self, in_channels: int = 3, depth: int = 20, *, width: int = 16, out_features: int = 10
    ) -> None:
        super().__init__()
        blocks, rest = divmod(depth - 2, 6)
        if rest or blocks < 1:
            raise ArgumentError("depth", "be 6 m + 2, as 8, 20, 32, 44 or 56", depth)
        if min(in_channels, width, out_features) < 1:
            sizes = (in_channels, width, out_features)
            raise ArgumentError("in_channels, width and out_features", "be at least 1", sizes)
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.layer1 = _stage(width, width, blocks, stride=1)
        self.layer2 = _stage(width, 2 * width, blocks, stride=2)
        self.layer3 = _stage(2 * width, 4 * width, blocks, stride=2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(4 * width, out_features)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs (n, out_features) for images (n, C, H, W)."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        output: Tensor = self.linear(self.pool(x).flatten(1))
        return output


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut that drops every second pixel and fills new channels with zeros.

    Args:
        before: Channels that come in.
        after: Channels that go out.
        stride: Of the first convolution.
    """

    def __init__(self, before: int, after: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.relu2 = nn.ReLU()
        self.stride, self.new_channels = stride, after - before

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, after, H / stride, W / stride)."""
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        output: Tensor = self.relu2(y + self.shortcut(x))
        return output

    def shortcut(self, x: Tensor) -> Tensor:
        """Return the input in the shape of the output; the new channels are half before and half after the others."""
        first = self.new_channels // 2
        sides = (0, 0, 0, 0, first, self.new_channels - first)
        return functional.pad(x[:, :, :: self.stride, :: self.stride], sides)


def _stage(before: int, after: int, blocks: int, *, stride: int) -> nn.Sequential:
    first = ResidualBlock(before, after, stride=stride)
    return nn.Sequential(first, *(ResidualBlock(after, after, stride=1) for _ in range(blocks - 1)))
