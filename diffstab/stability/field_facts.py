"""Facts about drawn fields that are reported with every measurement, computed from their sine coefficients."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from diffstab.diffeo import folded
from diffstab.diffeo.field import series_on_grid
from diffstab.diffeo.temperature import sine_basis

_CHUNK_PIXELS = 1 << 20


class FieldFacts(NamedTuple):
    """Facts about the field of each image.

    Attributes:
        squared_px: Mean over the pixels of the squared displacement, shape (n,), float64.
        folded: 1 where the field folds the image, else 0, shape (n,), float64.
    """

    squared_px: Tensor
    folded: Tensor

    @classmethod
    def unknown(cls, count: int) -> "FieldFacts":
        """NaN, for what is no random diffeomorphism."""
        nan = torch.full((count,), math.nan, dtype=torch.float64)
        return cls(nan, nan)

    @property
    def rms_px(self) -> float:
        """Root mean square displacement over all images."""
        return math.sqrt(float(self.squared_px.mean()))

    @property
    def folded_share(self) -> float:
        """Share of the fields that fold, in [0, 1]."""
        return float(self.folded.mean())


def facts_of_series(coefficients: Tensor, height: int, width: int) -> FieldFacts:
    """Facts about sine series (n, 2, c, c) in float64 on the CPU, on a grid of pixels.

    The mean square over the grid is a quadratic form in the coefficients. A field whose gradient is small everywhere
    by the bound sum |C_ij| i pi cannot fold; only others are looked at on the grid.
    """
    cutoff = coefficients.shape[-1]
    across, down = (_gram(size, cutoff) for size in (width, height))
    sides = torch.tensor([width, height], dtype=torch.float64)
    powers = torch.einsum("naij,ik,jl,nakl->na", coefficients, across, down, coefficients)
    squared = (powers * sides.square()).sum(dim=1)
    suspect = _may_fold(coefficients, height, width).nonzero()[:, 0]
    result = torch.zeros(len(coefficients), dtype=torch.float64)
    series = series_on_grid(height, width, cutoff=cutoff, scale=(width, height), like=coefficients)
    for part in torch.split(suspect, max(1, _CHUNK_PIXELS // (height * width))):
        result[part] = folded(series(coefficients[part])).double()
    return FieldFacts(squared, result)


def _gram(size: int, cutoff: int) -> Tensor:
    """Means over the pixels of a side of sin(i pi u) sin(k pi u), (c, c)."""
    basis = sine_basis(size, cutoff)
    return basis.T @ basis / size


def _may_fold(coefficients: Tensor, height: int, width: int) -> Tensor:
    """Which fields are not shown to be free of folds by the largest possible differences of neighbours."""
    modes = torch.arange(1, coefficients.shape[-1] + 1, dtype=torch.float64) * math.pi
    sizes = coefficients.abs()
    along_x = (sizes * modes[:, None]).sum(dim=(2, 3)) / (width - 1)
    along_y = (sizes * modes).sum(dim=(2, 3)) / (height - 1)
    (stretch_x, shear_y), (shear_x, stretch_y) = (
        (part[:, 0] * width, part[:, 1] * height) for part in (along_x, along_y)
    )
    safe = (stretch_x < 1) & (stretch_y < 1) & ((1 - stretch_x) * (1 - stretch_y) > shear_x * shear_y)
    return ~safe
