"""What a comparison of training regimes is made of: the configuration, checked as it is read."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch

from diffstab.errors import ArgumentError
from diffstab.nets import FCN, CentredOutput
from diffstab.solvers.optimise import OptimiserSettings
from diffstab.stability import Deform, diffeomorphism
from diffstab.streams import stream

KERNEL_TRAINERS = ("kernel_flow", "svc", "ridge")
NET_TRAINERS = ("gradient_flow", "euler", "gd", "adam", "sgd")


def build_data(choice: dict[str, Any], *, n_train: int, seed: int) -> Any:
    """Return the data module of one draw of the training set, its data loaded.

    Args:
        choice: "class_path" of a data module with image tensors and, optionally, its "init_args".
        n_train: Size of the training set.
        seed: Seed of the draw.

    Raises:
        ArgumentError: If the class does not exist or does not take an argument.
        DataError: If the data are missing or damaged.
    """
    unknown = sorted(set(choice) - {"class_path", "init_args"})
    if unknown or "class_path" not in choice:
        raise ArgumentError("data", "have the keys class_path and, optionally, init_args", sorted(choice))
    cls = class_at(choice["class_path"], argument="data.class_path")
    options = choice.get("init_args") or {}
    free = sorted(_options(cls) - {"n_train", "seed"})
    unknown = sorted(set(options) - set(free))
    if unknown:
        way_out = "n_train and seed are set by n_train and seeds of the experiment."
        raise ArgumentError("data.init_args", f"be among {', '.join(free)}", ", ".join(unknown), way_out)
    data = cls(**options, n_train=n_train, seed=seed)
    data.prepare_data()
    data.setup()
    return data


def class_at(path: object, *, argument: str) -> type:
    """Return the class of a dotted path, or raise ArgumentError in the name of `argument`."""
    module, _, name = str(path).rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ArgumentError(argument, "name an importable class", repr(path)) from error
    if not isinstance(found, type):
        raise ArgumentError(argument, "name an importable class", repr(path))
    return found


def _options(cls: type) -> set[str]:
    """Return the named arguments that a class and, through its **kwargs, its bases take."""
    names: set[str] = set()
    for base in cls.__mro__:
        if "__init__" in vars(base):
            parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
            names |= {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
            if not any(p.kind is p.VAR_KEYWORD for p in parameters):
                break
    return names - {"self"}


@dataclass(frozen=True)
class NetChoice:
    """Architecture shared by all nets and, in the limit of infinite width, by the kernels.

    Args:
        hidden: Widths of the hidden layers.
        activation: "relu" or "softplus".
        beta: Sharpness of the softplus.
        scaling: "ntk" or "mean_field".

    Raises:
        ArgumentError: If no net can be made of it.
    """

    hidden: list[int] = field(default_factory=lambda: [1000])
    activation: str = "softplus"
    beta: float = 5.0
    scaling: str = "ntk"

    def __post_init__(self) -> None:
        # A bad net is refused now, not after the data are read and kernels are fitted.
        FCN(
            1,
            self.hidden,
            activation=self.activation,
            beta=self.beta,
            scaling=self.scaling,
            generator=stream(0, "weights of a check"),
        )


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

    Raises:
        ArgumentError: If a value is out of range, or alpha is too large for the nets' type.
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


class Cell(NamedTuple):
    """One run of the grid."""

    method: str
    n_train: int
    seed: int


@dataclass(frozen=True)
class Experiment:
    """A comparison of methods over training-set sizes and seeds.

    Args:
        data: Data module: "class_path" and "init_args", without n_train and seed.
        n_train: Sizes of the training set.
        seeds: Each draws a training set, initial weights and deformations.
        more_seeds: Further seeds of single sizes, by the size: small training sets vary most and cost least.
        methods: Ways to train, by label.
        net: Architecture.
        loss: "soft_hinge", "hinge", "quadratic_hinge" or "mse".
        loss_beta: Sharpness of the soft hinge.
        stability: How D, G and R are measured.
        threads: Torch threads; None leaves torch's choice.

    Raises:
        ArgumentError: If a list is empty or a value is out of range.
    """

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

    def __post_init__(self) -> None:
        for name in ("n_train", "seeds", "methods"):
            if not getattr(self, name):
                raise ArgumentError(name, "not be empty", getattr(self, name))
        for name, least in (("n_train", 2), ("seeds", 0)):
            values = getattr(self, name)
            if min(values) < least or len(set(values)) < len(values):
                raise ArgumentError(name, f"hold different numbers of at least {least}", values)
        for size, seeds in self.more_seeds.items():
            if size not in self.n_train:
                raise ArgumentError("more_seeds", "name sizes of n_train", size)
            if len({*self.seeds, *seeds}) < len(self.seeds) + len(seeds) or min(seeds, default=0) < 0:
                way_out = "Seeds are at least 0, each once and none of those in seeds."
                raise ArgumentError(f"more_seeds.{size}", "hold further seeds", seeds, way_out)
        if self.loss not in ("soft_hinge", "hinge", "quadratic_hinge", "mse"):
            raise ArgumentError("loss", "be soft_hinge, hinge, quadratic_hinge or mse", repr(self.loss))
        if not (self.loss_beta > 0 and math.isfinite(self.loss_beta)):
            raise ArgumentError("loss_beta", "be positive and finite", self.loss_beta)
        if self.threads is not None and self.threads < 1:
            raise ArgumentError("threads", "be at least 1", self.threads)

    def cells(self) -> Iterator[Cell]:
        """Yield the runs, cheapest training sets first."""
        for n_train in sorted(self.n_train):
            for seed in (*self.seeds, *self.more_seeds.get(n_train, ())):
                for method in self.methods:
                    yield Cell(method, n_train, seed)

    def resolved(self) -> dict[str, Any]:
        """Return the configuration as plain nested dictionaries."""
        more = {str(size): list(seeds) for size, seeds in self.more_seeds.items()}
        return {**dataclasses.asdict(self), "more_seeds": more}

    def cell_config(self, cell: Cell) -> dict[str, Any]:
        """Return what distinguishes a run within the experiment: its place in the grid, its method in full."""
        return {**cell._asdict(), "settings": dataclasses.asdict(self.methods[cell.method])}
