"""What is measured and kept on the way of a training."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from diffstab.errors import ArgumentError, DegenerateError
from diffstab.stability import Probes, RelativeStability, diffeomorphism, noise_norms, numbered_pairs
from diffstab.stability.predictors import batch_output, evaluation_mode
from diffstab.streams import stream
from diffstab.training.numbering import Numbering, Numbers, Stage, suffix
from diffstab.training.processes import summed
from diffstab.training.samples import images_of


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

    The predictor is the LightningModule itself, called with images alone (for a `Task`, F = alpha (f - xi f_0)),
    in eval mode, under the trainer's precision; mode, buffers, batches and the global generators are left as they
    are. Images are the batch, the first entry of a tuple, or "image" or "images" of a dictionary.

    Draws hang on the seed and the number of the image in its loader: neither batches nor processes change them, and
    several processes count each image once. D, G and R are NaN where they are undefined: where F is constant, as
    at initialisation with xi = 1, and for fewer than two images. Several loaders are measured and logged apart.

    Args:
        delta_px: Typical displacement of the deformations, pixels.
        cutoff: Their high-frequency cut-off c >= 2.
        noise: "matched" (|eta| = |tau x - x| image by image), "batch" (their mean over the batch of all processes), or
            a fixed norm.
        fields_per_image: Deformations and noise draws for each image.
        seed: Seed of the draws, any integer.

    Raises:
        ArgumentError: If a value is out of range; at work, if batches or outputs are of another kind.
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
        # Bad values are refused here, not at first use.
        noise_norms(torch.ones(1, 1), noise=noise)
        if fields_per_image < 1:
            raise ArgumentError("fields_per_image", "be >= 1", fields_per_image)
        self.noise: str | float = noise
        self.fields_per_image, self.seed = fields_per_image, seed
        self.metrics: dict[int, RelativeStability] = {}
        self.numbering = Numbering()

    def draw(
        self, images: Tensor, numbers: Tensor, *, loader: int = 0, noise: str | float | None = None
    ) -> Probes:
        """Return what is measured on images.

        Args:
            images: (n, C, H, W).
            numbers: (n,) their places in the data set of the loader, ascending.
            loader: Number of the loader.
            noise: Another noise than the callback's.
        """
        return numbered_pairs(
            images,
            numbers,
            deform=self.deform,
            noise=self.noise if noise is None else noise,
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
        self._update(trainer, pl_module, batch, stage="val", loader=dataloader_idx)

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
        self._update(trainer, pl_module, batch, stage="test", loader=dataloader_idx)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log val_D, val_G and val_R."""
        self._log(trainer, pl_module, "val")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log test_D, test_G and test_R."""
        self._log(trainer, pl_module, "test")

    def _start(self) -> None:
        self.metrics = {}
        self.numbering.start()

    def _update(
        self, trainer: Trainer, module: LightningModule, batch: Any, *, stage: Stage, loader: int
    ) -> None:
        images = images_of(batch)
        found = self.numbering.numbers(trainer, stage, count=len(images), dataloader_idx=loader)
        if loader not in self.metrics:
            # Processes add up when this callback asks for it, and only those of this trainer.
            metric = RelativeStability(sync_on_compute=trainer.world_size > 1)
            self.metrics[loader] = metric.to(module.device)
        own = images[found.mine.to(images.device)]
        noise = self.noise
        if noise == "batch" and trainer.world_size > 1:
            noise = self._mean_norm(trainer, own, found, loader=loader)
        if not len(own):
            return
        check_probed(own)
        probes = self.draw(own, found.number[found.mine], loader=loader, noise=noise)
        elsewhere = [] if images.device.type == "cpu" else [images.device]
        with (
            torch.random.fork_rng(elsewhere, device_type=elsewhere[0].type if elsewhere else "cuda"),
            evaluation_mode(module),
            torch.no_grad(),
            trainer.precision_plugin.forward_context(),
        ):
            clean = batch_output(module, probes.clean)
            deformed, noisy = (
                torch.stack([batch_output(module, field) for field in fields])
                for fields in (probes.deformed, probes.noisy)
            )
        self.metrics[loader].update(clean, deformed, noisy)

    def _mean_norm(self, trainer: Trainer, images: Tensor, found: Numbers, *, loader: int) -> float:
        """Return the mean norm of the deformations of a batch over all processes; each of them calls it."""
        if not found.even:
            received = '"batch" with a loader that is not known to serve all processes alike'
            way_out = "Use torch's DataLoader, or TensorBatches."
            raise ArgumentError("noise", 'be "matched" or a norm here', received, way_out)
        sums = [0.0, 0.0]
        if len(images):
            probes = self.draw(images, found.number[found.mine], loader=loader, noise="matched")
            norms = probes.draw.deformation_norms
            sums = [float(norms.sum()), float(norms.numel())]
        both = torch.tensor(sums, dtype=torch.float64, device=images.device)
        total, count = summed(trainer, both).tolist()
        return float(total / count)

    def _log(self, trainer: Trainer, module: LightningModule, stage: Stage) -> None:
        for loader, metric in sorted(self.metrics.items()):
            try:
                found = metric.stability()
                values = (float(found.deformation), float(found.noise), float(found.relative))
            except (ArgumentError, DegenerateError):
                values = (math.nan, math.nan, math.nan)
            end = suffix(trainer, stage, loader)
            module.log_dict({f"{stage}_{name}{end}": value for name, value in zip("DGR", values)})


def check_probed(images: Tensor) -> None:
    """Raise an ArgumentError unless images are a floating (n, C, H, W) that a deformation can move."""
    if images.ndim != 4 or not images.is_floating_point():
        received = f"{images.dtype} of shape {tuple(images.shape)}"
        raise ArgumentError("images of StabilityProbe", "be floating, of shape (n, C, H, W)", received)
    if min(images.shape[2:]) < 3:
        way_out = "Fields are zero on the border."
        raise ArgumentError(
            "images of StabilityProbe", "have at least 3 x 3 pixels", tuple(images.shape), way_out
        )
