"""Ramp images and classifiers linear in the field: the smoothed classifier and its radius are known in closed form.

The value of a ramp is its column, so that a warp takes off the horizontal displacement, times the slope. A linear
classifier of the pixels is then linear in the coefficients of the field, and a Gaussian field gives a Gaussian score.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from diffstab.diffeo import mode_variances, temperature_from_displacement
from tests.references.diffeo import field_by_loops

CUTOFF = 3
MODES = [(i, j) for i in range(1, 4) for j in range(1, 4) if math.sqrt(i**2 + j**2) < CUTOFF + 0.5]


class RampProblem(NamedTuple):
    """A classifier of two classes on a ramp: the score of class 1 is margin + effect . z + noise.

    Attributes:
        ramp: (1, 1, n, n).
        pixel_weights: (n n,).
        bias: Added to the score.
        effect: Change of the score with each whitened coordinate of dx, (6,); dy has none.
        margin: Score without a field.
    """

    ramp: Tensor
    pixel_weights: Tensor
    bias: float
    effect: Tensor
    margin: float

    def __call__(self, images: Tensor) -> Tensor:
        """Score of class 1, (k,)."""
        return images[:, 0].flatten(1) @ self.pixel_weights + self.bias

    @property
    def radius(self) -> float:
        """Whitened norm of the least field that takes the majority away, whatever sigma."""
        return self.margin / float(self.effect.norm())


def unit_coefficients(side: int, delta_px: float) -> Tensor:
    """Coefficients (6, 2, 3, 3) of the fields whose only whitened coordinate is one of dx, equal to 1."""
    deviations = (temperature_from_displacement(delta_px, side, CUTOFF) * mode_variances(CUTOFF)).sqrt()
    units = torch.zeros(len(MODES), 2, CUTOFF, CUTOFF, dtype=torch.float64)
    for place, (i, j) in enumerate(MODES):
        units[place, 0, i - 1, j - 1] = deviations[i - 1, j - 1]
    return units


def ramp_of(side: int) -> Tensor:
    """(1, 1, n, n): the column, from 0 to 1."""
    return (torch.arange(side, dtype=torch.float64) / (side - 1)).expand(1, 1, side, side).contiguous()


def effects_of_pixels(side: int, delta_px: float) -> Tensor:
    """Change of each pixel of the ramp with each whitened coordinate of dx, (6, n n)."""
    field = field_by_loops(unit_coefficients(side, delta_px), side, side)
    return -field[:, 0].flatten(1) / (side - 1)


def ramp_problem(pixel_weights: Tensor, *, side: int, delta_px: float, radius: float) -> RampProblem:
    """Set the bias so that the majority for class 1 is lost at a whitened norm."""
    ramp, effect = ramp_of(side), effects_of_pixels(side, delta_px) @ pixel_weights
    margin = radius * float(effect.norm())
    bias = margin - float(ramp.flatten() @ pixel_weights)
    return RampProblem(ramp, pixel_weights, bias, effect, margin)
