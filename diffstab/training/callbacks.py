"""What is measured and kept on the way of a training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.stability import (
    Deformation,
    FeatureMoves,
    Probes,
    SynonymExchange,
    diffeomorphism,
    noise_norms,
    numbered_pairs,
)
from diffstab.tasks import Hierarchy
from diffstab.training.probing import KeptBatches, ProbePasses, ProbeSettings

_KEPT = 256  # images that a log-spaced schedule keeps, if no number is given


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
    """Logs D, G and R of a module, and of its layers, with their intervals; on the same draws every time.

    What is measured is the LightningModule, called with images alone (for a `Task`, F = alpha (f - xi f_0)), in eval
    mode, under the trainer's precision, on its device; mode, buffers, batches and global generators are left as they
    are. Images are the batch, the first entry of a tuple, or "image" or "images" of a dictionary.

    Logged are `val_D`, `val_G`, `val_R` (`test_D`, ... in a test), `val_D_low`, `val_D_high` and so on; of a layer
    `val_D/layer1`, ... They go to every logger of the trainer. NaN where they are undefined: where outputs are
    constant, as of F at initialisation with xi = 1, and for fewer than two images. Several loaders are logged apart.

    Draws hang on the seed and the number of the image in its loader: neither batches nor processes change them, and
    several processes count each image once. (Intervals of several processes differ a little from those of one.)

    Args:
        delta_px: Typical displacement of the deformations, pixels.
        cutoff: Their high-frequency cut-off c >= 2.
        noise: "matched" (|eta| = |tau x - x| image by image), "batch" (their mean over the batch of all processes), or
            a fixed norm.
        fields_per_image: Deformations and noise draws for each image.
        layers: Patterns of the names of modules ("layer*", "*.conv1"); "output" is the output of the module.
        images: Number of images of each loader that are measured, its first ones; all by default.
        every: "validation" measures at each validation. "log" measures during training before the first step, after 1,
            2, 4, 8, ... steps and at the end, on `images` images (256 by default) of the validation data, which it
            keeps, and not at validations.
        deform: Another deformation, in place of `delta_px` and `cutoff`.
        name: Put behind the letters of what is logged, so that several probes can be told apart: `val_D_NAME`.
        transform: Finds the images (n, C, H, W) in a batch of another kind.
        output: Picks the tensor (n, ...) from what the module returns.
        bootstrap: Number of resamples for the intervals; 0 leaves them out.
        seed: Seed of the draws, any integer.

    Attributes:
        history: With every="log", what was logged: a dictionary with "step" for each measurement.

    Raises:
        ArgumentError: If a value is out of range; at work, if batches or outputs are of another kind, or a pattern
            matches no module.
    """

    def __init__(
        self,
        *,
        delta_px: float = 1.0,
        cutoff: int = 3,
        noise: Literal["matched", "batch"] | float = "matched",
        fields_per_image: int = 1,
        layers: Sequence[str] = ("output",),
        images: int | None = None,
        every: Literal["validation", "log"] = "validation",
        deform: Deformation | None = None,
        name: str = "",
        transform: Callable[[Any], Tensor] | None = None,
        output: Callable[[Any], Tensor] | None = None,
        bootstrap: int = 1000,
        seed: int = 0,
    ) -> None:
        # Bad values are refused here, not at first use.
        noise_norms(torch.ones(1, 1), noise=noise)
        for argument, value, least in (
            ("fields_per_image", fields_per_image, 1),
            ("images", images if images is not None else 2, 2),
            ("bootstrap", bootstrap, 0),
        ):
            if value < least:
                raise ArgumentError(argument, f"be >= {least}", value)
        if every not in ("validation", "log"):
            raise ArgumentError("every", 'be "validation" or "log"', repr(every))
        self.every: Literal["validation", "log"] = every
        self.settings = ProbeSettings(
            deform=diffeomorphism(delta_px, cutoff) if deform is None else deform,
            name=name,
            noise=noise,
            fields_per_image=fields_per_image,
            layers=[layers] if isinstance(layers, str) else list(layers),
            images=_KEPT if images is None and every == "log" else images,
            transform=transform,
            output=output,
            bootstrap=bootstrap,
            seed=seed,
        )
        self.history: list[dict[str, float]] = []
        self._passes = ProbePasses(self.settings, "val")
        self._kept: KeptBatches | None = None
        self._next_step = 0

    def draw(self, images: Tensor, numbers: Tensor, *, loader: int = 0) -> Probes:
        """Return what is measured on images, to be kept in memory.

        Args:
            images: (n, C, H, W).
            numbers: (n,) their places in the data set of the loader.
            loader: Number of the loader.
        """
        return numbered_pairs(
            images,
            numbers,
            deform=self.settings.deform,
            noise=self.settings.noise,
            fields_per_image=self.settings.fields_per_image,
            seed=self.settings.seed_of(loader),
        )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """With a log-spaced schedule, keep images and measure before the first step."""
        if self.every == "log":
            self.history, self._next_step = [], trainer.global_step
            self._kept = KeptBatches(self.settings, trainer, pl_module)
            self._measure_if_due(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """With a log-spaced schedule, measure where it is time."""
        self._measure_if_due(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """With a log-spaced schedule, measure what training ended with."""
        if self.history and self.history[-1]["step"] != trainer.global_step:
            self._next_step = trainer.global_step
            self._measure_if_due(trainer, pl_module)
        self._kept = None

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start over."""
        self._passes = ProbePasses(self.settings, "val")

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start over."""
        self._passes = ProbePasses(self.settings, "test")

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
        if self._is_due(trainer):
            self._passes.update(trainer, pl_module, batch, loader=dataloader_idx)

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
        self._passes.update(trainer, pl_module, batch, loader=dataloader_idx)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log val_D, val_G and val_R."""
        if self._is_due(trainer):
            pl_module.log_dict(self._passes.numbers(trainer))

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log test_D, test_G and test_R."""
        pl_module.log_dict(self._passes.numbers(trainer))

    def _is_due(self, trainer: Trainer) -> bool:
        """Whether validations are measured: with a log-spaced schedule, only those outside a training."""
        return self.every == "validation" or trainer.state.fn != "fit"

    def _measure_if_due(self, trainer: Trainer, module: LightningModule) -> None:
        """Measure the kept images at the steps of the schedule."""
        step = trainer.global_step
        if self._kept is None or step < self._next_step:
            return
        self._next_step = max(1, 2 * step)
        numbers = self._kept.numbers(trainer, module)
        self.history.append({"step": step, **numbers})
        # Not by `log`, which keeps the numbers of some steps only (log_every_n_steps).
        for logger in trainer.loggers:
            logger.log_metrics(numbers, step=step)


class HierarchyProbe(StabilityProbe):
    """A `StabilityProbe` for `datamodules.RandomHierarchy`: the sensitivity to synonyms, or to moves of features.

    Logged are `val_D_synonyms` (the sources call it S) or `val_D_moves`, with G and R. Rules come from the data module.

    Args:
        change: "synonyms" exchanges each tuple of the lowest level, "moves" moves each feature in its slot, which takes
            `empty` places.
        options: Arguments of `StabilityProbe`, but for `deform` and `name`; `delta_px` and `cutoff` are not used.

    Raises:
        ArgumentError: If the change has no such name; at work, if the data are no random hierarchy.
    """

    def __init__(self, change: Literal["synonyms", "moves"] = "synonyms", **options: Any) -> None:
        if change not in _CHANGES:
            raise ArgumentError("change", f"be one of {', '.join(_CHANGES)}", repr(change))
        super().__init__(name=change, deform=None, **options)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take the rules from the data module."""
        data = getattr(trainer, "datamodule", None)
        hierarchy = getattr(data, "hierarchy", None)
        if not isinstance(hierarchy, Hierarchy):
            way_out = "Use datamodules.RandomHierarchy."
            raise ArgumentError("data", "have the rules of a hierarchy", type(data).__name__, way_out)
        self.settings = replace(self.settings, deform=_CHANGES[self.settings.name](hierarchy=hierarchy))


_CHANGES: dict[str, type[SynonymExchange | FeatureMoves]] = {
    "synonyms": SynonymExchange,
    "moves": FeatureMoves,
}
