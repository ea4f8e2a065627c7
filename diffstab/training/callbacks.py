"""What is measured and kept on the way of a training."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from diffstab.errors import DegenerateError
from diffstab.stability import RelativeStability, diffeomorphism, draw_pairs
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

    The predictor is the task itself, F = alpha (f - xi f_0). Where F is constant, as at initialisation with
    xi = 1, they are undefined and logged as NaN.

    Args:
        delta_px: Typical displacement of the deformations, pixels.
        cutoff: Their high-frequency cut-off c >= 2.
        noise: "matched" (|eta| = |tau x - x| image by image), "batch" (their mean), or a fixed norm.
        fields_per_image: Deformations and noise draws for each image.
        seed: Seed of the draws.

    Raises:
        ArgumentError: If a value is out of range.
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
        self._start()

    def draws(self) -> torch.Generator:
        """Return the generator of the deformations and the noise, at its start."""
        return stream(self.seed, "validation probes")

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the draws over."""
        self._start()

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the draws over."""
        self._start()

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: tuple[Tensor, Tensor],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Measure a batch."""
        self._update(pl_module, batch[0])

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: tuple[Tensor, Tensor],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Measure a batch."""
        self._update(pl_module, batch[0])

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log val_D, val_G and val_R."""
        self._log(pl_module, "val")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log test_D, test_G and test_R."""
        self._log(pl_module, "test")

    def _start(self) -> None:
        self.metric.reset()
        self.generator = self.draws()

    def _update(self, predictor: LightningModule, images: Tensor) -> None:
        probes = draw_pairs(
            images,
            deform=self.deform,
            noise=self.noise,
            fields_per_image=self.fields_per_image,
            generator=self.generator,
        )
        deformed, noisy = (
            torch.stack([predictor(field) for field in fields]) for fields in (probes.deformed, probes.noisy)
        )
        self.metric.update(predictor(images), deformed, noisy)

    def _log(self, pl_module: LightningModule, stage: str) -> None:
        try:
            found = self.metric.stability()
            values = (float(found.deformation), float(found.noise), float(found.relative))
        except DegenerateError:
            values = (math.nan, math.nan, math.nan)
        pl_module.log_dict({f"{stage}_{name}": value for name, value in zip("DGR", values)})
