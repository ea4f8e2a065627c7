"""Measure the stability of a predictor on images: draw, evaluate, resample.

Several predictors are compared on the same draws: `draw_pairs` once, `stability_of` for each, then
`paired_difference` for two of them.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from diffstab.errors import ArgumentError
from diffstab.stability.bootstrap import (
    Interval,
    Samples,
    bootstrap_interval,
    draw_resamples,
    percentile_interval,
)
from diffstab.stability.deformations import Deform, Deformed
from diffstab.stability.measures import (
    Stability,
    check_outputs,
    double_device,
    flat_outputs,
    squared_changes,
)
from diffstab.stability.noise import NoiseKind, add_noise, change_norms, noise_norms
from diffstab.stability.sums import sums_from_changes

Predictor = Callable[[Tensor], Tensor]


class Draw(NamedTuple):
    """How probes were drawn; the five numbers are NaN unless they are random diffeomorphisms.

    Attributes:
        deformation_norms: |tau x - x|, shape (k, P).
        noise_norms: |eta|, shape (k, P).
        delta_px: Typical displacement asked for, pixels.
        measured_delta_px: Root mean square of the drawn displacements, pixels.
        temperature: T.
        cutoff: c.
        folded_share: Share of the fields that fold the image.
    """

    deformation_norms: Tensor
    noise_norms: Tensor
    delta_px: float
    measured_delta_px: float
    temperature: float
    cutoff: float
    folded_share: float


class Probes(NamedTuple):
    """Images with their deformed and noisy versions, to measure any number of predictors on.

    Attributes:
        clean: Images x, shape (P, ...).
        deformed: tau x, k fields per image, shape (k, P, ...).
        noisy: x + eta, shape (k, P, ...).
        draw: How they were drawn.
    """

    clean: Tensor
    deformed: Tensor
    noisy: Tensor
    draw: Draw


class StabilityReport(NamedTuple):
    """Stability of one predictor with its error bars.

    Attributes:
        estimate: D, G, R and their parts.
        low: Lower ends of the bootstrap intervals, NaN without a bootstrap.
        high: Upper ends.
        confidence: Nominal coverage of the intervals.
        samples: What each image gave, on the CPU.
        draw: How the probes were drawn.
    """

    estimate: Stability
    low: Stability
    high: Stability
    confidence: float
    samples: Samples
    draw: Draw


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


def draw_pairs(
    images: Tensor,
    *,
    deform: Deform,
    noise: NoiseKind = "matched",
    fields_per_image: int = 1,
    generator: torch.Generator,
) -> Probes:
    """Deform images and add noise to them.

    Args:
        images: Shape (P, ...), floating; left as they are.
        deform: From `diffeomorphism`, `random_rotation` and the like, or any callable of that form.
        noise: "matched" (|eta| = |tau x - x| image by image), "batch" (their mean) or a fixed norm > 0.
        fields_per_image: Number k >= 1 of deformations and noise draws for each image.
        generator: Source of both; fields first, noise after.

    Raises:
        ArgumentError: An argument is out of range, or `deform` changes the shape or gives non-finite values.
    """
    check_outputs(images, argument="images")
    if fields_per_image < 1:
        raise ArgumentError("fields_per_image", "be >= 1", fields_per_image)
    draws = [_deformed(images, deform, generator=generator) for _ in range(fields_per_image)]
    deformed = torch.stack([draw.images for draw in draws])
    deformation = change_norms(images, deformed)
    norms = noise_norms(deformation, noise=noise)
    noisy = torch.stack([add_noise(images, row, generator=generator) for row in norms])
    draw = Draw(
        deformation_norms=deformation,
        noise_norms=norms,
        delta_px=draws[0].delta_px,
        measured_delta_px=math.sqrt(sum(draw.measured_delta_px**2 for draw in draws) / len(draws)),
        temperature=draws[0].temperature,
        cutoff=draws[0].cutoff,
        folded_share=sum(draw.folded_share for draw in draws) / len(draws),
    )
    return Probes(images, deformed, noisy, draw)


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
        predictor: Takes images (n, ...), returns (n,) or (n, ...). A module is evaluated in eval mode,
            without gradients, and put back into the mode it was in.
        probes: From `draw_pairs`.
        batch_size: Images per call of the predictor, >= 1.
        bootstrap: Number of resamples of the images; 0 leaves the intervals out.
        confidence: Nominal coverage of the intervals.
        generator: Source of the resampling.

    Raises:
        ArgumentError: Fewer than two images, or outputs that do not fit or are not finite.
        DegenerateError: The predictor is constant on the images.
    """
    if batch_size < 1:
        raise ArgumentError("batch_size", "be >= 1", batch_size)
    with evaluation_mode(predictor), torch.no_grad():
        outputs = _outputs(predictor, probes.clean, batch_size=batch_size)
        deformation = _mean_squared_changes(predictor, outputs, probes.deformed, batch_size=batch_size)
        noise = _mean_squared_changes(predictor, outputs, probes.noisy, batch_size=batch_size)
    sums = sums_from_changes(outputs, deformation, noise)
    estimate = sums.stability()
    centred = flat_outputs(outputs) - sums.shift
    samples = Samples(centred.cpu(), deformation.cpu(), noise.cpu())
    interval = bootstrap_interval(samples, resamples=bootstrap, confidence=confidence, generator=generator)
    return StabilityReport(estimate, interval.low, interval.high, confidence, samples, probes.draw)


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
    draws_a, draws_b = draw_resamples(
        [report_a.samples, report_b.samples], resamples=bootstrap, generator=generator
    )
    difference = _paired_interval(torch.sub, draws_a, draws_b, confidence=confidence)
    log_ratio = _paired_interval(_log_ratio, draws_a, draws_b, confidence=confidence)
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


def _deformed(images: Tensor, deform: Deform, *, generator: torch.Generator) -> Deformed:
    draw = deform(images, generator=generator)
    draw = Deformed(draw) if isinstance(draw, Tensor) else draw
    if draw.images.shape != images.shape:
        condition = f"keep the shape of the images, {tuple(images.shape)}"
        raise ArgumentError("deform", condition, f"shape {tuple(draw.images.shape)}")
    check_outputs(draw.images, argument="deformed images")
    return draw


def _mean_squared_changes(
    predictor: Predictor, f_clean: Tensor, changed: Tensor, *, batch_size: int
) -> Tensor:
    """Squared changes (P,) averaged over the fields (k, P, ...), with the outputs of one field at a time."""
    total = torch.zeros(len(f_clean), dtype=torch.float64, device=double_device(f_clean.device))
    for field in changed:
        total += squared_changes(f_clean, _outputs(predictor, field, batch_size=batch_size))
    return total / len(changed)


def _outputs(predictor: Predictor, images: Tensor, *, batch_size: int) -> Tensor:
    parts = []
    for batch in torch.split(images, batch_size):
        output = predictor(batch)
        if not isinstance(output, Tensor) or output.shape[:1] != batch.shape[:1]:
            received = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
            raise ArgumentError(
                "predictor", f"return a tensor ({len(batch)}, ...) for {len(batch)} images", received
            )
        parts.append(output)
    return torch.cat(parts)


@contextmanager
def evaluation_mode(predictor: Predictor) -> Iterator[None]:
    """Eval mode for the modules of the predictor, each put back into its own mode afterwards."""
    training = [m for m in predictor.modules() if m.training] if isinstance(predictor, nn.Module) else []
    try:
        for module in training:
            module.training = False
        yield
    finally:
        for module in training:
            module.training = True


def _elementwise(function: Callable[[Tensor, Tensor], Tensor], a: Stability, b: Stability) -> Stability:
    return Stability(*[function(*pair) for pair in zip(a, b, strict=True)])


def _paired_interval(
    function: Callable[[Tensor, Tensor], Tensor], a: Stability, b: Stability, *, confidence: float
) -> Interval:
    return percentile_interval(_elementwise(function, a, b), confidence=confidence)


def _log_ratio(a: Tensor, b: Tensor) -> Tensor:
    return (a / b).log()
