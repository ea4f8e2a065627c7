"""Measure any model on any images with one call."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffstab.errors import ArgumentError
from diffstab.measuring.data import open_data
from diffstab.measuring.forecast import (
    Forecast,
    bytes_per_image,
    fitting_batch,
    free_bytes,
    seconds_per_batch,
)
from diffstab.measuring.images import UNKNOWN, ImageSet, check_count
from diffstab.measuring.measurement import Measurement
from diffstab.measuring.rows import classes_agree, image_frame, layer_rows
from diffstab.measuring.running import measured_state, trainer_of
from diffstab.measuring.settings import DeviceSettings, PassSettings, Protocol, protocol, under_protocol
from diffstab.measuring.task import PassPlan, Subject, layer_pass
from diffstab.nets import LoadedModel, default_layers, load_model, matching_layers, output_part
from diffstab.nets.layers import runs_apart
from diffstab.nets.preprocessing import Preprocessing
from diffstab.nets.weights import weights_hash
from diffstab.results import config_hash
from diffstab.stability.draws import NumberedDraws
from diffstab.stability.layer_pass import FIRST_LOOK

_EXAMPLES = 3
_ENOUGH_FREE = 4 * 2**30
"""Free memory of the CPU that is made use of, bytes for each process: batches take a quarter."""
_AT_ONCE = 64


@dataclass(frozen=True)
class Preparation:
    """A measurement that is ready to run.

    Attributes:
        subject: What is measured.
        images: On what.
        settings: How, those of the protocol put in.
        plan: The pass, without its rounds.
        order: Numbers of the images, the first ones first.
        size: Height and width of the images.
        protocol: Name of it; None for settings of one's own.
        notes: What to bear in mind, a sentence each.
    """

    subject: Subject
    images: ImageSet
    settings: PassSettings
    plan: PassPlan
    order: Tensor
    size: tuple[int, int]
    protocol: Protocol | None = None
    notes: tuple[str, ...] = ()

    @property
    def versions(self) -> int:
        """Versions of an image that pass through the model."""
        of_a_field = 3 if self.plan.floor else 2
        return 1 + of_a_field * len(self.plan.deformations) * self.settings.fields_per_image


def measure(
    model: Any,
    data: Any,
    *,
    settings: PassSettings | None = None,
    devices: DeviceSettings | None = None,
    output: str = "",
    protocol_name: str | int | None = None,
    folder: str | Path | None = None,
    logger: Any = False,
) -> Measurement:
    """Measure D, G and R of a model's output and layers, and its accuracy, in one pass over images.

    Args:
        model: A module that takes images in [0, 1], (n, C, H, W); a `LoadedModel`, whose preprocessing comes after the
            deformations; or the text that `diffstab.nets.load_model` takes. It comes back as it was.
        data: What `open_data` takes: a folder, a data module, a loader, a data set, a tensor (n, C, H, W) in [0, 1].
        settings: Deformations, layers, number of images, seed; None is 1 px, cut-off 3, the default layers, all images.
        devices: Where, and the size of batches; None is one device, the best there is.
        output: Part of what the model returns, "logits" or "0" say; "" for all of it.
        protocol_name: "1" or "2021", see `diffstab.measuring.settings.protocol`.
        folder: Where a measurement that is stopped goes on when it is called again; None keeps nothing.
        logger: Any logger of Lightning, which gets the numbers of the output; False for none.

    Returns:
        Tables, a text and plots.

    Raises:
        ArgumentError: The model, the data or a setting do not fit.
        DataError: Images are missing or damaged.
    """
    settings = settings or PassSettings()
    images = open_data(data, images=settings.images)
    ready = prepare(model, images, settings=settings, output=output, protocol_name=protocol_name)
    with tempfile.TemporaryDirectory() as kept:
        path = state_path(Path(folder or kept), ready)
        return finish(ready, devices=devices or DeviceSettings(), path=path, logger=logger)


def prepare(
    model: Any,
    images: ImageSet,
    *,
    settings: PassSettings,
    output: str = "",
    protocol_name: str | int | None = None,
    name: str = "",
) -> Preparation:
    """Return what a measurement needs, with everything checked that can be before it runs."""
    loaded = loaded_model(model)
    check_count(None, len(images))
    example = images.batch(torch.arange(min(_EXAMPLES, len(images)))).images
    chosen = protocol(protocol_name, channels=example.shape[1]) if protocol_name is not None else None
    if chosen is not None:
        settings = under_protocol(settings, chosen, available=len(images))
    count = check_count(settings.images, len(images))
    size = (int(example.shape[2]), int(example.shape[3]))
    _check_maps(loaded, settings, size)
    names = layer_names(loaded, settings.layers, example, output=output)
    subject = Subject(
        loaded.module, loaded.preprocessing, output_part(output), name or loaded.name, loaded.weights_hash
    )
    plan = PassPlan(
        tuple(names),
        tuple(amount.deformation(size) for amount in settings.amounts),
        (),
        settings,
    )
    order = images.order(settings.seed)[:count]
    if settings.noise == "batch":
        plan = replace(plan, settings=replace(settings, noise=mean_norm(plan, images, order)))
    return Preparation(subject, images, settings, plan, order, size, chosen, tuple(loaded.notes))


def _check_maps(loaded: LoadedModel, settings: PassSettings, size: tuple[int, int]) -> None:
    """Refuse E where the model sees a part of the image: its maps do not move as the whole image does."""
    done = loaded.preprocessing
    if settings.equivariant and isinstance(done, Preprocessing) and not done.takes_all(size):
        way_out = "Give resize and crop the same height and width."
        raise ArgumentError("equivariant", "go without a crop of the images", done, way_out)


def mean_norm(plan: PassPlan, images: ImageSet, order: Tensor) -> float:
    """Return the mean norm of what a deformation changes, over all images and fields: the noise of 2021.

    Raises:
        ArgumentError: There are several deformations, each of which has a mean of its own.
    """
    if len(plan.deformations) > 1:
        received = f'"batch" with {len(plan.deformations)} deformations'
        raise ArgumentError("noise", 'be "matched" or a norm for several deformations', received)
    seed, fields = plan.settings.seed, plan.settings.fields_per_image
    draws = NumberedDraws(plan.deformations, seed=seed, noise="batch", fields_per_image=fields)
    total = 0.0
    # By no loader: those of several processes share the images.
    for numbers in torch.split(order, _AT_ONCE):
        batch = images.batch(numbers)
        total += draws.mean_norms(batch.images, batch.numbers)[0] * len(batch)
    return total / len(order)


def loaded_model(model: Any) -> LoadedModel:
    """Return a model with its preprocessing: loaded from a text, or a module without any."""
    if isinstance(model, LoadedModel):
        return model
    if isinstance(model, str):
        return load_model(model)
    if not callable(model) or isinstance(model, type):
        raise ArgumentError("model", "be a module, a function of images, or the text of one", repr(model))
    is_module = isinstance(model, nn.Module) and not isinstance(model, torch.jit.ScriptModule)
    found = weights_hash(model.state_dict()) if is_module else ""
    name = type(model).__name__ if is_module else getattr(model, "__name__", type(model).__name__)
    return LoadedModel(model, name, "an object", weights_hash=found, has_layers=is_module)


def layer_names(
    loaded: LoadedModel, patterns: Sequence[str], images: Tensor, *, output: str = ""
) -> list[str]:
    """Return the names of the measured layers, the output "" as the last; each run of a layer has its own.

    Args:
        loaded: The model.
        patterns: Of layers; "default" and "output" have their own meaning.
        images: A few, in [0, 1].
        output: Part of what the model returns.

    Raises:
        ArgumentError: A pattern matches nothing, or the model shows no layers.
    """
    others = [pattern for pattern in patterns if pattern not in ("default", "output")]
    if not loaded.has_layers or not isinstance(loaded.module, nn.Module):
        if others:
            way_out = "Its output can be measured: --layers output."
            raise ArgumentError("layers", f"be left out for {loaded.source}", ", ".join(others), way_out)
        return [""]
    device = next((one.device for one in loaded.module.parameters()), images.device)
    dtype = next((one.dtype for one in loaded.module.parameters()), images.dtype)
    example = loaded.preprocessing(images.to(device)).to(dtype)
    part = output_part(output) if output else None
    names: list[str] = []
    if "default" in patterns:
        names += default_layers(loaded.module, example, output=part)
    if others:
        names += matching_layers(loaded.module, others, example=example, output=part)
    chosen = [*(name for name in dict.fromkeys(names) if name), ""]
    return runs_apart(chosen, loaded.module, example)


def state_path(folder: Path, ready: Preparation) -> Path:
    """Return the file in which a measurement keeps what it has found: another one for everything that matters."""
    settings = replace(ready.settings, until=None, images=None)
    told = [
        vars(settings),
        list(ready.plan.layers),
        ready.subject.weights_hash,
        ready.images.name,
        ready.images.grey,
        len(ready.images),  # numbers of images stand for files
        config_hash({"paths": [str(path) for path in ready.images.paths]}),
        ready.size,
    ]
    name = config_hash({"told": [str(part) for part in told]})
    return folder / "unfinished" / f"{ready.subject.name}-{name}.pt"


def finish(
    ready: Preparation, *, devices: DeviceSettings, path: Path, logger: Any = False, is_shown: bool = True
) -> Measurement:
    """Run a measurement, or the rest of one.

    Args:
        ready: From `prepare`.
        devices: Where.
        path: File that it goes on from; removed when all is done.
        logger: Of Lightning; False for none.
        is_shown: Whether a bar shows how far it is.
    """
    trainer = trainer_of(devices, logger=logger, is_shown=is_shown)
    state = measured_state(
        ready.subject,
        ready.images,
        ready.plan,
        order=ready.order,
        devices=devices,
        batch_size=batch_size(ready, devices, trainer),
        path=path,
        trainer=trainer,
    )
    notes = (*ready.notes, *state.warnings)
    if state.classes and not classes_agree(state, ready.images):
        state = state._replace(labels=torch.full_like(state.labels, UNKNOWN))
        count = len(ready.images.class_names)
        said = f"The data have {count} classes and the model {state.classes} outputs, so there is no accuracy"
        notes = (*notes, f"{said}: name the model's classes in their order (--classes).")
    amounts, statistic = ready.settings.amounts, ready.protocol.statistic if ready.protocol else "mean"
    told = {
        "model": ready.subject.name,
        "weights_hash": ready.subject.weights_hash,
        "dataset": ready.images.name,
        "protocol": ready.protocol.name if ready.protocol else "",
        "statistic": statistic,
        "noise": str(ready.settings.noise),
        "seed": ready.settings.seed,
        "image_height": ready.size[0],
        "image_width": ready.size[1],
    }
    rows = layer_rows(state, ready.plan, amounts, size=ready.size, statistic=statistic)
    found = Measurement.of(
        [{**told, **row} for row in rows], image_frame(state, ready.plan, amounts, ready.images), notes
    )
    for one in trainer.loggers:
        one.log_metrics(found.metrics())
        one.finalize("success")
    path.unlink(missing_ok=True)
    return found


def batch_size(ready: Preparation, devices: DeviceSettings, trainer: Any) -> int:
    """Return the images of a batch: as asked for, or what a quarter of the free memory holds (of 4 GiB on the CPU)."""
    if devices.batch_size is not None:
        return devices.batch_size
    device = trainer.strategy.root_device
    shared = trainer.world_size if device.type == "cpu" else 1
    free = free_bytes(device)
    if device.type == "cpu":  # larger batches are no faster there
        free = min(free, shared * _ENOUGH_FREE)
    return fitting_batch(image_bytes(ready), free, images=len(ready.order), processes=shared)


def image_bytes(ready: Preparation) -> float:
    """Return the memory of an image with its versions on the way through the model."""
    images = _first_images(ready, 2)
    subject = ready.subject
    module = subject.module
    place = next(module.parameters(), images) if isinstance(module, nn.Module) else images
    prepared = subject.preprocessing(images.to(place.device)) if subject.preprocessing else images
    return bytes_per_image(module, prepared.to(place.dtype), layers=len(ready.plan.layers), versions=3)


def _first_images(ready: Preparation, count: int) -> Tensor:
    return ready.images.batch(ready.order[:count]).images


def forecast(ready: Preparation, devices: DeviceSettings) -> Forecast:
    """Return what a measurement will take, from a few images measured now.

    With `until`, all images are the most that it may take.
    """
    trainer = trainer_of(devices, is_shown=False)
    size = batch_size(ready, devices, trainer)
    count = min(size, 16, len(ready.order))
    images, device = _first_images(ready, count), trainer.strategy.root_device
    seconds = _timed(ready, images.to(device), device) / count
    held = 3 * 8 * len(ready.order) * len(ready.plan.deformations) * len(ready.plan.layers)
    total = seconds * len(ready.order) / trainer.world_size
    return Forecast(total, size * image_bytes(ready) + held, size, len(ready.order), ready.versions)


def _timed(ready: Preparation, images: Tensor, device: torch.device) -> float:
    module = ready.subject.module
    before = (
        next(module.parameters()).device
        if isinstance(module, nn.Module) and list(module.parameters())
        else None
    )
    try:
        if before is not None:
            module.to(device)
        with layer_pass(ready.subject, ready.plan) as run:
            return seconds_per_batch(run.update, images, first=FIRST_LOOK)
    finally:
        if before is not None:
            module.to(before)
