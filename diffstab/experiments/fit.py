"""`diffstab fit` and `diffstab sphere fit` as runs of a grid: each configuration of Lightning's command line is one."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, cast

from pytorch_lightning import Callback, LightningModule, Trainer

from diffstab.experiments.classes import class_at
from diffstab.experiments.unit import Cell, Experiment, Workplace
from diffstab.results import dump_yaml, parse_yaml, write_atomically
from diffstab.results.scratch import scratch_folder
from diffstab.training.lightning import ProjectCLI, run_lightning
from diffstab.training.terminal import quiet_lightning

FITS = "fits"
"""Folder, beside the records, with a folder of configuration, metrics and checkpoints per run."""

Tell = Callable[[Mapping[str, float]], None]


@dataclass(frozen=True)
class FitExperiment(Experiment):
    """Train one net on one data set.

    Args:
        config: Resolved configuration of the command line of Lightning, nested, of plain values.
    """

    name = "fit"
    kind = "fit"
    curve = "steps"
    measures: ClassVar[tuple[str, ...]] = (
        "train_loss",
        "train_error",
        "val_loss",
        "val_error",
        "val_D",
        "val_G",
        "val_R",
    )

    config: dict[str, Any]

    @classmethod
    def lightning(cls) -> dict[str, Any]:
        """Return the arguments of `run_lightning` that choose task and data."""
        return {"data_class": class_at("datamodules.ImageDataModule", argument="data")}

    @classmethod
    def from_arguments(cls, args: Sequence[str]) -> Self:
        """Return what command-line arguments ask for, without training.

        Raises:
            ArgumentError: If an option or a value is wrong.
        """
        return cls(run_lightning(["fit", *args], command_line=_Parsed, **cls.lightning()).resolved())

    def resolved(self) -> dict[str, Any]:
        """Return the configuration."""
        return self.config

    def cells(self) -> Iterator[Cell]:
        """Yield the one run."""
        yield Cell(seed=int(self.config["seed_everything"]))

    def run(self, cell: Cell, shared: None, workplace: Workplace) -> dict[str, Any]:
        """Train, measure and keep the checkpoint."""
        place = workplace.folder.absolute() / FITS / workplace.keys[cell]
        # What a killed process has left there is not gone on with.
        shutil.rmtree(place, ignore_errors=True)
        with scratch_folder() as folder, quiet_lightning():
            text = dump_yaml(_logging_to(place, self.config))
            asked = write_atomically(folder / "config.yaml", text.encode())
            options = {"command_line": _Measured, "tell": workplace.tell, **self.lightning()}
            numbers: dict[str, Any] = run_lightning(["fit", "--config", str(asked)], **options).numbers
        return numbers


class SphereFitExperiment(FitExperiment):
    """Train the feature predictor on the sphere by descent."""

    name = "sphere fit"
    kind = "sphere_fit"
    measures = ("train_objective", "test_error", "val_error", "n_atoms")

    @classmethod
    def lightning(cls) -> dict[str, Any]:
        """Return the arguments of `run_lightning` that choose task and data."""
        data = class_at("datamodules.SphereRegression", argument="data")
        task = class_at("diffstab.training.sphere_task.SphereTask", argument="model")
        options = {"subclass_mode_data": False, "program": "diffstab sphere"}
        return {"data_class": data, "task_class": task, **options}


def _logging_to(place: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    # Not as the version: that may be a number, and the name of a record may be of digits alone.
    options = {"save_dir": str(place.parent), "name": place.name, "version": ""}
    logger = {"class_path": "pytorch_lightning.loggers.CSVLogger", "init_args": options}
    own = {"logger": logger, "default_root_dir": str(place), "enable_progress_bar": False}
    return {**config, "trainer": {**config["trainer"], **own, "enable_model_summary": False}}


class _Parsed(ProjectCLI):
    """Parses a configuration, and neither builds nor trains anything."""

    def _set_seed(self) -> None:
        """Leave the seeds of this process alone."""

    def instantiate_classes(self) -> None:
        """Build nothing."""

    def _run_subcommand(self, subcommand: str) -> None:
        """Train nothing."""

    def resolved(self) -> dict[str, Any]:
        """Return the configuration of plain values, without the files that it was read from."""
        parser = self._subcommand_parsers["fit"]
        text = parser.dump(self.config["fit"], skip_unset=False)
        config: dict[str, Any] = parse_yaml(text)
        return {name: value for name, value in config.items() if name != "config"}


class _Measured(ProjectCLI):
    """Keeps the final numbers of a training.

    Args:
        tell: Told the training numbers after each epoch.
        **options: Those of the command line.

    Attributes:
        numbers: Columns of the record: how training ended, its last numbers, and those of the validation after it.
    """

    def __init__(self, *args: Any, tell: Tell, **options: Any) -> None:
        self._tell = tell
        self.numbers: dict[str, Any] = {}
        super().__init__(*args, **options)

    def instantiate_trainer(self, **options: Any) -> Trainer:
        """Build the trainer, which tells how training goes."""
        trainer = super().instantiate_trainer(**options)
        cast("Any", trainer).callbacks.append(_Reporting(self._tell))
        return trainer

    def after_fit(self) -> None:
        """Measure the predictor that training ended with, and keep all numbers."""
        trainer = self.trainer
        self.numbers = {
            "dataset": getattr(self.datamodule, "name", type(self.datamodule).__name__),
            "epochs": trainer.current_epoch,
            "steps": trainer.global_step,
            "stop_reason": getattr(self.model, "stop_reason", ""),
            **_plain(trainer),
        }
        trainer.validate(self.model, datamodule=self.datamodule, weights_only=True, verbose=False)
        self.numbers |= _plain(trainer)


class _Reporting(Callback):
    """Tells the numbers of the training after each epoch."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell those of the epoch before: at its end the task logs after the callbacks."""
        if trainer.current_epoch:
            self._tell({"step": float(trainer.global_step), **_plain(trainer)})

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell those of the last epoch."""
        self._tell({"step": float(trainer.global_step), **_plain(trainer)})


def _plain(trainer: Trainer) -> dict[str, float]:
    """Return the logged numbers; what was not defined is NaN."""
    return {
        name: float(value) if value is not None else math.nan
        for name, value in trainer.callback_metrics.items()
    }
