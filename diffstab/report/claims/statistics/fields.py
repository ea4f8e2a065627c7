"""Statistics on the sphere that need no runs: law of the fields, smoothness of kernels, modes far above k_c."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from diffstab.kernels.spectrum import kernel_spectrum, multiplicities, ntk_profile, relu_profile
from diffstab.report.claims.claim import Claim
from diffstab.report.claims.statistics.registry import Measurement, statistic
from diffstab.report.intervals import exact, mean_interval
from diffstab.report.words import number_text
from diffstab.sphere.fields import GaussianField
from diffstab.sphere.lazy import field_averaged_power
from diffstab.sphere.points import uniform_points
from diffstab.streams import stream

DIMENSIONS = (2, 3)
ROUGH = 0.5
"""Smoothness below 1, where the law of differences is that of the field rather than of any smooth function."""
SEED = 100
_GROUPS, _SAMPLES, _CENTRES = 10, 100, 20
_DISTANCES = (0.01, 0.02, 0.04, 0.08)
_FAR = 4
"""Degrees far above k_c: from four to eight times it."""


@statistic("the 95 % Student interval of the exponent over ten groups of draws")
def field_smoothness(records: pd.DataFrame, claim: Claim) -> Measurement:
    """Exponent of E|f(x) - f(y)|^2 in |x - y| of drawn fields, predicted to be 2 nu."""
    found = {}
    for dimension in DIMENSIONS:
        generator = stream(SEED, "pairs of points", dimension)
        slopes = [difference_exponent(dimension, ROUGH, generator=generator) for _ in range(_GROUPS)]
        found[f"d = {dimension}"] = mean_interval(slopes)
    return Measurement(found, dict.fromkeys(found, 2 * ROUGH), sample=f"{_GROUPS * _SAMPLES} fields")


def difference_exponent(dimension: int, smoothness: float, *, generator: torch.Generator) -> float:
    """Slope of log E|f(x) - f(y)|^2 against log |x - y| over fields drawn at pairs of points."""
    centres = uniform_points(_CENTRES, dimension, generator=generator)
    away = torch.randn(centres.shape, generator=generator, dtype=torch.float64)
    away -= (away * centres).sum(1, keepdim=True) * centres
    away /= away.norm(dim=1, keepdim=True)
    # On the great circle from x towards a direction the chord |x - y| is 2 sin(angle / 2).
    angles = [2 * float(np.arcsin(distance / 2)) for distance in _DISTANCES]
    points = torch.cat([centres, *(np.cos(angle) * centres + np.sin(angle) * away for angle in angles)])
    values = GaussianField(dimension, smoothness).sample(points, generator=generator, samples=_SAMPLES)
    first, *others = torch.split(values, _CENTRES, dim=1)
    squares = [float((other - first).square().mean()) for other in others]
    return float(np.polyfit(np.log(_DISTANCES), np.log(squares), 1)[0])


@statistic("the decay in the degree k of the kernel less that of the neuron")
def kernel_decay(records: pd.DataFrame, claim: Claim) -> Measurement:
    """How much faster the coefficients of the tangent kernel fall with the degree than those of a neuron."""
    gaps, texts = {}, []
    for dimension in (3, 5):
        kernel, neuron = _decay(ntk_profile, dimension), _decay(relu_profile, dimension)
        gaps[f"d = {dimension}"] = exact(kernel - neuron)
        texts.append(f"d = {dimension}: {number_text(kernel)} against {number_text(neuron)}")
    detail = f"predicted d against (d + 2) / 2; {'; '.join(texts)}"
    return Measurement(gaps, sample="exact", detail=detail)


def _decay(profile: Callable[..., Tensor], dimension: int) -> float:
    """Exponent of the decay of the even coefficients of a profile between degrees 50 and 200."""
    degrees = np.arange(50, 201, 2)
    coefficients = kernel_spectrum(profile, dimension, 200)[50::2].abs().numpy()
    return -float(np.polyfit(np.log(degrees), np.log(coefficients), 1)[0])


@statistic("the 95 % interval of the mean over draws")
def far_power_share(records: pd.DataFrame, claim: Claim) -> Measurement:
    """Power of the lazy predictor's error over that of the target far above k_c, for several fields."""
    return Measurement(
        {
            f"ν = {smoothness:g}, d = {dimension}": mean_interval(
                share_above_cut(dimension, smoothness, seed=SEED + draw) for draw in range(5)
            )
            for dimension in DIMENSIONS
            for smoothness in (0.5, 1.5, 4.0)
        }
    )


def share_above_cut(dimension: int, smoothness: float, *, seed: int, n_train: int = 64) -> float:
    """Power of the NTK predictor's error over that of the target, degrees 4 to 8 k_c, averaged over the field."""
    learnable = multiplicities(2 * n_train, dimension) * (
        kernel_spectrum(ntk_profile, dimension, 2 * n_train) != 0
    )
    cut = int((learnable.cumsum(0) <= n_train).sum()) - 1
    degrees, field = 2 * _FAR * cut, GaussianField(dimension, smoothness)
    train = uniform_points(n_train, dimension, generator=stream(seed, "points of a claim", dimension))
    error = field_averaged_power("ntk", field, train, degrees)[_FAR * cut :]
    target = (field.variances(degrees) * multiplicities(degrees, dimension))[_FAR * cut :]
    return float(error.sum() / target.sum())
