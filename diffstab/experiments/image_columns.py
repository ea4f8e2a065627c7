"""Columns that an experiment on images measures of a predictor, and its example images."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.stats import binomtest
from torch import Tensor

from diffstab.errors import FoldingWarning
from diffstab.nets import FCN, CentredOutput, make_loss
from diffstab.results import write_atomically
from diffstab.sparsity import mass, neuron_picture, principal_axes, sparsity_report, sparsity_to_record
from diffstab.stability import Probes, diffeomorphism, draw_pairs, stability_of, to_record
from diffstab.stability.predictors import Predictor
from diffstab.streams import stream

if TYPE_CHECKING:
    from diffstab.experiments.images import StabilityChoice

_DRIFT_POINTS = 128
_EXAMPLE_IMAGES = 4
_EXAMPLE_DELTAS_PX = (0.5, 1.0, 2.0)


def test_error_columns(predictor: Predictor, data: Any, confidence: float) -> dict[str, float]:
    """Return the test error with Wilson's interval for a share of that many images."""
    return share_columns(
        error_rate(predictor, data.test_images, data.test_labels), len(data.test_labels), confidence
    )


def share_columns(error: float, count: int, confidence: float) -> dict[str, float]:
    """Return a test error, the share of so many images, with Wilson's interval."""
    interval = binomtest(round(error * count), count).proportion_ci(confidence, method="wilson")
    return {"test_error": error, "test_error_low": interval.low, "test_error_high": interval.high}


@torch.no_grad()
def error_rate(predictor: Predictor, images: Tensor, labels: Tensor, *, batch_size: int = 2000) -> float:
    """Return the share of images on which sign F is not the label -1 / +1, or the largest output not the class."""
    loss = make_loss("mse" if labels.is_floating_point() else "cross_entropy")
    batches = zip(torch.split(images, batch_size), torch.split(labels, batch_size))
    return float(torch.cat([loss.errors(predictor(x), y) for x, y in batches]).mean())


def stability_columns(
    predictor: Predictor, probes: Probes, *, choice: StabilityChoice, seed: int, prefix: str = ""
) -> dict[str, float]:
    """Return D, G and R with their intervals; resamples are those of the seed."""
    report = stability_of(
        predictor,
        probes,
        bootstrap=choice.bootstrap,
        confidence=choice.confidence,
        generator=stream(seed, "bootstrap"),
    )
    return to_record(report, prefix)


def net_columns(model: CentredOutput, images: Tensor) -> dict[str, Any]:
    """Return what is measured of a fully-connected net alone: sparsity and, of one output, the drift of its kernel."""
    if not isinstance(model.net, FCN):
        return {}
    is_single = model.net.out_features == 1
    drifted = {"kernel_drift": drift(model, images)} if is_single else {}
    return sparsity_columns(model, images) | drifted


def sparsity_columns(model: CentredOutput, images: Tensor) -> dict[str, Any]:
    """Return the sparsity columns and the neurons of the first hidden layer, before and after training."""
    row: dict[str, Any] = {}
    for prefix, net in (("init_", model.initial), ("", model.net)):
        assert isinstance(net, FCN)
        theta, outgoing = (weights.detach().cpu().double() for weights in net.weights[:2])
        row |= sparsity_to_record(sparsity_report(theta, outgoing, images.flatten(1).double()), prefix)
    return row | neuron_columns(model)


def neuron_columns(model: CentredOutput) -> dict[str, list[float]]:
    """Return the first hidden layer before and after training on the trained net's main axes, as records hold it."""
    axes = principal_axes(*_first_layer(model.net))
    columns: dict[str, list[float]] = {}
    for prefix, net in (("init_", model.initial), ("", model.net)):
        theta, masses = _first_layer(net)
        places = neuron_picture(theta, masses, axes=axes)
        for name, values in (("x", places[:, 0]), ("y", places[:, 1]), ("mass", masses)):
            columns[f"{prefix}neurons_{name}"] = values.tolist()
    return columns


def _first_layer(net: torch.nn.Module) -> tuple[Tensor, Tensor]:
    """Return the neurons theta (H, d) and their masses (H,), float64."""
    assert isinstance(net, FCN)
    theta, outgoing = (weights.detach().cpu().double() for weights in net.weights[:2])
    return theta, mass(theta, outgoing)


def drift(model: CentredOutput, images: Tensor) -> float:
    """Return the relative change |K - K_0| / |K_0| of the tangent kernel on some training points."""
    assert isinstance(model.net, FCN)
    assert isinstance(model.initial, FCN)
    points = images[:_DRIFT_POINTS].to(model.net.weights[0])
    before, after = (net.tangent(points).kernel() for net in (model.initial, model.net))
    return float((after - before).norm() / before.norm())


def write_examples(path: Path, data: Any, *, delta_px: float, cutoff: int) -> None:
    """Write a few test images with their deformed and noisy versions, at several displacements and the measured one."""
    images = data.test_images[:_EXAMPLE_IMAGES]
    deltas = sorted({*_EXAMPLE_DELTAS_PX, delta_px})
    drawn = []
    for index, delta in enumerate(deltas):
        with warnings.catch_warnings():
            # The pictures show a large displacement on purpose.
            warnings.simplefilter("ignore", FoldingWarning)
            deform = diffeomorphism(delta, cutoff)
            drawn.append(draw_pairs(images, deform=deform, generator=stream(0, "example probes", index)))
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        images=torch.cat([probes.clean for probes in drawn]).numpy(),
        deformed=torch.cat([probes.deformed[0] for probes in drawn]).numpy(),
        noisy=torch.cat([probes.noisy[0] for probes in drawn]).numpy(),
        labels=data.test_labels[:_EXAMPLE_IMAGES].repeat(len(deltas)).numpy(),
        delta_px=np.repeat(deltas, len(images)),
    )
    write_atomically(path, buffer.getvalue())
