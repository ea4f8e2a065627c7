"""Bootstrap intervals of D, G and R over images, and of their difference between two predictors.

A resample draws P of the P images with replacement and recomputes everything, the denominator included. It is
written as how many times each image was drawn, so that all resamples are two matrix products.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.stability.measures import Stability, stability_from_numerators

_CHUNK_ENTRIES = 2**21  # resamples x images held at once; 16 MB for each float64 work array


class Samples(NamedTuple):
    """What a measurement keeps of each image.

    Attributes:
        outputs: Clean outputs less their mean, shape (P, features), float64.
        deformation_squares: |f(tau x) - f(x)|^2 averaged over fields, shape (P,), float64.
        noise_squares: |f(x + eta) - f(x)|^2 averaged over draws, shape (P,), float64.
    """

    outputs: Tensor
    deformation_squares: Tensor
    noise_squares: Tensor


class Interval(NamedTuple):
    """Lower and upper ends for each of the numbers of a `Stability`."""

    low: Stability
    high: Stability


def draw_multiplicities(images: int, resamples: int, *, generator: torch.Generator) -> Iterator[Tensor]:
    """How many times each image occurs in each resample, in chunks of shape (rows, images), int64.

    Args:
        images: Number of images P.
        resamples: Number of resamples, the rows of all chunks together.
        generator: Source of the draw, on its own device; the chunks are on the CPU.
    """
    rows_at_once = max(1, _CHUNK_ENTRIES // images)
    for start in range(0, resamples, rows_at_once):
        rows = min(rows_at_once, resamples - start)
        drawn = torch.randint(images, (rows, images), generator=generator, device=generator.device).cpu()
        flat = drawn + images * torch.arange(rows)[:, None]
        yield torch.bincount(flat.flatten(), minlength=rows * images).view(rows, images)


def resampled_stability(samples: Samples, multiplicities: Tensor) -> Stability:
    """D, G and R of weighted sets of images.

    Pairs of copies of one image do not count in the denominator, which runs over distinct images:

        sum_{i != j} m_i m_j |f_i - f_j|^2 / sum_{i != j} m_i m_j
            = 2 (P sum_i m_i |f_i|^2 - |sum_i m_i f_i|^2) / (P^2 - sum_i m_i^2),   P = sum_i m_i

    Args:
        samples: Of P images.
        multiplicities: How many times each image counts, shape (resamples, P); each row sums to the same P.

    Returns:
        Float64 tensors of shape (resamples,); NaN or infinite where all copies are of one image.
    """
    weights = multiplicities.to(torch.float64)
    count = weights[0].sum()
    squares = (samples.deformation_squares, samples.noise_squares)
    means = (weights @ torch.stack(squares, dim=1) / count).T
    medians = torch.stack([_weighted_medians(values, multiplicities) for values in squares])
    power = weights @ samples.outputs.square().sum(dim=1)
    total = (weights @ samples.outputs).square_().sum(dim=1)
    pairs = count**2 - weights.square().sum(dim=1)
    return stability_from_numerators(means, medians, 2 * (count * power - total) / pairs)


def bootstrap_interval(
    samples: Samples, *, resamples: int, confidence: float, generator: torch.Generator
) -> Interval:
    """Percentile bootstrap interval over images of each number of a `Stability`.

    Measured coverage of D, G and R at a nominal 95 %, when the changes of the outputs are normal: 91-94 % at 50
    images, 94-96 % at 200 and at 1000. Log-normal sizes of the changes on top: 87-93 % at 200, 93 % at 1000.

    Args:
        samples: Of P images.
        resamples: Number of resamples; with 0 every end is NaN.
        confidence: Nominal coverage, in (0, 1).
        generator: Source of the resampling.

    Returns:
        Float64 scalars; resamples of copies of one image alone, where the ratios are undefined, are left out.

    Raises:
        ArgumentError: `resamples` < 0 or `confidence` outside (0, 1).

    Source: Efron and Tibshirani, "An introduction to the bootstrap" (1993), chapter 13.
    """
    draws = draw_resamples([samples], resamples=resamples, generator=generator)[0]
    return percentile_interval(draws, confidence=confidence)


def draw_resamples(sets: list[Samples], *, resamples: int, generator: torch.Generator) -> list[Stability]:
    """Stability of each set over the same resamples of their common images, in tensors (resamples,)."""
    if resamples < 0:
        raise ArgumentError("bootstrap", "be a number of resamples >= 0", resamples)
    parts: list[list[Stability]] = [[] for _ in sets]
    for multiplicities in draw_multiplicities(len(sets[0].outputs), resamples, generator=generator):
        for part, samples in zip(parts, sets, strict=True):
            part.append(resampled_stability(samples, multiplicities))
    empty = Stability(*[torch.empty(0, dtype=torch.float64)] * len(Stability._fields))
    return [Stability(*map(torch.cat, zip(empty, *part, strict=True))) for part in parts]


def percentile_interval(draws: Stability, *, confidence: float) -> Interval:
    """The central `confidence` share of each number's resamples, NaN left out; NaN when there is none."""
    if not 0 < confidence < 1:
        raise ArgumentError("confidence", "lie strictly between 0 and 1", confidence)
    levels = torch.tensor([(1 - confidence) / 2, (1 + confidence) / 2], dtype=torch.float64)
    ends = [_quantiles(values, levels) for values in draws]
    return Interval(Stability(*[low for low, _ in ends]), Stability(*[high for _, high in ends]))


def _quantiles(values: Tensor, levels: Tensor) -> Tensor:
    if values.numel() == 0:
        return torch.full_like(levels, torch.nan)
    return values.nanquantile(levels)


def _weighted_medians(values: Tensor, multiplicities: Tensor) -> Tensor:
    """Median of the values (P,), each repeated m times, for each row m of the multiplicities (rows, P)."""
    ordered, order = values.sort()
    reached = multiplicities[:, order].cumsum(dim=1)
    count = int(reached[0, -1])
    middle = torch.tensor([(count - 1) // 2, count // 2]).expand(len(reached), 2)
    return ordered[torch.searchsorted(reached, middle.contiguous(), right=True)].mean(dim=1)
