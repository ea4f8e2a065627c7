"""What is measured and kept on the way of a training."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.utils.data.distributed import DistributedSampler

from diffstab.errors import ArgumentError, DegenerateError
from diffstab.stability import Probes, RelativeStability, diffeomorphism, numbered_pairs
from diffstab.stability.predictors import batch_output
from diffstab.streams import stream


def run_folder(trainer: Trainer) -> Path:
    """Return the folder of this run alone, where its checkpoints lie: <save_dir>/<name>/<version>.

    Without a logger it is the trainer's root folder, which runs share.
    """
    logger = trainer.logger
    if logger is None:
        return Path(trainer.default_root_dir)
    version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
    return Path(logger.save_dir or trainer.default_root_dir) / str(logger.name) / version


class FinalCheckpoint(Callback):
    """Keeps the weights that training ended with, in checkpoints/final.ckpt of the run's folder.

    Lightning's own checkpoints are of the last validation, which may lie before the stop.
    """

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save, unless checkpoints are switched off."""
        if trainer.checkpoint_callbacks:
            # With the optimiser's state, so that training can go on from here.
            trainer.save_checkpoint(run_folder(trainer) / "checkpoints" / "final.ckpt", weights_only=False)


class StabilityProbe(Callback):
    """Logs D, G and R of the predictor after each validation and test, on the same draws every time.

    The predictor is the module itself, called with images as `validation_step` would under the trainer's precision;
    of the task, F = alpha (f - xi f_0). Where it is constant, as at initialisation with xi = 1, or has seen fewer
    than two images, D, G and R are undefined and logged as NaN. What is drawn for an image depends on the seed and
    its place in its data set, so that batch sizes and processes change no number beyond rounding.

    A batch is a tensor of images, a tuple or list that begins with one, or a dictionary with "image" or "images".

    Args:
        delta_px: Typical displacement of the deformations, pixels.
        cutoff: Their high-frequency cut-off c >= 2.
        noise: "matched" (|eta| = |tau x - x| image by image), a fixed norm, or "batch": the mean norm over a
            batch, which then depends on how images are batched.
        fields_per_image: Deformations and noise draws for each image.
        seed: Seed of the draws.

    Raises:
        ArgumentError: If a value is out of range; when run, if a batch holds no images or the module returns no tensor.
    """

    def __init__(
        self,
        *,
        delta_px: float = 1.0,
        cutoff: int = 3,
        noise: Literal["matched", "batch"] | float = "matched",
        fields_per_image: int = 1,
        seed: int = 0,
    ) -> None:
        self.deform = diffeomorphism(delta_px, cutoff)
        self.noise: str | float = noise
        self.fields_per_image, self.seed = fields_per_image, seed
        self.metric = RelativeStability()
        self._seen: Counter[int] = Counter()

    def draw(self, images: Tensor, numbers: Tensor, *, loader: int = 0) -> Probes:
        """Return what is measured on images (n, ...) of the given places in the data set of a loader."""
        return numbered_pairs(
            images,
            numbers,
            deform=self.deform,
            noise=self.noise,
            fields_per_image=self.fields_per_image,
            block_stream=lambda block: stream(self.seed, "validation probes", loader, block),
        )

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start over."""
        self._start()

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start over."""
        self._start()

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Measure a batch."""
        self._measure(trainer, pl_module, images_of(batch), trainer.val_dataloaders, dataloader_idx)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Measure a batch."""
        self._measure(trainer, pl_module, images_of(batch), trainer.test_dataloaders, dataloader_idx)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log val_D, val_G and val_R."""
        self._log(pl_module, "val")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log test_D, test_G and test_R."""
        self._log(pl_module, "test")

    def _start(self) -> None:
        self.metric.reset()
        self._seen.clear()

    def _measure(
        self, trainer: Trainer, module: LightningModule, images: Tensor, loaders: Any, index: int
    ) -> None:
        # Process r of W has images r, r + W, ..., as the loaders of the project and Lightning's sampler deal them.
        places = self._seen[index] + torch.arange(len(images))
        self._seen[index] += len(images)
        numbers = places * trainer.world_size + trainer.global_rank
        own = numbers < _count_of(loaders, index)  # Lightning's sampler repeats some to fill up
        images, numbers = images[own.to(images.device)], numbers[own]
        if not len(images):
            return
        probes = self.draw(images, numbers, loader=index)
        with trainer.precision_plugin.forward_context():
            fields = [
                [batch_output(module, field) for field in part] for part in (probes.deformed, probes.noisy)
            ]
            clean = batch_output(module, images)
        self.metric.update(clean, *(torch.stack(outputs) for outputs in fields))

    def _log(self, pl_module: LightningModule, stage: str) -> None:
        try:
            found = self.metric.stability()
            values = (float(found.deformation), float(found.noise), float(found.relative))
        except (DegenerateError, ArgumentError):  # a constant predictor, or fewer than two images in all
            values = (math.nan, math.nan, math.nan)
        pl_module.log_dict({f"{stage}_{name}": value for name, value in zip("DGR", values)}, batch_size=1)


def images_of(batch: Any) -> Tensor:
    """Return the images of a batch.

    Args:
        batch: A tensor (n, C, H, W), a tuple or list that begins with one, or a dictionary with "image" or "images".

    Raises:
        ArgumentError: If it is none of these.
    """
    found = batch
    if isinstance(batch, Mapping):
        found = batch.get("images", batch.get("image"))
    elif isinstance(batch, tuple | list):
        found = batch[0] if batch else None
    if not isinstance(found, Tensor) or found.ndim != 4:
        condition = 'be images (n, C, H, W), begin with them, or hold them as "images" or "image"'
        raise ArgumentError("batch", condition, _described(batch))
    return found


def _described(batch: Any) -> str:
    if isinstance(batch, Tensor):
        return f"a tensor of shape {tuple(batch.shape)}"
    if isinstance(batch, Mapping):
        return f"a dictionary with {', '.join(map(repr, batch)) or 'nothing'}"
    if isinstance(batch, tuple | list):
        return f"a {type(batch).__name__} of {', '.join(type(part).__name__ for part in batch) or 'nothing'}"
    return type(batch).__name__


def _count_of(loaders: Any, index: int) -> float:
    """Return the number of images of a loader whose sampler repeats some; infinity where it is not known to."""
    loader = loaders[index] if isinstance(loaders, list | tuple) else loaders
    sampler = getattr(loader, "sampler", None)
    return len(loader.dataset) if isinstance(sampler, DistributedSampler) else math.inf
