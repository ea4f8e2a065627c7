"""Measure the stability of a predictor on images, at its output or at any layer.

`measure_stability` and `layer_stability` take images of any number, in batches. For paired comparisons of small sets,
probes are held in memory: `draw_pairs` once, `stability_of` for each predictor, then `paired_difference`.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from diffstab.errors import ArgumentError, ConstantLayerWarning
from diffstab.stability.draws import AnyDeformation
from diffstab.stability.layer_pass import LayerPass
from diffstab.stability.measures import double_device, squared_changes
from diffstab.stability.noise import NoiseKind
from diffstab.stability.pass_sums import PassSums
from diffstab.stability.predictors import (
    Predictor,
    all_outputs,
    batch_output,
    evaluation_mode,
    images_again,
    tell_if_unsteady,
)
from diffstab.stability.probes import Probes
from diffstab.stability.reports import StabilityReport, report_of
from diffstab.stability.sums import sums_from_changes
from diffstab.streams import stream

Images = Tensor | Iterable[Any]


def measure_stability(
    predictor: Predictor,
    images: Images,
    *,
    deform: AnyDeformation,
    noise: NoiseKind = "matched",
    fields_per_image: int = 1,
    batch_size: int = 128,
    bootstrap: int = 1000,
    confidence: float = 0.95,
    floor: bool = False,
    seed: int = 0,
) -> StabilityReport:
    """Measure D, G and R of a predictor on images, with memory for one batch.

    Args:
        predictor: Takes images (n, ...), returns (n,) or (n, ...). The modules that it is or holds are evaluated in
            eval mode, without gradients, and put back. It gets copies of the images, on the device of its weights.
        images: Shape (P, C, H, W); or batches of a loader, each of them images or a tuple that begins with images.
        deform: From `diffeomorphism` and the like; or any callable as of `draw_pairs`, called image by image.
        noise: "matched" (|eta| = |tau x - x| image by image), "batch" (their mean over a batch) or a norm > 0.
        fields_per_image: Deformations and noise draws for each image.
        batch_size: Images of a tensor that are evaluated at once, three versions of each; loaders have their own.
        bootstrap: Number of resamples of the images; 0 leaves the intervals out.
        confidence: Nominal coverage of the intervals.
        floor: Measure the floor of D too: a fourth version of each image.
        seed: Of all draws. What is drawn for an image depends on it and on the image's place alone: neither batch size
            nor device change the result beyond rounding.

    Raises:
        ArgumentError: Fewer than two images, or outputs that do not fit or are not finite.
        DegenerateError: The predictor is constant on the images.

    Warns:
        UnsteadyPredictorWarning: Outputs change between two calls, or with the other images of the batch.
        FoldingWarning: Deformations are stronger than is admissible.
    """
    options = {"deformations": [deform], "noise": noise, "fields_per_image": fields_per_image, "floor": floor}
    found = _measured(LayerPass(predictor, seed=seed, **options), images, batch_size)  # type: ignore[arg-type]
    (sums,) = found.sums.values()
    sums.stability()  # refuses where there is none
    generator = stream(seed, "bootstrap of a measurement")
    return report_of(
        sums, found.draws[0].of_probes(), bootstrap=bootstrap, confidence=confidence, generator=generator
    )


def layer_stability(
    net: Predictor,
    images: Images,
    layers: Sequence[str] | Callable[[Tensor], Mapping[str, Tensor]],
    *,
    deform: AnyDeformation,
    noise: NoiseKind = "matched",
    fields_per_image: int = 1,
    batch_size: int = 128,
    bootstrap: int = 1000,
    confidence: float = 0.95,
    floor: bool = False,
    seed: int = 0,
) -> dict[str, StabilityReport]:
    """Measure D, G and R of layers of a net, in one pass and without keeping the activations.

    Args:
        net: As the predictor of `measure_stability`; a module, where layers are given by names.
        images: Likewise.
        layers: Names as in `net.named_modules()`, "" for the output; or a callable on images that returns
            {name: output}, like `fcn_layer_outputs(net)`.
        deform: The deformation, as of `measure_stability`.
        noise: The noise, likewise.
        fields_per_image: Deformations and noise draws for each image.
        batch_size: Images of a tensor that are evaluated at once.
        bootstrap: Number of resamples of the images; 0 leaves the intervals out.
        confidence: Nominal coverage of the intervals.
        floor: Measure the floor of D too.
        seed: Of all draws.

    Returns:
        Reports by name; NaN for a layer that is constant on the images. A module that runs several times is there as
        "name#1", "name#2" and so on.

    Raises:
        ArgumentError: As `measure_stability` and `LayerPass`.

    Warns:
        ConstantLayerWarning: Names the layers that are constant on the images.
        UnsteadyPredictorWarning: A layer changes between two calls, or with the other images of the batch.
    """
    options = {"deformations": [deform], "noise": noise, "fields_per_image": fields_per_image, "floor": floor}
    found = _measured(LayerPass(net, layers=layers, seed=seed, **options), images, batch_size)  # type: ignore[arg-type]
    draw, reports = found.draws[0].of_probes(), {}
    for (_, name), sums in found.sums.items():
        # The same resamples for each layer: what differs between two of them is not the choice of images.
        generator = stream(seed, "bootstrap of layers")
        reports[name] = report_of(sums, draw, bootstrap=bootstrap, confidence=confidence, generator=generator)
    _warn_of_constant_layers(found)
    return reports


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
    sums.stability()  # refuses where there is none
    return report_of(sums, probes.draw, bootstrap=bootstrap, confidence=confidence, generator=generator)


def _measured(measuring: LayerPass, images: Images, batch_size: int) -> PassSums:
    if batch_size < 1:
        raise ArgumentError("batch_size", "be >= 1", batch_size)
    start = 0
    with measuring:
        for batch in _batches(images, batch_size):
            measuring.update(batch, torch.arange(start, start + len(batch)))
            start += len(batch)
    if start < 2:
        raise ArgumentError("images", "be at least two images", start, "The denominator runs over pairs.")
    return measuring.result()


def _batches(images: Images, batch_size: int) -> Iterator[Tensor]:
    if isinstance(images, Tensor):
        yield from torch.split(images, batch_size) if len(images) else ()
        return
    for batch in images:
        yield batch[0] if isinstance(batch, tuple | list) else batch


def _warn_of_constant_layers(found: PassSums) -> None:
    constant = [name for (_, name), sums in found.sums.items() if not bool(sums.denominator > 0)]
    if constant:
        names = ", ".join(map(repr, constant))
        message = f"Constant on these images, so that D, G and R are undefined (0 / 0): {names}."
        warnings.warn(message, ConstantLayerWarning, stacklevel=3)


def _mean_squared_changes(
    predictor: Predictor, f_clean: Tensor, changed: Tensor, *, batch_size: int
) -> Tensor:
    """Squared changes (P,) averaged over the fields (k, P, ...), with the outputs of one field at a time."""
    total = torch.zeros(len(f_clean), dtype=torch.float64, device=double_device(f_clean.device))
    for field in changed:
        total += squared_changes(f_clean, all_outputs(predictor, field, batch_size=batch_size))
    return total / len(changed)
