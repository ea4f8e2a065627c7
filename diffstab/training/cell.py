"""One run of a comparison: train, measure, and put the numbers into one row."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

import torch
from scipy.stats import binomtest
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.kernels import (
    NTKClassifier,
    NTKRegressor,
    as_predictor,
    ntk,
    random_feature_kernel,
)
from diffstab.nets import FCN, CentredOutput, Ensemble, Loss
from diffstab.results import Provenance, canonical_json
from diffstab.solvers.integrator import FlowSettings
from diffstab.solvers.kernel_flow import fit_kernel_flow
from diffstab.solvers.status import Status
from diffstab.solvers.stopping import GIVEN_UP, margin_share
from diffstab.sparsity import mass, neuron_picture, principal_axes, sparsity_report, sparsity_to_record
from diffstab.stability import Probes, draw_pairs, stability_of, to_record
from diffstab.streams import stream
from diffstab.training.experiment import Cell, Experiment, Method, NetChoice, StabilityChoice
from diffstab.training.train_net import build_net, train_net

Predictor = Callable[[Tensor], Tensor]
Progress = Callable[[Status], object]

_DRIFT_POINTS = 128


class Trained(NamedTuple):
    """A predictor and how it came about; `models` is empty for exact kernels."""

    predictor: Predictor
    outcome: Status
    models: list[CentredOutput]


def draw_probes(choice: StabilityChoice, data: Any, seed: int) -> Probes:
    """Draw the deformed and noisy test images shared by all methods of a seed."""
    return draw_pairs(
        data.test_images[: choice.images],
        deform=choice.deform,
        noise=choice.noise,
        fields_per_image=choice.fields_per_image,
        generator=stream(seed, "probes"),
    )


def run_cell(
    experiment: Experiment,
    cell: Cell,
    data: Any,
    probes: Probes,
    *,
    origin: Provenance,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Train one method on one draw and measure it.

    Args:
        experiment: Configuration.
        cell: Place in the grid.
        data: Data module of this size and seed, loaded.
        probes: From `draw_probes` for this seed.
        origin: Commit, versions and hardware of the process that runs it.
        on_progress: Called now and then during training.

    Returns:
        The record: one value per column.
    """
    method = experiment.methods[cell.method]
    started, clock = datetime.now(UTC), time.perf_counter()
    trained = train(experiment, cell, data, on_progress=on_progress)
    train_seconds = time.perf_counter() - clock
    row = {
        "dataset": data.name,
        **cell._asdict(),
        "regime": method.regime,
        **_test_error(trained.predictor, data, experiment.stability.confidence),
        "train_error": error_rate(trained.predictor, data.train_images, data.train_labels),
        "margin_share": trained.outcome.margin_share,
        "steps": trained.outcome.steps,
        "flow_time": trained.outcome.time,
        "train_loss": trained.outcome.loss,
        "stop_reason": trained.outcome.reason,
        "train_seconds": train_seconds,
        "stability_images": len(probes.clean),
        **_stability_row(experiment, cell, trained.predictor, probes),
    }
    if trained.models:
        start = Ensemble([model.initial for model in trained.models])
        row |= _stability_row(experiment, cell, _squeezed(start, method), probes, prefix="init_")
        row |= _sparsity_row(trained.models[0], data.train_images)
        row["kernel_drift"] = _drift(trained.models[0], data.train_images)
    return row | {
        "config": canonical_json({**experiment.resolved(), "cell": experiment.cell_config(cell)}),
        **origin,
        "started_at": started.isoformat(timespec="seconds"),
        "wall_seconds": time.perf_counter() - clock,
    }


def train(experiment: Experiment, cell: Cell, data: Any, *, on_progress: Progress | None = None) -> Trained:
    """Train one method on the training images of a data module with binary labels -1 / +1."""
    method = experiment.methods[cell.method]
    if method.is_kernel:
        return _train_kernel(experiment, method, data)
    outcomes, models = [], []
    for member in range(method.ensemble):
        model, outcome = _train_net(experiment, cell, data, member, on_progress)
        models.append(model)
        outcomes.append(outcome)
    return Trained(_squeezed(Ensemble(models), method), _slowest(outcomes), models)


def _train_net(
    experiment: Experiment, cell: Cell, data: Any, member: int, on_progress: Progress | None
) -> tuple[CentredOutput, Status]:
    method, choice = experiment.methods[cell.method], experiment.net
    make = partial(
        FCN,
        data.train_images[0].numel(),
        choice.hidden,
        activation=choice.activation,
        beta=choice.beta,
        scaling=choice.scaling,
        dtype=torch.float32,
    )
    # Drawn in one type and converted: a seed gives the same initial net to every method.
    net = build_net(make, seed=cell.seed, member=member).to(method.torch_dtype)
    return train_net(
        net,
        data,
        alpha=method.alpha,
        xi=method.xi,
        loss=experiment.loss,
        loss_beta=experiment.loss_beta,
        optimiser=method.net_optimiser,
        member=member,
        on_progress=on_progress,
    )


def _slowest(outcomes: list[Status]) -> Status:
    """Return an ensemble's outcome: that of the member least far along, a give-up before any other."""
    return min(outcomes, key=lambda outcome: (outcome.reason not in GIVEN_UP, outcome.margin_share))


def _train_kernel(experiment: Experiment, method: Method, data: Any) -> Trained:
    x, y = data.train_images.flatten(1).double(), data.train_labels.double()
    if method.trainer == "kernel_flow":
        return _flow_of_kernel(experiment, method, x, y)
    estimator = _estimator(experiment.net, method).fit(x.numpy(), y.numpy())
    predictor = as_predictor(estimator)
    # The machine meets its margins up to the solver's tolerance.
    share = margin_share(predictor(x), y, 1 - 1e-3)
    return Trained(
        predictor, Status(steps=0, loss=math.nan, error=math.nan, margin_share=share, reason="solved"), []
    )


def _estimator(net: NetChoice, method: Method) -> NTKClassifier | NTKRegressor:
    shape: dict[str, Any] = {"depth": len(net.hidden), "activation": net.activation, "beta": net.beta}
    if method.trainer == "svc":
        return NTKClassifier(kernel=method.kernel, **shape)
    if method.trainer == "ridge":
        return NTKRegressor(kernel=method.kernel, ridge=method.regularisation, **shape)
    raise ArgumentError("trainer", "be svc or ridge here", repr(method.trainer))


def _flow_of_kernel(experiment: Experiment, method: Method, x: Tensor, y: Tensor) -> Trained:
    net = experiment.net
    function = {"ntk": ntk, "random_feature": random_feature_kernel}[method.kernel]
    kernel = partial(function, depth=len(net.hidden), activation=net.activation, beta=net.beta)
    loss = Loss(experiment.loss, beta=experiment.loss_beta)
    dual, status = fit_kernel_flow(kernel(x), y, loss=loss, settings=FlowSettings(stop=method.optimiser.stop))

    def predictor(images: Tensor) -> Tensor:
        return kernel(images.flatten(1).double(), x) @ dual

    return Trained(predictor, status, [])


def _squeezed(ensemble: Ensemble, method: Method) -> Predictor:
    """Return the ensemble as a function of images of any floating type, with outputs (n,)."""

    def predictor(images: Tensor) -> Tensor:
        output: Tensor = ensemble(images.to(method.torch_dtype))
        return output.squeeze(1) if output.ndim == 2 else output

    return predictor


def _test_error(predictor: Predictor, data: Any, confidence: float) -> dict[str, float]:
    """Return the test error with Wilson's interval for a share of that many images."""
    count = len(data.test_labels)
    error = error_rate(predictor, data.test_images, data.test_labels)
    interval = binomtest(round(error * count), count).proportion_ci(confidence, method="wilson")
    return {"test_error": error, "test_error_low": interval.low, "test_error_high": interval.high}


@torch.no_grad()
def error_rate(predictor: Predictor, images: Tensor, labels: Tensor, *, batch_size: int = 2000) -> float:
    """Return the share of images on which sign F is not the label -1 / +1 (F = 0 counts as wrong)."""
    batches = zip(torch.split(images, batch_size), torch.split(labels, batch_size))
    wrong = [(predictor(x) * y <= 0).double() for x, y in batches]
    return float(torch.cat(wrong).mean())


def _stability_row(
    experiment: Experiment, cell: Cell, predictor: Predictor, probes: Probes, prefix: str = ""
) -> dict[str, float]:
    report = stability_of(
        predictor,
        probes,
        bootstrap=experiment.stability.bootstrap,
        confidence=experiment.stability.confidence,
        generator=stream(cell.seed, "bootstrap"),
    )
    return to_record(report, prefix)


def _sparsity_row(model: CentredOutput, images: Tensor) -> dict[str, Any]:
    """Return the sparsity columns and the neurons of the first hidden layer, before and after training."""
    row: dict[str, Any] = {}
    for prefix, net in (("init_", model.initial), ("", model.net)):
        assert isinstance(net, FCN)
        theta, outgoing = (weights.detach().double() for weights in net.weights[:2])
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
    theta = net.weights[0].detach().double()
    return theta, mass(theta, net.weights[1].detach().double())


def _drift(model: CentredOutput, images: Tensor) -> float:
    """Return the relative change |K - K_0| / |K_0| of the tangent kernel on some training points."""
    assert isinstance(model.net, FCN)
    assert isinstance(model.initial, FCN)
    points = images[:_DRIFT_POINTS].to(model.net.weights[0].dtype)
    before, after = (net.tangent(points).kernel() for net in (model.initial, model.net))
    return float((after - before).norm() / before.norm())
