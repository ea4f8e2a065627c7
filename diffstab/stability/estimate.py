"""Measure the stability of a predictor on images: draw, evaluate, resample.

Several predictors are compared on the same draws: `draw_pairs` once, `stability_of` for each, then
`paired_difference` for two of them.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.stability.bootstrap import (
    Samples,
    bootstrap_interval,
    paired_intervals,
    top_share,
)
from diffstab.stability.deformations import Deform
from diffstab.stability.measures import (
    Stability,
    double_device,
    squared_changes,
)
from diffstab.stability.noise import NoiseKind
from diffstab.stability.predictors import (
    Predictor,
    all_outputs,
    batch_output,
    evaluation_mode,
    images_again,
    tell_if_unsteady,
)
from diffstab.stability.probes import ProbeDraw, Probes, draw_pairs
from diffstab.stability.sums import sums_from_changes

_HEAVY = 0.5  # a mean of squares of a normal variable has 0.28


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
    """

    estimate: Stability
    low: Stability
    high: Stability
    confidence: float
    samples: Samples
    draw: ProbeDraw
    deformation_top_share: float
    noise_top_share: float

    @property
    def caution(self) -> str:
        """What to bear in mind about the intervals; empty if nothing.

        Where a twentieth of the images carries more than half of a mean, it may be too low, and its interval may end
        below the truth: see the measured coverage in docs/conventions.md.
        """
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


def stability_of(
    predictor: Predictor,
    probes: Probes,
    *,
    batch_size: int = 1024,
    bootstrap: int = 1000,
    confidence: float = 0.95,
    generator: torch.Generator,
) -> StabilityReport:
    """Measure D, G and R of a predictor on probes.

    Args:
        predictor: Takes images (n, ...), returns (n,) or (n, ...). The modules that it is or holds (a lambda,
            a partial, a bound method, an object) are evaluated in eval mode, without gradients, and put back into
            their modes. It gets copies of the images.
        probes: From `draw_pairs`.
        batch_size: Images per call of the predictor, >= 1.
        bootstrap: Number of resamples of the images; 0 leaves the intervals out.
        confidence: Nominal coverage of the intervals.
        generator: Source of the resampling.

    Raises:
        ArgumentError: Fewer than two images, or outputs that do not fit or are not finite.
        DegenerateError: The predictor is constant on the images.

    Warns:
        UnsteadyPredictorWarning: Outputs change between two calls, or with the other images of the batch.
    """
    if batch_size < 1:
        raise ArgumentError("batch_size", "be >= 1", batch_size)
    with evaluation_mode(predictor), torch.no_grad():
        outputs = all_outputs(predictor, probes.clean, batch_size=batch_size)
        deformation = _mean_squared_changes(predictor, outputs, probes.deformed, batch_size=batch_size)
        noise = _mean_squared_changes(predictor, outputs, probes.noisy, batch_size=batch_size)
        first = slice(images_again(min(batch_size, len(outputs))))
        tell_if_unsteady(
            outputs[first],
            batch_output(predictor, probes.clean[first]),
            lambda: batch_output(predictor, probes.clean[first]),
            smallest=float(torch.minimum(deformation.mean(), noise.mean())),
            what="the predictor",
        )
    sums = sums_from_changes(outputs, deformation, noise)
    estimate = sums.stability()
    samples = Samples.of(sums)
    interval = bootstrap_interval(samples, resamples=bootstrap, confidence=confidence, generator=generator)
    return StabilityReport(
        estimate,
        interval.low,
        interval.high,
        confidence,
        samples,
        probes.draw,
        top_share(samples.deformation_squares),
        top_share(samples.noise_squares),
    )


def measure_stability(
    predictor: Predictor,
    images: Tensor,
    *,
    deform: Deform,
    noise: NoiseKind = "matched",
    fields_per_image: int = 1,
    batch_size: int = 1024,
    bootstrap: int = 1000,
    confidence: float = 0.95,
    generator: torch.Generator,
) -> StabilityReport:
    """Draw probes from images and measure one predictor on them: `draw_pairs`, then `stability_of`."""
    probes = draw_pairs(
        images, deform=deform, noise=noise, fields_per_image=fields_per_image, generator=generator
    )
    return stability_of(
        predictor,
        probes,
        batch_size=batch_size,
        bootstrap=bootstrap,
        confidence=confidence,
        generator=generator,
    )


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
    difference, log_ratio = paired_intervals(
        report_a.samples, report_b.samples, resamples=bootstrap, confidence=confidence, generator=generator
    )
    return PairedDifference(
        _elementwise(torch.sub, report_a.estimate, report_b.estimate),
        *difference,
        _elementwise(_log_ratio, report_a.estimate, report_b.estimate),
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


def _mean_squared_changes(
    predictor: Predictor, f_clean: Tensor, changed: Tensor, *, batch_size: int
) -> Tensor:
    """Squared changes (P,) averaged over the fields (k, P, ...), with the outputs of one field at a time."""
    total = torch.zeros(len(f_clean), dtype=torch.float64, device=double_device(f_clean.device))
    for field in changed:
        total += squared_changes(f_clean, all_outputs(predictor, field, batch_size=batch_size))
    return total / len(changed)


def _elementwise(function: Callable[[Tensor, Tensor], Tensor], a: Stability, b: Stability) -> Stability:
    return Stability(*[function(*pair) for pair in zip(a, b, strict=True)])


def _log_ratio(a: Tensor, b: Tensor) -> Tensor:
    return (a / b).log()
