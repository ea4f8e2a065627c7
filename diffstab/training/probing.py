"""What `StabilityProbe` measures: batches of a trainer's loaders, each image once, in whichever process it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn

from diffstab.errors import ArgumentError
from diffstab.nets import matching_layers
from diffstab.stability import (
    Deformation,
    LayerPass,
    PassSums,
    Samples,
    StabilitySums,
    bootstrap_interval,
    gathered,
)
from diffstab.stability.deformations import Diffeomorphism
from diffstab.streams import integer_seed, stream
from diffstab.training.numbering import Numbering, Numbers, Stage, suffix
from diffstab.training.processes import summed
from diffstab.training.samples import images_of

_SIDE = 3  # pixels at least: fields are zero on the border
_LETTERS = {"D": "deformation", "G": "noise", "R": "relative"}


@dataclass(frozen=True)
class ProbeSettings:
    """What is measured: see `diffstab.training.callbacks.StabilityProbe`."""

    deform: Deformation
    name: str
    noise: str | float
    fields_per_image: int
    layers: Sequence[str]
    images: int | None
    transform: Callable[[Any], Tensor] | None
    output: Callable[[Any], Tensor] | None
    bootstrap: int
    seed: int

    def seed_of(self, loader: int) -> int:
        """Seed of the draws for the images of a loader."""
        return integer_seed(self.seed, "validation probes", loader, below=2**63)

    def images_of(self, batch: Any) -> Tensor:
        """The images of a batch, which can be deformed."""
        images = images_of(batch) if self.transform is None else self.transform(batch)
        check_probed(images, least=_SIDE if isinstance(self.deform, Diffeomorphism) else 1)
        return images

    def measuring(self, module: LightningModule, loader: int) -> LayerPass:
        """A pass over the images of a loader."""
        if type(module).forward in (LightningModule.forward, nn.Module.forward):
            received = f"{type(module).__name__} without one"
            raise ArgumentError("module", "have a method forward(images), which is measured", received)
        return LayerPass(
            module,
            layers=matching_layers(module, self.layers),
            deformations=[self.deform],
            seed=self.seed_of(loader),
            noise=self.noise,
            fields_per_image=self.fields_per_image,
            output=self.output,
        )


class ProbePasses:
    """Passes over the loaders of one validation or test.

    Args:
        settings: What is measured.
        stage: "val" or "test".
    """

    def __init__(self, settings: ProbeSettings, stage: Stage) -> None:
        self.settings, self.stage = settings, stage
        self._numbering = Numbering()
        self._passes: dict[int, LayerPass] = {}

    def update(self, trainer: Trainer, module: LightningModule, batch: Any, *, loader: int) -> None:
        """Measure a batch; every process calls it for each of its batches, in the same order."""
        self.update_images(trainer, module, self.settings.images_of(batch), loader=loader)

    def update_images(
        self, trainer: Trainer, module: LightningModule, images: Tensor, *, loader: int
    ) -> None:
        """As `update`, with the images of a batch."""
        found = self._numbering.numbers(trainer, self.stage, count=len(images), dataloader_idx=loader)
        if loader not in self._passes:
            self._passes[loader] = self.settings.measuring(module, loader)
        mine = found.mine
        if self.settings.images is not None:
            mine = mine & (found.number < self.settings.images)
        own, numbers = images[mine.to(images.device)], found.number[mine]
        with measured_as_trained(trainer):
            noise = None
            if self.settings.noise == "batch" and trainer.world_size > 1:
                noise = [self._mean_norm(trainer, own, numbers, found, loader=loader)]
            if len(own):
                self._passes[loader].update(own, numbers, noise=noise)

    def numbers(self, trainer: Trainer) -> dict[str, float]:
        """Numbers of all loaders and processes by the names that they are logged under; every process calls it."""
        numbers: dict[str, float] = {}
        for loader, measuring in sorted(self._passes.items()):
            with measured_as_trained(trainer):
                own = measuring.result() if measuring.images else None
            sums = gathered(own) if trainer.world_size > 1 else own
            end = suffix(trainer, self.stage, loader)
            numbers |= self._of_layers(sums, measuring.layers, end)
        return numbers

    def _of_layers(self, found: PassSums | None, layers: Sequence[str], end: str) -> dict[str, float]:
        numbers = {}
        sums = {name: one for (_, name), one in found.sums.items()} if found else dict.fromkeys(layers)
        for name, one in sums.items():
            where = f"/{name}{end}" if name else end
            for letter, value in self._of_layer(one).items():
                numbers[f"{self.stage}_{letter}{where}"] = value
        return numbers

    def _of_layer(self, sums: StabilitySums | None) -> dict[str, float]:
        """D, G and R with the ends of their intervals, NaN where they are undefined."""
        name = f"_{self.settings.name}" if self.settings.name else ""
        kinds = (name, f"{name}_low", f"{name}_high") if self.settings.bootstrap else (name,)
        if sums is None or not bool(sums.denominator > 0):
            return {letter + kind: math.nan for kind in kinds for letter in _LETTERS}
        interval = bootstrap_interval(
            Samples.of(sums),
            resamples=self.settings.bootstrap,
            confidence=0.95,
            generator=stream(self.settings.seed, "bootstrap of a probe"),
        )
        parts = dict(zip(kinds, (sums.stability(), interval.low, interval.high), strict=False))
        return {
            letter + kind: float(getattr(part, field))
            for kind, part in parts.items()
            for letter, field in _LETTERS.items()
        }

    def _mean_norm(
        self, trainer: Trainer, images: Tensor, numbers: Tensor, found: Numbers, *, loader: int
    ) -> float:
        """Return the mean norm of the deformations of a batch over all processes; each of them calls it."""
        if not found.even:
            received = '"batch" with a loader that is not known to serve all processes alike'
            way_out = "Use torch's DataLoader, or TensorBatches."
            raise ArgumentError("noise", 'be "matched" or a norm here', received, way_out)
        count = len(images)
        total = self._passes[loader].mean_norms(images, numbers)[0] * count if count else 0.0
        both = summed(
            trainer, torch.tensor([total, count], dtype=torch.float64, device=images.device)
        ).tolist()
        return float(both[0] / both[1]) if both[1] else 1.0


class KeptBatches:
    """The first images of a trainer's validation data, to be measured again and again during training.

    Args:
        settings: What is measured, with a number of images.
        trainer: At the start of its training.
        module: In training.

    Raises:
        ArgumentError: There are no validation data.
    """

    def __init__(self, settings: ProbeSettings, trainer: Trainer, module: LightningModule) -> None:
        self.settings = settings
        with (
            torch.random.fork_rng()
        ):  # loaders draw from the global generator, and the training must not notice
            self._batches = list(self._first_batches(trainer, module))
        if not self._batches:
            way_out = 'Give the trainer validation data, or measure with every="validation".'
            raise ArgumentError("every", "be used with validation data", '"log" without any', way_out)

    def numbers(self, trainer: Trainer, module: LightningModule) -> dict[str, float]:
        """Measure, and return the numbers by the names that they are logged under."""
        passes = ProbePasses(self.settings, "val")
        for loader, images in self._batches:
            passes.update_images(trainer, module, images, loader=loader)
        return passes.numbers(trainer)

    def _first_batches(self, trainer: Trainer, module: LightningModule) -> Iterator[tuple[int, Tensor]]:
        trainer.fit_loop.epoch_loop.val_loop.setup_data()
        loaders = trainer.val_dataloaders
        several = (
            loaders
            if isinstance(loaders, list | tuple)
            else list(loaders.values())
            if isinstance(loaders, dict)
            else [loaders]
        )
        for place, loader in enumerate(several if loaders is not None else []):
            counted = Numbering()
            for batch in loader:
                images = self.settings.images_of(
                    trainer.strategy.batch_to_device(batch, dataloader_idx=place)
                )
                numbers = counted.numbers(trainer, "val", count=len(images), dataloader_idx=place).number
                yield place, images.clone()
                if self.settings.images is not None and (numbers >= self.settings.images - 1).any():
                    break


@contextmanager
def measured_as_trained(trainer: Trainer) -> Iterator[None]:
    """The trainer's precision, without gradients."""
    with torch.no_grad(), trainer.precision_plugin.forward_context():
        yield


def check_probed(images: Tensor, *, least: int) -> None:
    """Raise an ArgumentError unless images are a floating (n, C, H, W) with sides of at least some pixels."""
    if not isinstance(images, Tensor) or images.ndim != 4 or not images.is_floating_point():
        received = (
            f"{images.dtype} of shape {tuple(images.shape)}"
            if isinstance(images, Tensor)
            else type(images).__name__
        )
        way_out = "transform= may find them in a batch."
        raise ArgumentError(
            "images of StabilityProbe", "be floating, of shape (n, C, H, W)", received, way_out
        )
    if min(images.shape[2:]) < least:
        way_out = "Fields are zero on the border."
        raise ArgumentError(
            "images of StabilityProbe",
            f"have at least {least} x {least} pixels",
            tuple(images.shape),
            way_out,
        )
