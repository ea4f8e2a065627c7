"""Reports of measurements: estimates with their intervals, comparisons of two, and what a record keeps."""

import math
from collections.abc import Callable, Hashable, Mapping
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.stability.bootstrap import (
    Samples,
    StabilityInterval,
    bootstrap_interval,
    paired_intervals,
    top_share,
)
from diffstab.stability.measures import Stability
from diffstab.stability.probes import ProbeDraw
from diffstab.stability.sums import StabilitySums

Key = TypeVar("Key", bound=Hashable)

_HEAVY = 0.5  # a mean of squares of a normal variable has 0.28
_FLOORS = 2  # D below so many floors is not told from the blur of interpolation
_NAN = torch.tensor(math.nan, dtype=torch.float64)


class StabilityReport(NamedTuple):
    """Stability of one predictor with its error bars.

    Attributes:
        estimate: D, G, R and their parts.
        low: Lower ends of the bootstrap intervals over images, NaN without a bootstrap.
        high: Upper ends.
        confidence: Nominal coverage of the intervals.
        samples: What each image gave, on the CPU.
        draw: How the probes were drawn.
        deformation_top_share: Share of D's numerator that the top 5 % of the images carry.
        noise_top_share: Share of G's numerator, likewise.
        floor: What D reads for reasons of interpolation alone (`StabilitySums.floor`); NaN where it was not measured.
    """

    estimate: Stability
    low: Stability
    high: Stability
    confidence: float
    samples: Samples
    draw: ProbeDraw
    deformation_top_share: float
    noise_top_share: float
    floor: Tensor = _NAN

    @property
    def caution(self) -> str:
        """What to bear in mind about the numbers; empty if nothing.

        Where a twentieth of the images carries more than half of a mean, it may be too low, and its interval may end
        below the truth: see the measured coverage in docs/conventions.md. Where the interval of D reaches down to twice
        its floor, much of D may be the blur of the interpolation.
        """
        return " ".join(filter(None, [self._caution_of_shares(), self._caution_of_floor()]))

    def _caution_of_floor(self) -> str:
        lowest = self.estimate.deformation if math.isnan(self.low.deformation) else self.low.deformation
        if not float(lowest) <= _FLOORS * float(self.floor):
            return ""
        floor = f"{float(self.floor):.2g}"
        return f"D reaches down to twice its floor of {floor}: much of it may be the blur of interpolation."

    def _caution_of_shares(self) -> str:
        shares = {"D": self.deformation_top_share, "G": self.noise_top_share}
        heavy = [f"{share:.0%} of {name}" for name, share in shares.items() if share > _HEAVY]
        if not heavy:
            return ""
        return f"The top 5 % of the images carry {' and '.join(heavy)}: intervals may fall short. Take more images."


class PairedDifference(NamedTuple):
    """Predictor a against predictor b on the same probes.

    Attributes:
        difference: a - b of each number.
        difference_low: Lower ends of the bootstrap intervals, NaN without a bootstrap.
        difference_high: Upper ends.
        log_ratio: ln(a / b) of each number.
        log_ratio_low: Lower ends.
        log_ratio_high: Upper ends.
        confidence: Nominal coverage of the intervals.
    """

    difference: Stability
    difference_low: Stability
    difference_high: Stability
    log_ratio: Stability
    log_ratio_low: Stability
    log_ratio_high: Stability
    confidence: float


def report_of(
    sums: StabilitySums,
    draw: ProbeDraw,
    *,
    bootstrap: int = 1000,
    confidence: float = 0.95,
    generator: torch.Generator,
) -> StabilityReport:
    """Make the report of sums over images; all is NaN for a layer that is constant on them.

    Args:
        sums: Over two images or more.
        draw: How their versions were drawn.
        bootstrap: Number of resamples of the images; 0 leaves the intervals out.
        confidence: Nominal coverage of the intervals.
        generator: Source of the resampling.
    """
    samples, estimate = Samples.of(sums), sums.ratios()
    constant = not bool(sums.denominator > 0)
    interval = bootstrap_interval(
        samples, resamples=0 if constant else bootstrap, confidence=confidence, generator=generator
    )
    shares = top_share(samples.deformation_squares), top_share(samples.noise_squares)
    return StabilityReport(
        estimate, interval.low, interval.high, confidence, samples, draw, *shares, floor=sums.floor
    )


def layer_intervals(
    sums: Mapping[Key, StabilitySums],
    *,
    bootstrap: int = 1000,
    confidence: float = 0.95,
    generator: torch.Generator,
) -> dict[Key, StabilityInterval]:
    """Intervals over images of D, G and R and their parts, for each layer of a pass.

    The same images are resampled for all layers. The shared denominator is resampled with the numerators. Measured
    coverage of the nominal 95 % is in docs/conventions.md: 93 to 96 % for 60 images or more whose changes are not
    dominated by few of them, less where they are (`StabilityReport.caution`).

    Args:
        sums: By layer, or by deformation and layer: `LayerPass.sums()`.
        bootstrap: Number of resamples of the images; with 0 every end is NaN.
        confidence: Nominal coverage, in (0, 1).
        generator: Source of the resampling, moved on once.

    Returns:
        By the same keys; NaN for layers that are constant on the images.
    """
    start = generator.get_state()
    intervals = {}
    for key, one in sums.items():
        generator.set_state(start)
        resamples = bootstrap if bool(one.denominator > 0) else 0
        intervals[key] = bootstrap_interval(
            Samples.of(one), resamples=resamples, confidence=confidence, generator=generator
        )
    return intervals


def paired_difference(
    report_a: StabilityReport,
    report_b: StabilityReport,
    *,
    bootstrap: int = 1000,
    confidence: float = 0.95,
    generator: torch.Generator,
) -> PairedDifference:
    """Compare two predictors measured on the same probes, resampling the same images for both.

    Args:
        report_a: Of `stability_of`.
        report_b: Likewise, on the same probes.
        bootstrap: Number of resamples; 0 leaves the intervals out.
        confidence: Nominal coverage of the intervals.
        generator: Source of the resampling.

    Raises:
        ArgumentError: The reports are of different probes, or an argument is out of range.
    """
    for name in ("deformation_norms", "noise_norms"):
        if not torch.equal(getattr(report_a.draw, name).cpu(), getattr(report_b.draw, name).cpu()):
            raise ArgumentError("report_b", "be measured on the probes of report_a", f"other {name}")
    return _paired(
        (report_a.samples, report_a.estimate),
        (report_b.samples, report_b.estimate),
        bootstrap=bootstrap,
        confidence=confidence,
        generator=generator,
    )


def paired_difference_of_sums(
    sums_a: StabilitySums,
    sums_b: StabilitySums,
    *,
    bootstrap: int = 1000,
    confidence: float = 0.95,
    generator: torch.Generator,
) -> PairedDifference:
    """Compare two models, or two layers, of which the same images were measured with the same seed and deformation.

    Args:
        sums_a: Of a pass, its images in the order of their numbers.
        sums_b: Likewise, of the same images.
        bootstrap: Number of resamples; 0 leaves the intervals out.
        confidence: Nominal coverage of the intervals.
        generator: Source of the resampling; the same images are resampled for both.

    Raises:
        ArgumentError: Numbers of images differ, or an argument is out of range.
        DegenerateError: One of them is constant on the images.
    """
    if sums_a.images != sums_b.images:
        raise ArgumentError("sums_b", f"be of the {sums_a.images} images of sums_a", sums_b.images)
    return _paired(
        (Samples.of(sums_a), sums_a.stability()),
        (Samples.of(sums_b), sums_b.stability()),
        bootstrap=bootstrap,
        confidence=confidence,
        generator=generator,
    )


def _paired(
    a: tuple[Samples, Stability],
    b: tuple[Samples, Stability],
    *,
    bootstrap: int,
    confidence: float,
    generator: torch.Generator,
) -> PairedDifference:
    difference, log_ratio = paired_intervals(
        a[0], b[0], resamples=bootstrap, confidence=confidence, generator=generator
    )
    return PairedDifference(
        _elementwise(torch.sub, a[1], b[1]),
        *difference,
        _elementwise(_log_ratio, a[1], b[1]),
        *log_ratio,
        confidence,
    )


def to_record(report: StabilityReport, prefix: str = "") -> dict[str, float]:
    """The stability columns of a record, each name preceded by `prefix`."""
    row = {}
    for column, name in (("D", "deformation"), ("G", "noise"), ("R", "relative")):
        row[column] = float(getattr(report.estimate, name))
        row[f"{column}_low"] = float(getattr(report.low, name))
        row[f"{column}_high"] = float(getattr(report.high, name))
        row[f"{column}_median"] = float(getattr(report.estimate, f"{name}_median"))
    row["diffeo_numerator"] = float(report.estimate.deformation_numerator)
    row["noise_numerator"] = float(report.estimate.noise_numerator)
    row["denominator"] = float(report.estimate.denominator)
    for name in ("delta_px", "measured_delta_px", "temperature", "cutoff", "folded_share"):
        row[name] = float(getattr(report.draw, name))
    return {prefix + column: value for column, value in row.items()}


def _elementwise(function: Callable[[Tensor, Tensor], Tensor], a: Stability, b: Stability) -> Stability:
    return Stability(*[function(*pair) for pair in zip(a, b, strict=True)])


def _log_ratio(a: Tensor, b: Tensor) -> Tensor:
    return (a / b).log()
