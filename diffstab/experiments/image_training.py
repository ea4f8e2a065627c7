"""Training of the methods of an experiment on images: nets by any optimiser, and their exact lazy limits."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor, nn

from diffstab.errors import ArgumentError
from diffstab.experiments.classes import described_class
from diffstab.kernels import NTKClassifier, NTKRegressor, as_predictor, ntk, random_feature_kernel
from diffstab.nets import FCN, CentredOutput, Ensemble, Loss
from diffstab.nets.initial import initial_weights
from diffstab.solvers.integrator import FlowSettings
from diffstab.solvers.kernel_flow import fit_kernel_flow
from diffstab.solvers.status import Status
from diffstab.solvers.stopping import GIVEN_UP, margin_share
from diffstab.stability.predictors import Predictor
from diffstab.training.devices import Devices
from diffstab.training.train_net import train_net

if TYPE_CHECKING:
    from diffstab.experiments.images import ImageExperiment, Method, NetChoice
    from diffstab.experiments.unit import Cell

KERNEL_TRAINERS = ("kernel_flow", "svc", "ridge")
NET_TRAINERS = ("gradient_flow", "euler", "gd", "adam", "sgd")

Tell = Callable[[Status], object]
"""Takes the state of a training now and then."""


class Trained(NamedTuple):
    """A predictor and how it came about; `models` is empty for exact kernels."""

    predictor: Predictor
    outcome: Status
    models: list[CentredOutput]


def train(experiment: ImageExperiment, cell: Cell, data: Any, *, tell: Tell | None = None) -> Trained:
    """Train one method on the training images of a data module."""
    method = experiment.methods[cell["method"]]
    if method.is_kernel:
        return _train_kernel(experiment, method, data)
    outcomes, models = [], []
    for member in range(method.ensemble):
        model, outcome = _train_net(experiment, cell, data, member, tell)
        models.append(model)
        outcomes.append(outcome)
    return Trained(_mean_output(models), _slowest(outcomes), models)


def _train_net(
    experiment: ImageExperiment, cell: Cell, data: Any, member: int, tell: Tell | None
) -> tuple[CentredOutput, Status]:
    method = experiment.methods[cell["method"]]
    # A seed gives the same initial net to every method.
    with initial_weights(cell["seed"], member):
        net = _net(experiment, method, data).to(method.torch_dtype)
    return train_net(
        net,
        data,
        alpha=method.alpha,
        xi=method.xi,
        loss=experiment.loss,
        loss_beta=experiment.loss_beta,
        optimiser=method.net_optimiser,
        member=member,
        devices=Devices(experiment.accelerator, experiment.devices, experiment.precision),
        on_progress=tell,
    )


def _net(experiment: ImageExperiment, method: Method, data: Any) -> nn.Module:
    choice = experiment.net
    described = method.net or choice.described
    if described is not None:
        cls, options = described_class(described, argument="net")
        module: nn.Module = cls(**options)
        return module
    return FCN(
        data.train_images[0].numel(),
        choice.hidden,
        out_features=data.n_classes if experiment.loss == "cross_entropy" else 1,
        activation=choice.activation,
        beta=choice.beta,
        scaling=choice.scaling,
    )


def _slowest(outcomes: list[Status]) -> Status:
    """Return an ensemble's outcome: that of the member least far along, a give-up before any other."""
    return min(outcomes, key=lambda outcome: (outcome.reason not in GIVEN_UP, outcome.margin_share))


def _train_kernel(experiment: ImageExperiment, method: Method, data: Any) -> Trained:
    x, y = data.train_images.flatten(1).double(), data.train_labels.double()
    if method.trainer == "kernel_flow":
        return _flow_of_kernel(experiment, method, x, y)
    estimator = _estimator(experiment.net, method).fit(x.numpy(), y.numpy())
    predictor = as_predictor(estimator)
    # The machine meets its margins up to the solver's tolerance.
    share = margin_share(predictor(x), y, 1 - 1e-3)
    solved = Status(steps=0, loss=math.nan, error=math.nan, margin_share=share, reason="solved")
    return Trained(predictor, solved, [])


def _estimator(net: NetChoice, method: Method) -> NTKClassifier | NTKRegressor:
    shape: dict[str, Any] = {"depth": len(net.hidden), "activation": net.activation, "beta": net.beta}
    if method.trainer == "svc":
        return NTKClassifier(kernel=method.kernel, **shape)
    if method.trainer == "ridge":
        return NTKRegressor(kernel=method.kernel, ridge=method.regularisation, **shape)
    raise ArgumentError("trainer", "be svc or ridge here", repr(method.trainer))


def _flow_of_kernel(experiment: ImageExperiment, method: Method, x: Tensor, y: Tensor) -> Trained:
    net = experiment.net
    function = {"ntk": ntk, "random_feature": random_feature_kernel}[method.kernel]
    kernel = partial(function, depth=len(net.hidden), activation=net.activation, beta=net.beta)
    loss = Loss(experiment.loss, beta=experiment.loss_beta)
    dual, status = fit_kernel_flow(kernel(x), y, loss=loss, settings=FlowSettings(stop=method.optimiser.stop))

    def predictor(images: Tensor) -> Tensor:
        return kernel(images.flatten(1).double(), x) @ dual

    return Trained(predictor, status, [])


def initial_predictor(models: Sequence[CentredOutput]) -> Predictor:
    """Return the mean output of models before their training, see `Trained.predictor`."""
    return _mean_output([model.initial for model in models])


def _mean_output(nets: Sequence[nn.Module]) -> Predictor:
    """Return the mean of nets, computed where they lie, as a function of images of any floating type and device.

    Its outputs, (n,) or (n, C), lie where the images do.
    """
    ensemble = Ensemble(list(nets))
    like = next(ensemble.parameters())

    def predictor(images: Tensor) -> Tensor:
        output: Tensor = ensemble(images.to(like)).to(images.device)
        return output.squeeze(1) if output.ndim == 2 and output.shape[1] == 1 else output

    return predictor
