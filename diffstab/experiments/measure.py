"""`diffstab measure`: D, G and R of any model's output and layers, one record per model, deformation and layer."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console

from diffstab.errors import ArgumentError, ResultsError
from diffstab.experiments.unit import Axis, Cell, Experiment, Workplace
from diffstab.measuring.amounts import Amount
from diffstab.measuring.data import open_data
from diffstab.measuring.examples import example_arrays
from diffstab.measuring.images import ImageSet
from diffstab.measuring.measurement import Measurement
from diffstab.measuring.one_call import Preparation, finish, prepare, state_path
from diffstab.measuring.ranks import next_labels, say_next, started_together
from diffstab.measuring.rows import layer_label
from diffstab.measuring.sandwich import SandwichSettings, write_sandwich
from diffstab.measuring.settings import DeviceSettings, PassSettings, parse_share
from diffstab.nets.fitted import is_fitted
from diffstab.nets.model_options import ModelChoice
from diffstab.results import canonical_json, write_atomically

TABLES = "tables"
"""Folder, beside the records, of a table of the images of each model, as Parquet and CSV."""
EXAMPLES = "examples"
"""Folder of the most and least stable images of each model, as arrays."""
UNTRAINED = " (untrained)"
"""After the label of a model with its initial weights."""


@dataclass(frozen=True)
class Facts:
    """What a model turned out to be, once it was loaded.

    Args:
        layers: Its measured layers.
        weights_hash: Of its weights.
    """

    layers: list[str] = field(default_factory=list)
    weights_hash: str = ""


@dataclass(frozen=True)
class MeasureExperiment(Experiment):
    """Measure how stable any model is to deformations of any images, at its output and its layers.

    All models see the same images, deformations and noise.

    Args:
        models: By label, the fields of a `diffstab.nets.model_options.ModelChoice`: model, init_args, weights, output,
            mean, std, ...
        init: Whether each model is measured with its initial weights too.
        data: A folder of images (in one subfolder per class, or without classes); the class path of a data module, with
            or without init_args; package.module:function of a DataLoader.
        size: Side in pixels of the square that images are resized and cut to before they are deformed; None keeps
            theirs.
        grey: Whether colour images are turned into grey levels, one channel, before they are deformed.
        classes: Names of the classes in the order of the model's outputs, where the data have others or fewer; none is
            the alphabetical order of the data's own.
        images: Number of images, drawn as even over the classes as it can be; None for all.
        deltas: Typical displacements, "1px", or "0.5%" of the side of an image.
        cutoffs: High-frequency cut-offs c >= 2.
        rotations: Angles in degrees.
        translations: Shifts, as `deltas`.
        scalings: Per cent by which images are magnified or shrunk.
        layers: Patterns of names; "default" stands for the ends of the stages, what goes into the last linear layer and
            the output, "output" for the output alone.
        noise: "matched" to each image's deformation, "batch" for their mean norm, or a norm.
        fields_per_image: Deformations and noise draws of each image.
        seed: Of the choice of images, deformations, noise and resamples.
        until: Stop once the interval of the output's R is within this share of R, "5%" say.
        equivariant: Measure E = <|f(tau x) - tau f(x)|^2> over the denominator of D, too, where a layer's output is a
            map of the image.
        protocol: "1" or "2021" fixes deformations, noise, statistic, images and seed; None is one's own choice.
        bootstrap: Resamples of the images behind each interval.
        confidence: Of the intervals.
        accelerator: As of Lightning's Trainer: "auto", "cpu", "gpu", ...
        devices: How many of them, or which.
        strategy: "auto", or "ddp": a process per device.
        precision: "32-true", "bf16-mixed", "64-true", ...
        batch_size: Images in a batch; None chooses by the free memory.
        readers: Processes that read images, per device.
        certificate: Whether and how models are certified and attacked, beside the measurement.
        facts: Filled in by the command: layers and hash of the weights of each model.
    """

    name = "measure"
    kind = "measure"
    axes = (
        Axis("models", "model"),
        Axis("deltas", "deformation", is_place=False),
        Axis("cutoffs", "cutoff", "c", is_place=False),
        Axis("layers", "layer", is_place=False),
    )
    free = ("accelerator", "devices", "strategy", "batch_size", "readers", "facts", "init", "certificate")
    together = True
    curve = "layer_index"
    measures = ("R", "D", "G")

    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    init: bool = False
    data: str | dict[str, Any] = ""
    size: int | None = None
    grey: bool = False
    classes: list[str] = field(default_factory=list)
    images: int | None = None
    deltas: list[float | str] = field(default_factory=lambda: ["1px"])
    cutoffs: list[int] = field(default_factory=lambda: [3])
    rotations: list[float] = field(default_factory=list)
    translations: list[float | str] = field(default_factory=list)
    scalings: list[float | str] = field(default_factory=list)
    layers: list[str] = field(default_factory=lambda: ["default"])
    noise: float | str = "matched"
    fields_per_image: int = 1
    seed: int = 0
    until: float | str | None = None
    equivariant: bool = False
    protocol: int | str | None = None
    bootstrap: int = 1000
    confidence: float = 0.95
    accelerator: str = "auto"
    devices: int | list[int] | str = 1
    strategy: str = "auto"
    precision: int | str = "32-true"
    batch_size: int | None = None
    readers: int = 0
    certificate: SandwichSettings = field(default_factory=SandwichSettings)
    facts: dict[str, Facts] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.device_settings and self.pass_settings:  # made here, so that bad values are refused at once
            return

    @classmethod
    def grid_keys(cls) -> tuple[str, ...]:
        """Return the settings that may differ within a results folder."""
        return (*super().grid_keys(), "rotations", "translations", "scalings")

    @property
    def pass_settings(self) -> PassSettings:
        """Deformations and images, before a protocol fixes some of it."""
        given = {one.name: getattr(self, one.name) for one in fields(PassSettings)}
        settings: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in given.items()
        }
        if self.until is not None:
            settings["until"] = parse_share(self.until, argument="until")
        return PassSettings(**settings)

    @property
    def device_settings(self) -> DeviceSettings:
        """Where it is measured."""
        return DeviceSettings(
            self.accelerator, self.devices, self.strategy, str(self.precision), self.batch_size, self.readers
        )

    @cached_property
    def choices(self) -> dict[str, ModelChoice]:
        """The models by label, those with initial weights too."""
        found = {label: _choice(label, options) for label, options in self.models.items()}
        if not found:
            raise ArgumentError("model", "be given", "none", "--model torchvision:resnet18, say.")
        if not self.init:
            return found
        for label, choice in list(found.items()):
            if choice.weights is None and not is_fitted(choice.model):
                way_out = "Without weights, it is measured at initialisation anyway."
                raise ArgumentError("init", "go with models that have weights", label, way_out)
            found[f"{label}{UNTRAINED}"] = replace(choice, untrained=True)
        return found

    def ready(self, label: str) -> Preparation:
        """Return the measurement of a model, loaded and checked; the last few are kept."""
        choice = self.choices[label]
        key = canonical_json([asdict(choice), label, {**self.resolved(), "models": {}, "facts": {}}])
        if key not in _READY:
            while len(_READY) >= _KEPT:
                del _READY[next(iter(_READY))]
            _READY[key] = prepare(
                choice.load(),
                self.image_set(),
                settings=self.pass_settings,
                output=choice.output or "",
                protocol_name=self.protocol,
                name=label,
            )
        return _READY[key]

    def image_set(self) -> ImageSet:
        """Return the images, with the labels counted as the model does."""
        if not self.data:
            raise ArgumentError(
                "data", "be given", "none", "--data FOLDER, with a subfolder for each class, say."
            )
        found = open_data(self.data, size=self.size, images=self.images, grey=self.grey)
        return found.with_classes(self.classes) if self.classes else found

    def settled(self) -> MeasureExperiment:
        """Return the experiment with all that only models and data can tell: layers, hashes, what a protocol fixes."""
        facts = {label: self.facts_of(label) for label in self.choices}
        fixed: dict[str, Any] = {}
        if self.protocol is not None:
            given = vars(self.ready(next(iter(self.choices))).settings)
            fixed = {
                name: list(value) if isinstance(value, tuple) else value for name, value in given.items()
            }
        return replace(self, facts=facts, **fixed)

    def facts_of(self, label: str) -> Facts:
        """Return layers and hash of the weights of a model, loaded if nobody has told them yet."""
        if label in self.facts:
            return self.facts[label]
        ready = self.ready(label)
        return Facts([layer_label(name) for name in ready.plan.layers], ready.subject.weights_hash)

    @property
    def amounts(self) -> tuple[Amount, ...]:
        """The deformations, as the protocol has them."""
        if self.protocol is None or self.facts:
            return self.pass_settings.amounts
        return self.ready(next(iter(self.choices))).settings.amounts

    def check_data(self) -> None:
        """Load every model once, and look at the data."""
        for label in self.choices:
            self.ready(label)

    def values(self, axis: Axis, cell: Mapping[str, Any]) -> Sequence[Any]:
        """Return the values on an axis: cut-offs belong to diffeomorphisms, layers to a model."""
        if axis.name == "model":
            return list(self.choices)
        if axis.name == "deformation":
            return list(dict.fromkeys(one.text for one in self.amounts))
        if axis.name == "cutoff":
            return [one.cutoff for one in self.amounts if one.text == cell["deformation"]]
        return self.facts_of(cell["model"]).layers

    def settings(self, cell: Cell) -> dict[str, Any]:
        """Return what tells a run apart, the model with all that it is."""
        label = cell["model"]
        told = {
            "label": label,
            **asdict(self.choices[label]),
            "weights_hash": self.facts_of(label).weights_hash,
        }
        return {**cell, "model": told}

    def coordinates(self, cell: Cell) -> dict[str, Any]:
        """Return the place of a run."""
        return dict(cell)

    def run_together(
        self, cells: Sequence[Cell], shared: Any, workplace: Workplace
    ) -> Iterator[tuple[Cell, dict[str, Any]]]:
        """Measure a model under all deformations, at all layers, in one pass; write the tables of its images."""
        label, key = cells[0]["model"], workplace.keys[cells[0]]
        ready = self.ready(label)
        path = state_path(workplace.folder, ready)
        is_shown = _has_own_bar.get()
        if is_shown:
            say = f"{label}: {len(ready.order)} images, {ready.versions} versions of each"
            Console(stderr=True).print(say, markup=False, highlight=False)
        say_next(label)
        try:
            found = finish(ready, devices=self.device_settings, path=path, is_shown=is_shown)
        except Exception as error:
            if started_together():  # the others still wait for this process: no further model can be measured
                raise ResultsError(f"{label}: {error}") from error
            raise
        workplace.tell(found.metrics())
        write_tables(workplace.folder, key, label, found)
        write_examples(workplace.folder, key, ready, found.images)
        rows: dict[Any, Any] = {
            (row["deformation"], row["cutoff"], row["layer"]): row for row in found.frame.to_dict("records")
        }
        source = self.choices[label].model
        for cell in cells:
            row = rows[cell["deformation"], cell["cutoff"], cell["layer"]]
            yield (
                cell,
                {
                    **row,
                    **cell,
                    "source": source,
                    "notes": " ".join(found.remarks),
                },
            )

    def certify(self, folder: Path) -> None:
        """Certify the models, if that is asked for; what is in the folder already is not made again."""
        for label in self.choices if self.certificate.certify else ():
            ready = self.ready(label)
            write_sandwich(
                folder, ready, self.certificate, self.device_settings, stem=safe_name(ready.subject.name)
            )


def follow(experiment: MeasureExperiment) -> None:
    """Measure the share of this process of each model that the first process of torchrun measures."""
    for label in next_labels():
        ready = experiment.ready(label)
        path = state_path(Path(), ready)  # the first process keeps what is found
        finish(ready, devices=experiment.device_settings, path=path, is_shown=False)


def _choice(label: str, options: Mapping[str, Any]) -> ModelChoice:
    """Return the model that a configuration describes."""
    known = [one.name for one in fields(ModelChoice)]
    unknown = [name for name in options if name not in known]
    if unknown or "model" not in options:
        condition = f"have the key model, others among {', '.join(known)}"
        raise ArgumentError(f"models.{label}", condition, ", ".join(unknown) or "none")
    return ModelChoice(**options)


_has_own_bar = ContextVar("has_own_bar", default=False)


@contextmanager
def own_bar() -> Iterator[Console]:
    """Show a bar for the images of each model, in place of the grid's for the models.

    Yields:
        The console for the grid, which shows nothing.
    """
    token = _has_own_bar.set(True)
    try:
        yield Console(stderr=True, quiet=True)
    finally:
        _has_own_bar.reset(token)


_KEPT = 2
_READY: dict[str, Preparation] = {}


def write_tables(folder: Path, key: str, label: str, found: Measurement) -> None:
    """Write the table of the images of a model as Parquet and as CSV."""
    (folder / TABLES).mkdir(exist_ok=True)
    frame = found.images.copy()
    frame.insert(0, "model", label)
    stem = f"{key}.{safe_name(label)}"
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    write_atomically(folder / TABLES / f"{stem}.parquet", buffer.getvalue())
    write_atomically(folder / TABLES / f"{stem}.csv", frame.to_csv(index=False).encode())


def write_examples(folder: Path, key: str, ready: Preparation, images: pd.DataFrame) -> None:
    """Write the most and the least stable images of a model under its first deformation, as they were deformed."""
    (folder / EXAMPLES).mkdir(exist_ok=True)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **example_arrays(ready, images))
    write_atomically(folder / EXAMPLES / f"{key}.{safe_name(ready.subject.name)}.npz", buffer.getvalue())


def safe_name(label: str) -> str:
    """Return a label as part of the name of a file."""
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in label)


def image_tables(folder: Path) -> dict[str, pd.DataFrame]:
    """Return the tables of the images of a results folder, by the label of the model."""
    frames = [pd.read_parquet(path) for path in sorted((folder / TABLES).glob("*.parquet"))]
    return {str(frame["model"].iloc[0]): frame for frame in frames if len(frame)}
