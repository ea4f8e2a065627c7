"""`diffstab fit` on W&B: the Lightning command line with a run that is opened, filled and closed in order."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.loggers import WandbLogger
from torch import Tensor

from diffstab.errors import DegenerateError, ResultsError
from diffstab.experiments.image_columns import neuron_columns
from diffstab.extras import require
from diffstab.nets import FCN
from diffstab.results import flatten
from diffstab.results.schema import INITIAL
from diffstab.stability import draw_pairs, stability_of, to_record
from diffstab.streams import stream
from diffstab.tracking import content
from diffstab.tracking.session import choose_mode, harmless, log_files, run_settings, tell_once
from diffstab.training.callbacks import StabilityProbe, run_folder
from diffstab.training.lightning import ProjectCLI, SaveResolvedConfig
from diffstab.training.task import Task

if TYPE_CHECKING:
    from diffstab.report.document import Picture

MEASURED_IMAGES = 1000
"""At most so many test images are behind the table of stability."""
PICTURED_IMAGES = 4


class SaveTrackedConfig(SaveResolvedConfig):
    """Logs to W&B the nested configuration, and beside it the flat one, whose keys are command-line flags."""

    def log_config(self, trainer: Trainer, config: Mapping[str, Any]) -> None:
        """Log once, to every logger what it shows best."""
        for logger in trainer.loggers:
            both = {**config, **flatten(config)}
            logger.log_hyperparams(both if isinstance(logger, WandbLogger) else flatten(config))


class TrackedCLI(ProjectCLI):
    """The command line whose W&B runs are handles of their own, offline without a key, and always closed.

    Attributes:
        opened: Loggers whose run is open.
    """

    config_callback = SaveTrackedConfig

    def __init__(self, *args: Any, **options: Any) -> None:
        self.opened: list[WandbLogger] = []
        exit_code = 1
        try:
            super().__init__(*args, **options)
            exit_code = 0
        finally:
            for logger in self.opened:
                try:
                    logger.experiment.finish(exit_code=exit_code)
                # Neither a result nor another error is lost by it.
                except Exception as error:
                    tell_once(str(logger.name), error, "the end of a fit's run is missing")

    def before_instantiate_classes(self) -> None:
        """Refuse W&B's logger where its package is not installed."""
        super().before_instantiate_classes()
        if "WandbLogger" in str(self._get(self.config, "trainer")["logger"]):
            require("wandb", "for WandbLogger")

    def instantiate_trainer(self, **options: Any) -> Trainer:
        """Build the trainer, and open its W&B runs.

        Raises:
            ResultsError: If W&B cannot be started.
        """
        trainer = super().instantiate_trainer(**options)
        # One run, of the first process.
        for logger in trainer.loggers if trainer.is_global_zero else []:
            if isinstance(logger, WandbLogger):
                _open(logger)
                self.opened.append(logger)
        return trainer

    def after_fit(self) -> None:
        """Measure the predictor that training ended with, and log tables, pictures and artifacts."""
        super().after_fit()
        for logger in self.opened:
            if logger.experiment.disabled:
                continue
            try:
                log_results(logger.experiment, self.trainer, self.model, self.datamodule)
            # Whatever fails here, the checkpoint is on the disk.
            except Exception as error:
                tell_once(str(logger.name), error, "tables, pictures or artifacts of the fit are missing")


def _open(logger: WandbLogger) -> None:
    import wandb

    # Lightning has no public way to complete what an instance that it made itself hands to wandb.init.
    options = logger._wandb_init
    options["mode"] = "offline" if logger._offline else choose_mode()
    options["reinit"] = "create_new"
    options["settings"] = options.get("settings") or run_settings()
    options["name"] = harmless(options["name"]) if options["name"] else None
    # W&B's service, once started, keeps the folder that it was started in.
    place = Path(options["dir"] or ".").absolute()
    options["dir"] = str(place)
    try:
        place.mkdir(parents=True, exist_ok=True)
        run = wandb.init(**options)
        # As the logger's own start, which would take over whatever run the process has open, and set WANDB_MODE.
        run.define_metric("trainer/global_step")
        run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
        logger._experiment = run
    except Exception as error:
        message = f"W&B could not be started ({type(error).__name__}: {error})."
        raise ResultsError(f"{message} Set WANDB_MODE=offline, or leave the WandbLogger out.") from error


def log_results(run: Any, trainer: Trainer, task: LightningModule, data: Any) -> None:
    """Log what a fit ended with: stability, deformed samples, neurons, and its files as artifacts.

    Args:
        run: The W&B run.
        trainer: After the fit.
        task: The trained task; tables and pictures are those of an image task.
        data: Its data module, with test images.
    """
    if isinstance(task, Task) and hasattr(data, "test_images"):
        probes = [callback for callback in trainer.callbacks if isinstance(callback, StabilityProbe)]  # type: ignore[attr-defined]
        probe = (probes or [StabilityProbe()])[0]
        place = {
            "dataset": getattr(data, "name", type(data).__name__),
            "method": task.settings.name,
            "n_train": len(data.train_images),
            "seed": data.seed,
        }
        row = {**place, **stability_columns(task, data.test_images[:MEASURED_IMAGES], probe)}
        tables = {"intervals": content.intervals_table([row], list(place))}
        drawn = fit_pictures(task, data.test_images[:PICTURED_IMAGES], probe, place)
        run.log(content.as_tables(tables) | content.as_images(drawn))
    folder = run_folder(trainer)
    log_files(run, folder / "config.yaml", kind="config")
    log_files(run, folder / "checkpoints" / "final.ckpt", kind="model")


def stability_columns(task: Task, images: Tensor, probe: StabilityProbe) -> dict[str, Any]:
    """Return D, G and R with their intervals, before and after training, where they are defined."""
    draws = probe.draw(images, torch.arange(len(images)))
    row: dict[str, Any] = {}
    # Before training F = 0 for xi = 1: the net itself stands for it.
    for prefix, predictor in ((INITIAL, task.predictor.initial), ("", task)):
        with suppress(DegenerateError):
            report = stability_of(
                predictor, draws, generator=stream(probe.settings.seed, "bootstrap of a fit")
            )
            row |= to_record(report, prefix)
    return row


def fit_pictures(
    task: Task, images: Tensor, probe: StabilityProbe, place: Mapping[str, Any]
) -> dict[str, Picture]:
    """Return pictures of deformed samples and, for a fully-connected net, of neurons before and after training."""
    import pandas as pd

    from diffstab.report.runs import Runs
    from diffstab.report.special.examples import examples_picture
    from diffstab.report.special.neurons import neurons_pictures

    draws = draw_pairs(
        images, deform=probe.settings.deform, generator=stream(probe.settings.seed, "pictured probes")
    )
    stacks = {"images": draws.clean, "deformed": draws.deformed[0], "noisy": draws.noisy[0]}
    arrays = {name: stack.numpy() for name, stack in stacks.items()}
    drawn = {"deformations": examples_picture({**arrays, "delta_px": np.array(float(draws.draw.delta_px))})}
    if isinstance(task.predictor.net, FCN):
        frame = pd.DataFrame([{**place, **neuron_columns(task.predictor)}])
        drawn |= {one.stem: one for one in neurons_pictures(Runs("fit", frame))}
    return drawn
