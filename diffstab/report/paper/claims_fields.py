"""Claims about the sphere that need no runs: the law of the fields, the smoothness of kernels, modes far above k_c."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from diffstab.kernels.spectrum import kernel_spectrum, multiplicities, ntk_profile, relu_profile
from diffstab.report.intervals import mean_interval
from diffstab.report.numbers import number_text
from diffstab.report.paper.claims_evidence import SLIDES, Claim, Evidence, Finding
from diffstab.report.paper.claims_rules import above, always, near, together
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


def field_smoothness(evidence: Evidence) -> Finding:
    """Whether drawn fields of smoothness nu have E|f(x) - f(y)|^2 ~ |x - y|^(2 nu)."""
    found = {}
    for dimension in DIMENSIONS:
        generator = stream(SEED, "pairs of points", dimension)
        slopes = [difference_exponent(dimension, ROUGH, generator=generator) for _ in range(_GROUPS)]
        found[f"d = {dimension}"] = mean_interval(slopes)
    texts = {
        name: f"{number_text(one.mean)} [{number_text(one.low)}, {number_text(one.high)}]"
        for name, one in found.items()
    }
    worst = max(found, key=lambda name: abs(found[name].mean - 2 * ROUGH))
    return Finding(
        together([near(one.low, one.high, 2 * ROUGH) for one in found.values()]),
        f"{texts[worst]} ({worst})",
        found[worst].mean,
        number_text(2 * ROUGH),
        f"{_GROUPS * _SAMPLES} fields",
        f"exponent of the mean square difference in the distance; {', '.join(': '.join(one) for one in texts.items())}",
    )


def difference_exponent(dimension: int, smoothness: float, *, generator: torch.Generator) -> float:
    """Slope of log E|f(x) - f(y)|^2 against log |x - y| over fields drawn at pairs of points.

    Args:
        dimension: d.
        smoothness: nu of the field.
        generator: Source of randomness.
    """
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


def kernel_is_smoother(evidence: Evidence) -> Finding:
    """Whether the coefficients of the tangent kernel fall faster with the degree than those of a neuron."""
    pairs = {d: (_decay(ntk_profile, d), _decay(relu_profile, d)) for d in (3, 5)}
    texts = [
        f"d = {d}: {number_text(kernel)} against {number_text(neuron)}"
        for d, (kernel, neuron) in pairs.items()
    ]
    return Finding(
        always([kernel > neuron for kernel, neuron in pairs.values()]),
        texts[0],
        pairs[3][0] - pairs[3][1],
        "3 against 2.5",
        "exact",
        "decay of the coefficients in the degree k, kernel against neuron, predicted d against (d + 2) / 2; "
        + "; ".join(texts),
    )


def _decay(profile: Callable[..., Tensor], dimension: int) -> float:
    """Exponent of the decay of the even coefficients of a profile between degrees 50 and 200."""
    degrees = np.arange(50, 201, 2)
    coefficients = kernel_spectrum(profile, dimension, 200)[50::2].abs().numpy()
    return -float(np.polyfit(np.log(degrees), np.log(coefficients), 1)[0])


def decorrelated_far_above(evidence: Evidence) -> Finding:
    """Whether the error of the lazy predictor has all of the target's power far above k_c."""
    found = {}
    for dimension in DIMENSIONS:
        for smoothness in (0.5, 1.5, 4.0):
            shares = [far_power_share(dimension, smoothness, seed=SEED + draw) for draw in range(5)]
            found[f"ν = {smoothness:g}, d = {dimension}"] = mean_interval(shares)
    texts = [f"{name}: {number_text(one.mean)}" for name, one in found.items()]
    least = min(found, key=lambda name: found[name].mean)
    mean, low, high, draws = found[least]
    return Finding(
        together([above(one, bound=0.9) for one in found.values()]),
        f"{number_text(mean)} [{number_text(low)}, {number_text(high)}] ({least})",
        mean,
        "> 0.9",
        f"{draws} draws",
        f"power of the error / power of the target; {'; '.join(texts)}",
    )


def far_power_share(dimension: int, smoothness: float, *, seed: int, n_train: int = 64) -> float:
    """Power of the NTK predictor's error over that of the target, degrees 4 to 8 k_c, averaged over the field.

    Args:
        dimension: d.
        smoothness: nu of the field.
        seed: Of the training points.
        n_train: n.
    """
    learnable = _learnable_modes(dimension, n_train)
    cut = int((learnable.cumsum(0) <= n_train).sum()) - 1
    degrees, field = 2 * _FAR * cut, GaussianField(dimension, smoothness)
    train = uniform_points(n_train, dimension, generator=stream(seed, "points of a claim", dimension))
    error = field_averaged_power("ntk", field, train, degrees)[_FAR * cut :]
    target = (field.variances(degrees) * multiplicities(degrees, dimension))[_FAR * cut :]
    return float(error.sum() / target.sum())


def _learnable_modes(dimension: int, n_train: int) -> Tensor:
    """Number of modes of each degree that the kernel can learn."""
    return multiplicities(2 * n_train, dimension) * (
        kernel_spectrum(ntk_profile, dimension, 2 * n_train) != 0
    )


FIELD_CLAIMS: tuple[Claim, ...] = (
    Claim(
        "field-smoothness",
        SLIDES,
        "Supervised regression on the sphere",
        "Targets of smoothness ν: |f(x) − f(y)| ~ |x − y|^ν.",
        "Exponent of E|f(x) − f(y)|² over distances 0.01 to 0.08, fields of ν = 0.5, d = 2 and 3. Holds if the "
        "whole 95 % interval over ten groups of draws lies within 10 % of 2 ν; does not if outside; else undecided.",
        field_smoothness,
        figure="gaussian_pictures",
    ),
    Claim(
        "kernel-smoother",
        SLIDES,
        "Generalization error in the two regimes",
        "The tangent kernel is smoother than a ReLU neuron.",
        "Decay of the coefficients in spherical harmonics, degrees 50 to 200. Holds if that of the kernel is faster in "
        "d = 3 and 5; does not otherwise. (In d = 2 both fall as k^−2.)",
        kernel_is_smoother,
        figure="spectral_bias",
    ),
    Claim(
        "modes-decorrelated-lazy",
        SLIDES,
        "Generalization error asymptotics (iii): spectral bias",
        "The lazy predictor decorrelates from the target far above k_c.",
        "Power of the error over that of the target, averaged exactly over the field, n = 64, degrees 4 k_c to 8 k_c; "
        "1 or more where nothing correlates. Holds if the 95 % interval over five draws lies above 0.9 for every "
        "field and d; does not if it lies below for one; else undecided.",
        decorrelated_far_above,
        figure="spectral_bias",
    ),
)
"""Claims that are computed on the spot, on the sphere."""
