"""Nets of constant filters on images of one bright pixel: how D, G and R change with depth, computed on the spot.

At stride 1, k layers of filter 3 make the kernel of a random walk of k steps, of width k^(1/2): D ~ 1/k, G ~ k^(1/2) as
ReLU makes the mean of noise positive, R ~ k^(-3/2). At stride 2 and filter 2 nothing overlaps, and D halves.
"""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from diffstab.errors import ArgumentError
from diffstab.report.claims.claim import Claim
from diffstab.report.claims.statistics.registry import Measurement, statistic
from diffstab.report.intervals import exact
from diffstab.stability import LayerPass, Stability

_EXPONENTS = {"D": ("deformation", -1.0, 1.0), "G": ("noise", 0.5, 0.5), "R": ("relative", -1.5, 0.5)}
"""Field of a `Stability`, exponent of theory, and the power of 1/k by which the exponent at depth k is off it."""
_DEPTHS, _RING = (24, 48, 96), 384
_BLOCKS = 6


class _Filter(nn.Module):
    """A convolution of ones along a row that closes to a ring, and relu."""

    def __init__(self, size: int, stride: int) -> None:
        super().__init__()
        self.size, self.stride = size, stride

    def forward(self, x: Tensor) -> Tensor:
        around = functional.pad(x, (0, self.size - self.stride, 0, 0), mode="circular")
        ones = torch.ones(1, 1, 1, self.size, dtype=x.dtype)
        return functional.conv2d(around, ones, stride=(1, self.stride)).relu()


@statistic("the exponent at infinite depth")
def filter_exponent(records: pd.DataFrame, claim: Claim, *, letter: str) -> Measurement:
    """Exponent of D, G or R in the depth, extrapolated from those between k and 2 k layers at two depths."""
    if letter not in _EXPONENTS:
        raise ArgumentError("letter", f"be one of {', '.join(_EXPONENTS)}", repr(letter))
    field, predicted, order = _EXPONENTS[letter]
    found = [float(getattr(one, field)) for one in _stabilities(_RING, _DEPTHS, size=3, stride=1)]
    near, far = (math.log2(found[place + 1] / found[place]) for place in (0, 1))
    factor = 2**order
    slope = (factor * far - near) / (factor - 1)
    detail = f"{near:.3f} from 24 to 48 layers, {far:.3f} from 48 to 96"
    return Measurement({"": exact(slope)}, {"": predicted}, sample=f"{_RING} images", detail=detail)


@statistic("the ratio of a layer to the one before that lies furthest from a half")
def filter_halving(records: pd.DataFrame, claim: Claim) -> Measurement:
    """Ratio of D from layer to layer at stride 2, corrected for the pairs of images of one block."""
    width = 2 ** (_BLOCKS + 3)
    found = _stabilities(width, tuple(range(1, _BLOCKS + 1)), size=2, stride=2)
    values = [
        float(one.deformation) * (width - 2**layer) / (width - 1) for layer, one in enumerate(found, start=1)
    ]
    ratios = [after / before for before, after in pairwise(values)]
    worst = max(ratios, key=lambda ratio: abs(ratio - 0.5))
    return Measurement({"": exact(worst, len(ratios))}, {"": 0.5}, sample=f"{_BLOCKS} layers")


@cache
def _stabilities(width: int, depths: tuple[int, ...], *, size: int, stride: int) -> list[Stability]:
    """D, G and R after so many layers, over all images of one bright pixel on a ring, each shifted by a pixel."""
    net = nn.Sequential(*(_Filter(size, stride) for _ in range(max(depths))))
    images = torch.eye(width, dtype=torch.float64)[:, None, None]
    layers = [str(depth - 1) for depth in depths]
    with LayerPass(net, layers=layers, deformations=[_shifted]) as measuring:
        for numbers in torch.split(torch.arange(width), 64):
            measuring.update(images[numbers], numbers)
    return [measuring.sums()[0, layer].stability() for layer in layers]


def _shifted(images: Tensor) -> Tensor:
    return torch.roll(images, 1, dims=-1)
