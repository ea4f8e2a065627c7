"""`diffstab compare`: train methods on images over sizes and seeds, and measure test error, stability and sparsity."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch

from diffstab.errors import ArgumentError
from diffstab.experiments.classes import build_data, described_class
from diffstab.experiments.image_columns import (
    error_rate,
    net_columns,
    stability_columns,
    test_error_columns,
    write_examples,
)
from diffstab.experiments.image_training import KERNEL_TRAINERS, NET_TRAINERS, initial_predictor, train
from diffstab.experiments.more_seeds import check_more_seeds, plain_more_seeds
from diffstab.experiments.unit import DATA_MODULE, Axis, Cell, Experiment, Workplace, prepared
from diffstab.nets import FCN, CentredOutput
from diffstab.nets.losses import BINARY_LOSSES
from diffstab.solvers.optimise import OptimiserSettings
from diffstab.solvers.status import Status
from diffstab.stability import Deform, Probes, diffeomorphism, draw_pairs
from diffstab.streams import stream

_LOG = logging.getLogger("diffstab.experiments")

_FULLY_CONNECTED = ("hidden", "activation", "beta", "scaling")

EXAMPLES = "examples.npz"
"""File of a results folder with test images, deformed and noisy."""


@dataclass(frozen=True)
class NetChoice:
    """Architecture shared by all nets and, in the limit of infinite width, by the kernels.

    Args:
        hidden: Widths of the hidden layers of a fully-connected net.
        activation: "relu" or "softplus".
        beta: Sharpness of the softplus.
        scaling: "ntk" or "mean_field".
        class_path: Class of another net, any module; the options above are then those of no net.
        init_args: Its arguments.

    Raises:
        ArgumentError: If no net can be made of it.
    """

    hidden: list[int] = field(default_factory=lambda: [1000])
    activation: str = "softplus"
    beta: float = 5.0
    scaling: str = "ntk"
    class_path: str | None = None
    init_args: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.described is not None:
            described_class(self.described, argument="net")
        elif self.init_args:
            raise ArgumentError("net.init_args", "stand beside a class_path", self.init_args)
        # A bad net is refused now, not after the data are read and kernels are fitted.
        FCN(
            1,
            self.hidden,
            activation=self.activation,
            beta=self.beta,
            scaling=self.scaling,
            generator=stream(0, "weights of a check"),
        )

    @property
    def described(self) -> dict[str, Any] | None:
        """class_path and init_args of another net than the fully-connected one; None for that."""
        return {"class_path": self.class_path, "init_args": self.init_args} if self.class_path else None


@dataclass(frozen=True)
class Method:
    """One way to get a predictor.

    Args:
        trainer: A net trained by "gradient_flow", "euler", "gd", "adam" or "sgd"; or the exact lazy limit by
            "kernel_flow" (the same loss and stop rule), "svc" (hard margin) or "ridge" (least squares).
        regime: "feature" or "lazy": what the method stands for in tables and figures.
        alpha: Output scale of a net: small for the feature regime, large for the lazy one.
        xi: Share of the initial output taken off.
        ensemble: Number of nets whose mean output is the predictor.
        dtype: Floating type of the nets; alpha >> 1 needs float64.
        kernel: "ntk" or "random_feature".
        regularisation: Ridge of "ridge"; 0 interpolates.
        optimiser: Settings of a net's training; its name is the trainer's.
        net: Any module by class_path and init_args; None is the net of the experiment.

    Raises:
        ArgumentError: If a value is out of range, a kernel has a net, or alpha is too large for the nets' type.
    """

    trainer: str = "gradient_flow"
    regime: str = "feature"
    alpha: float = 1e-6
    xi: float = 1.0
    ensemble: int = 1
    dtype: str = "float32"
    kernel: str = "ntk"
    regularisation: float = 0.0
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    net: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        choices = {
            "trainer": (*NET_TRAINERS, *KERNEL_TRAINERS),
            "regime": ("feature", "lazy"),
            "dtype": ("float32", "float64"),
            "kernel": ("ntk", "random_feature"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ArgumentError(
                    f"methods.*.{name}", f"be one of {', '.join(allowed)}", repr(getattr(self, name))
                )
        if self.ensemble < 1:
            raise ArgumentError("methods.*.ensemble", "be at least 1", self.ensemble)
        if not (self.regularisation >= 0 and math.isfinite(self.regularisation)):
            raise ArgumentError("methods.*.regularisation", "be finite and at least 0", self.regularisation)
        if self.net is not None:
            if self.is_kernel:
                raise ArgumentError("methods.*.net", f"be null for {self.trainer}", self.net)
            described_class(self.net, argument="methods.*.net")
        if not self.is_kernel:
            smallest = FCN(1, [1], generator=stream(0, "weights of a check"), dtype=self.torch_dtype)
            CentredOutput(smallest, alpha=self.alpha, xi=self.xi)

    @property
    def is_kernel(self) -> bool:
        """Whether the predictor is an exact kernel one."""
        return self.trainer in KERNEL_TRAINERS

    @property
    def torch_dtype(self) -> torch.dtype:
        """The floating type of the nets."""
        return torch.float64 if self.dtype == "float64" else torch.float32

    @property
    def net_optimiser(self) -> OptimiserSettings:
        """Settings of a net's training under the trainer's name."""
        return dataclasses.replace(self.optimiser, name=self.trainer)


@dataclass(frozen=True)
class StabilityChoice:
    """How stability is measured, on test images.

    Args:
        delta_px: Typical displacement, pixels.
        cutoff: High-frequency cut-off c.
        noise: "matched", "batch", or a fixed norm.
        images: Number of test images; None takes all.
        fields_per_image: Deformations and noise draws per image.
        bootstrap: Resamples behind the intervals.
        confidence: Their nominal coverage.

    Raises:
        ArgumentError: If a value is out of range.
    """

    delta_px: float = 1.0
    cutoff: int = 3
    noise: Literal["matched", "batch"] | float = "matched"
    images: int | None = 1000
    fields_per_image: int = 4
    bootstrap: int = 1000
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if self.images is not None and self.images < 2:
            raise ArgumentError("stability.images", "be at least 2", self.images)
        if self.fields_per_image < 1:
            raise ArgumentError("stability.fields_per_image", "be at least 1", self.fields_per_image)
        if self.bootstrap < 0:
            raise ArgumentError("stability.bootstrap", "be at least 0", self.bootstrap)
        if not 0 < self.confidence < 1:
            raise ArgumentError("stability.confidence", "lie strictly between 0 and 1", self.confidence)
        if not isinstance(self.noise, str) and not (self.noise > 0 and math.isfinite(self.noise)):
            raise ArgumentError("stability.noise", "be matched, batch or a norm above 0", self.noise)
        # Bad values of delta_px and cutoff are refused now, not after the first training.
        diffeomorphism(self.delta_px, self.cutoff)

    @property
    def deform(self) -> Deform:
        """The random diffeomorphism that is measured."""
        return diffeomorphism(self.delta_px, self.cutoff)


def default_methods() -> dict[str, Method]:
    """Feature learning by gradient flow beside the exact lazy limit of the same flow."""
    return {
        "feature": Method(),
        "lazy_exact": Method(trainer="kernel_flow", regime="lazy"),
    }


@dataclass(frozen=True)
class ImageDraw:
    """What the methods of one place share.

    Attributes:
        data: Data module of this size and seed, loaded.
        stability: How stability is measured.
        seed: Of the probes.
    """

    data: Any
    stability: StabilityChoice
    seed: int

    @cached_property
    def probes(self) -> Probes:
        """Test images, deformed and noisy."""
        return draw_pairs(
            self.data.test_images[: self.stability.images],
            deform=self.stability.deform,
            noise=self.stability.noise,
            fields_per_image=self.stability.fields_per_image,
            generator=stream(self.seed, "probes"),
        )


@dataclass(frozen=True)
class ImageExperiment(Experiment):
    """Train both regimes over seeds and sizes, and measure their stability.

    Args:
        data: Data module: "class_path" and "init_args", without n_train and seed.
        n_train: Sizes of the training set.
        seeds: Each draws a training set, initial weights and deformations.
        more_seeds: Further seeds of single sizes, by the size: small training sets vary most and cost least.
        methods: Ways to train, by label.
        net: Net of the methods that have none of their own: fully connected, or class_path and init_args of any module.
        loss: "soft_hinge", "hinge", "quadratic_hinge" or "mse" on parity labels, "cross_entropy" on class labels.
        loss_beta: Sharpness of the soft hinge.
        stability: How D, G and R are measured.
        threads: Torch threads; None leaves torch's choice.
        accelerator: Where nets are trained and measured, as in Lightning: "cpu", "gpu", "auto"; kernels are on the CPU.
        devices: One device: 1, or a list of its number.
        precision: Of the training, as in Lightning: "32-true", "bf16-mixed".

    Raises:
        ArgumentError: If a list is empty or a value is out of range.
    """

    name = "compare"
    kind = "images"
    axes = (
        Axis("n_train", "n_train", "n", least=2, is_rising=True),
        Axis("seeds", "seed", "seed", least=0),
        Axis("methods", "method", is_place=False),
    )
    free = ("more_seeds", "threads", "accelerator", "devices", "precision")
    prepared_from = ("data", "stability")
    class_option = DATA_MODULE
    open_options: ClassVar[Mapping[str, type]] = {"net": NetChoice}
    curve = "n_train"
    measures = (
        *("test_error", "train_error", "margin_share", "D", "G", "R", "init_D", "init_G", "init_R"),
        *("effective_neurons", "kernel_drift"),
    )

    data: dict[str, Any] = field(default_factory=lambda: {"class_path": "datamodules.Digits"})
    n_train: list[int] = field(default_factory=lambda: [32, 128, 512])
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    more_seeds: dict[int, list[int]] = field(default_factory=dict)
    methods: dict[str, Method] = field(default_factory=default_methods)
    net: NetChoice = field(default_factory=NetChoice)
    loss: str = "soft_hinge"
    loss_beta: float = 20.0
    stability: StabilityChoice = field(default_factory=StabilityChoice)
    threads: int | None = None
    accelerator: str = "cpu"
    devices: int | str | list[int] = 1
    precision: str = "32-true"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_more_seeds(self.more_seeds, sizes=self.n_train, seeds=self.seeds)
        if self.loss not in (*BINARY_LOSSES, "cross_entropy"):
            known = "soft_hinge, hinge, quadratic_hinge, mse or cross_entropy"
            raise ArgumentError("loss", f"be {known}", repr(self.loss))
        kernels = [name for name, method in self.methods.items() if method.is_kernel]
        if kernels and self.loss == "cross_entropy":
            raise ArgumentError("loss", f"be one of two classes for {', '.join(kernels)}", repr(self.loss))
        if kernels and self.net.described:
            condition = f"be fully connected for {', '.join(kernels)}, of which it is the infinite width"
            raise ArgumentError("net", condition, self.net.class_path, "Give the other methods a net each.")
        if not (self.loss_beta > 0 and math.isfinite(self.loss_beta)):
            raise ArgumentError("loss_beta", "be positive and finite", self.loss_beta)
        self.check_least(threads=1)

    def values(self, axis: Axis, cell: Mapping[str, Any]) -> Sequence[Any]:
        """Return the values on an axis; a size may have seeds of its own."""
        more = self.more_seeds.get(cell["n_train"], ()) if axis.name == "seed" else ()
        return [*super().values(axis, cell), *more]

    def settings(self, cell: Cell) -> dict[str, Any]:
        """Return what tells a run apart: its place in the grid, its method in full."""
        method = dataclasses.asdict(self.methods[cell["method"]])
        # What is as it always was is left out, so that the names of records stay.
        if method["net"] is None:
            del method["net"]
        other = {} if self.precision == "32-true" else {"precision": self.precision}
        return {**cell, "settings": method, **other}

    def resolved(self) -> dict[str, Any]:
        """Return the configuration as plain nested dictionaries."""
        resolved = {**super().resolved(), "more_seeds": plain_more_seeds(self.more_seeds)}
        if not self.net.described:
            # As above.
            resolved["net"] = {name: resolved["net"][name] for name in _FULLY_CONNECTED}
        return resolved

    def check_data(self) -> None:
        """Refuse data that cannot be had, and labels that the loss does not take."""
        has_classes = not self._largest().train_labels.is_floating_point()
        if has_classes != (self.loss == "cross_entropy"):
            kinds = ("'classes' for cross_entropy", f"'parity' for {self.loss}")
            received = "class indices" if has_classes else "-1 and +1"
            raise ArgumentError("data.init_args.labels", f"be {kinds[has_classes]}", received)

    def begin(self, folder: Path) -> None:
        """Write the example images, and say if fewer images are measured than asked for."""
        if (folder / EXAMPLES).exists():
            return
        data, asked = self._largest(), self.stability.images
        write_examples(
            folder / EXAMPLES, data, delta_px=self.stability.delta_px, cutoff=self.stability.cutoff
        )
        if asked is not None and asked > len(data.test_images):
            text = "stability.images is %d; there are %d test images, and all are measured."
            _LOG.info(text, asked, len(data.test_images))

    def _largest(self) -> Any:
        *_, cell = self.cells()
        return prepared(self, self.place(cell)).data

    def prepare(self, place: Cell) -> ImageDraw:
        """Load the data of a size and seed."""
        data = build_data(self.data, n_train=place["n_train"], seed=place["seed"])
        return ImageDraw(data, self.stability, place["seed"])

    def run(self, cell: Cell, shared: ImageDraw, workplace: Workplace) -> dict[str, Any]:
        """Train one method on one draw and measure it."""
        method, data, clock = self.methods[cell["method"]], shared.data, time.perf_counter()
        trained = train(self, cell, data, tell=_moments(workplace))
        train_seconds = time.perf_counter() - clock
        outcome, options = trained.outcome, {"choice": self.stability, "seed": cell["seed"]}
        columns = {
            "dataset": data.name,
            "regime": method.regime,
            **test_error_columns(trained.predictor, data, self.stability.confidence),
            "train_error": error_rate(trained.predictor, data.train_images, data.train_labels),
            "margin_share": outcome.margin_share,
            "steps": outcome.steps,
            "flow_time": outcome.time,
            "train_loss": outcome.loss,
            "stop_reason": outcome.reason,
            "train_seconds": train_seconds,
            "stability_images": len(shared.probes.clean),
            **stability_columns(trained.predictor, shared.probes, **options),
        }
        if trained.models:
            start = initial_predictor(trained.models)
            columns |= stability_columns(start, shared.probes, prefix="init_", **options)
            columns |= net_columns(trained.models[0], data.train_images)
        return columns


def _moments(workplace: Workplace) -> Callable[[Status], None]:
    names = {"steps": "steps", "flow_time": "time", "loss": "loss", "margin_share": "margin_share"}
    return lambda status: workplace.tell({name: getattr(status, field) for name, field in names.items()})
