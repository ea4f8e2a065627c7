"""Intervals over images for D, G and R, and for their differences between two predictors.

D, G, R and their parts are products of powers of three means over images, of the squared changes d and g and of the
spread e = |f - mean f|^2. Their logarithms are studentised: with z* = (log D* - log D) / s* over resamples of the
images, the interval is log D - s * (upper and lower quantiles of z*). The standard error s follows from what each
image adds, s^2 = sum_i u_i^2 / (P (P - 1)) with u_i = d_i / mean d - e_i / mean e for D, likewise for the others.
Medians have percentile intervals.

Source: Efron and Tibshirani, "An introduction to the bootstrap" (1993), sections 12.5 and 13.3. Measured coverage is in
docs/conventions.md.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.stability.measures import Stability
from diffstab.stability.sums import StabilitySums

_CHUNK_ENTRIES = 2**21  # resamples x images held at once; 16 MB for each float64 work array
_TOP = 0.05

# Powers of the means of (d, g, e) in the first six numbers of a `Stability`; its last three are medians.
_POWERS = torch.tensor(
    [[1, 0, -1], [0, 1, -1], [1, -1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=torch.float64
)


class Samples(NamedTuple):
    """What a measurement keeps of each image.

    Attributes:
        deformation_squares: |f(tau x) - f(x)|^2 averaged over fields, shape (P,), float64.
        noise_squares: |f(x + eta) - f(x)|^2 averaged over draws, shape (P,), float64.
        spread: |f(x) - mean f|^2, shape (P,), float64.
    """

    deformation_squares: Tensor
    noise_squares: Tensor
    spread: Tensor

    @classmethod
    def of(cls, sums: StabilitySums) -> "Samples":
        """Those of sums, on the CPU."""
        deformation, noise = sums.per_image[:, :2].cpu().unbind(dim=1)
        return cls(deformation, noise, sums.spread.cpu())


class StabilityInterval(NamedTuple):
    """Lower and upper ends for each of the numbers of a `Stability`."""

    low: Stability
    high: Stability


def bootstrap_interval(
    samples: Samples, *, resamples: int, confidence: float, generator: torch.Generator
) -> StabilityInterval:
    """Interval over images of each number of a `Stability`.

    Args:
        samples: Of P images.
        resamples: Number of resamples; with 0 every end is NaN.
        confidence: Nominal coverage, in (0, 1).
        generator: Source of the resampling.

    Returns:
        Float64 scalars >= 0. Resamples without any spread are left out; a number that is the same for every image has
        itself as both ends.

    Raises:
        ArgumentError: `resamples` < 0 or `confidence` outside (0, 1).
    """
    _check(resamples, confidence)
    columns = torch.stack(samples, dim=1)
    draws = [
        _Draws(_logs(moments), _medians([samples], counts)[0])
        for counts, moments in _resampled(columns, resamples, generator=generator)
    ]
    estimate = _Statistics(_log_values(columns.mean(dim=0)), _error(_added(columns)))
    interval = _interval(draws, estimate, confidence=confidence)
    scale = torch.cat([_scale(len(columns)), torch.ones(3, dtype=torch.float64)])
    logarithmic = torch.arange(len(scale)) < len(_POWERS)
    ends = (torch.where(logarithmic, torch.stack(end).exp() * scale, torch.stack(end)) for end in interval)
    return StabilityInterval(*[Stability(*end) for end in ends])


def paired_intervals(
    samples_a: Samples, samples_b: Samples, *, resamples: int, confidence: float, generator: torch.Generator
) -> tuple[StabilityInterval, StabilityInterval]:
    """Intervals of a - b and of ln(a / b) of each number, over the same resamples of the common images.

    Differences are studentised as they are, log ratios as logarithms.
    """
    _check(resamples, confidence)
    columns, scale = torch.stack([*samples_a, *samples_b], dim=1), _scale(len(samples_a.spread))
    differences, ratios = [], []
    for counts, moments in _resampled(columns, resamples, generator=generator):
        a, b = _medians([samples_a, samples_b], counts)
        differences.append(_Draws(_difference(moments, scale), a - b))
        ratios.append(_Draws(_log_ratio(moments), (a / b).log()))
    logs = [_log_values(side.mean(dim=0)) for side in torch.split(columns, 3, dim=1)]
    values = [log.exp() * scale for log in logs]
    added = [_added(side) for side in torch.split(columns, 3, dim=1)]
    difference = _Statistics(values[0] - values[1], _error(values[0] * added[0] - values[1] * added[1]))
    ratio = _Statistics(logs[0] - logs[1], _error(added[0] - added[1]))
    return (
        _interval(differences, difference, confidence=confidence),
        _interval(ratios, ratio, confidence=confidence),
    )


def top_share(values: Tensor) -> float:
    """Share of the sum of values (P,) >= 0 that the largest 5 % of them carry (one at least); NaN for a sum of 0."""
    largest = values.topk(max(1, math.ceil(_TOP * len(values)))).values
    return float(largest.sum() / values.sum())


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


class _Moments(NamedTuple):
    """Means (rows, q) and covariances of a mean (rows, q, q) of the columns in each resample."""

    means: Tensor
    covariances: Tensor


class _Statistics(NamedTuple):
    values: Tensor
    errors: Tensor


class _Draws(NamedTuple):
    """Of one chunk of resamples: statistics (rows, 6) and medians (rows, 3)."""

    statistics: _Statistics
    medians: Tensor


def _check(resamples: int, confidence: float) -> None:
    if resamples < 0:
        raise ArgumentError("bootstrap", "be a number of resamples >= 0", resamples)
    if not 0 < confidence < 1:
        raise ArgumentError("confidence", "lie strictly between 0 and 1", confidence)


def _scale(images: int) -> Tensor:
    """What turns products of means into numbers of a `Stability`: the denominator is 2 P / (P - 1) times mean e."""
    pairs = 2 * images / max(1, images - 1)
    return pairs ** _POWERS[:, 2]


def _log_values(means: Tensor) -> Tensor:
    """Logarithms (..., 6) of the products of powers of means (..., 3)."""
    return torch.where(_POWERS != 0, _POWERS * means[..., None, :].log(), 0).sum(dim=-1)


def _slopes(means: Tensor) -> Tensor:
    """Their derivatives by the means, (..., 6, 3)."""
    return torch.where(_POWERS != 0, _POWERS / means[..., None, :], 0)


def _added(columns: Tensor) -> Tensor:
    """What each image adds to the logarithms, (P, 6), from columns (P, 3)."""
    return (_slopes(columns.mean(dim=0)) * columns[:, None, :]).sum(dim=2)


def _error(added: Tensor) -> Tensor:
    """Standard errors (s,) from what each image adds to each statistic, (P, s), of mean zero or not."""
    count = len(added)
    deviations = added - added.mean(dim=0)
    return deviations.square().sum(dim=0).div(count * max(1, count - 1)).sqrt()


def _resampled(
    columns: Tensor, resamples: int, *, generator: torch.Generator
) -> Iterator[tuple[Tensor, _Moments]]:
    images, width = columns.shape
    products = (columns[:, :, None] * columns[:, None, :]).flatten(1)
    table = torch.cat([columns, products], dim=1)
    for counts in draw_multiplicities(images, resamples, generator=generator):
        means = counts.to(torch.float64) @ table / images
        first, second = means[:, :width], means[:, width:].view(-1, width, width)
        yield (
            counts,
            _Moments(first, (second - first[:, :, None] * first[:, None, :]) / max(1, images - 1)),
        )


def _logs(moments: _Moments) -> _Statistics:
    """Logarithms in each resample, with their standard errors, (rows, 6)."""
    return _Statistics(_log_values(moments.means), _delta(moments, _slopes(moments.means)))


def _log_ratio(moments: _Moments) -> _Statistics:
    """Logarithms of one set less those of another, from six columns."""
    a, b = torch.split(moments.means, 3, dim=1)
    slopes = torch.cat([_slopes(a), -_slopes(b)], dim=2)
    return _Statistics(_log_values(a) - _log_values(b), _delta(moments, slopes))


def _difference(moments: _Moments, scale: Tensor) -> _Statistics:
    """Numbers of one set less those of another, from six columns."""
    sides = torch.split(moments.means, 3, dim=1)
    values = [_log_values(side).exp() * scale for side in sides]
    a, b = (value[:, :, None] * _slopes(side) for value, side in zip(values, sides, strict=True))
    return _Statistics(values[0] - values[1], _delta(moments, torch.cat([a, -b], dim=2)))


def _delta(moments: _Moments, slopes: Tensor) -> Tensor:
    """Standard errors (rows, s) of statistics of given slopes (rows, s, q), to first order."""
    variance = torch.einsum("bsi,bij,bsj->bs", slopes, moments.covariances, slopes)
    return variance.clamp(min=0).sqrt()


def _interval(draws: list[_Draws], estimate: _Statistics, *, confidence: float) -> StabilityInterval:
    """Studentised ends of the statistics, percentiles of the medians."""
    if not draws:
        nan = Stability(*torch.full((9,), torch.nan, dtype=torch.float64))
        return StabilityInterval(nan, nan)
    levels = torch.tensor([(1 - confidence) / 2, (1 + confidence) / 2], dtype=torch.float64)
    values, errors = (torch.cat([draw.statistics[i] for draw in draws]) for i in range(2))
    scores = torch.where(errors > 0, (values - estimate.values) / errors, torch.nan)
    # Without an error, the number is the same for every image.
    reach = torch.where(estimate.errors > 0, scores.nanquantile(levels, dim=0) * estimate.errors, 0)
    medians = torch.cat([draw.medians for draw in draws]).nanquantile(levels, dim=0)
    low, high = estimate.values - reach[1], estimate.values - reach[0]
    return StabilityInterval(Stability(*low, *medians[0]), Stability(*high, *medians[1]))


def _medians(sets: list[Samples], counts: Tensor) -> list[Tensor]:
    """The last three numbers of a `Stability` for each row of multiplicities, (rows, 3) for each set."""
    images = counts.shape[1]
    results = []
    for samples in sets:
        means = counts.to(torch.float64) @ samples.spread / images
        denominators = 2 * images / max(1, images - 1) * means
        first, second = (_weighted_medians(values, counts) for values in samples[:2])
        results.append(torch.stack([first / denominators, second / denominators, first / second], dim=1))
    return results


def _weighted_medians(values: Tensor, multiplicities: Tensor) -> Tensor:
    """Median of the values (P,), each repeated m times, for each row m of the multiplicities (rows, P)."""
    ordered, order = values.sort()
    reached = multiplicities[:, order].cumsum(dim=1)
    count = int(reached[0, -1])
    middle = torch.tensor([(count - 1) // 2, count // 2]).expand(len(reached), 2)
    return ordered[torch.searchsorted(reached, middle.contiguous(), right=True)].mean(dim=1)
