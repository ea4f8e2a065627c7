"""`diffstab fit` as a command that runs a grid: each configuration of the Lightning command line is one run."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, cast

import yaml
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer

from diffstab.results import Provenance, canonical_json, parse_yaml, write_atomically
from diffstab.results.scratch import scratch_folder
from diffstab.training.grid import Asked, GridCommand, Report
from diffstab.training.lightning import ProjectCLI, run_lightning
from diffstab.training.terminal import quiet_lightning
from diffstab.training.zipped import split_zipped

FITS = "fits"
"""Folder, beside the records, with a folder of configuration, metrics and checkpoints per run."""


class FitCell(NamedTuple):
    """The one run of a configuration."""

    seed: int


@dataclass(frozen=True)
class FitExperiment:
    """A resolved configuration of `diffstab fit`.

    Args:
        config: Nested, of plain values.
        threads: Threads of linear algebra; None leaves them alone.
    """

    config: dict[str, Any]
    threads: int | None = None

    def resolved(self) -> dict[str, Any]:
        """Return the configuration."""
        return self.config


class Fit(GridCommand[FitExperiment, FitCell]):
    """The command: one run, whose logger is the results folder's own."""

    name = "fit"
    grid_keys = ()

    def parse(self, args: Sequence[str]) -> Asked[FitExperiment]:
        """Return what command-line arguments ask for, without training; the folder is `results/fit`."""
        found = run_lightning(["fit", *split_zipped(args)], LightningDataModule, command_line=_Parsed)
        return Asked(FitExperiment(found.resolved()), Path("results/fit"))

    def batches(self, experiment: FitExperiment) -> Iterator[tuple[FitCell, ...]]:
        """Yield the run."""
        yield (FitCell(int(experiment.config["seed_everything"])),)

    def cell_config(self, experiment: FitExperiment, cell: FitCell) -> dict[str, Any]:
        """Return the seed."""
        return cell._asdict()

    def label(self, batch: tuple[FitCell, ...]) -> str:
        """Return the seed."""
        return f"seed={batch[0].seed}"

    def run(
        self,
        experiment: FitExperiment,
        batch: tuple[FitCell, ...],
        *,
        folder: Path,
        keys: Mapping[FitCell, str],
        origin: Provenance,
        report: Report,
    ) -> Iterator[tuple[FitCell, dict[str, Any]]]:
        """Train, measure and keep the checkpoint."""
        for cell in batch:
            started, clock = datetime.now(UTC), time.perf_counter()
            place = folder.absolute() / FITS / keys[cell]
            row = {"kind": "fit", "seed": cell.seed, **_fitted(experiment.config, place, report)}
            yield (
                cell,
                {
                    **row,
                    "config": canonical_json(experiment.config),
                    **origin,
                    "started_at": started.isoformat(timespec="seconds"),
                    "wall_seconds": time.perf_counter() - clock,
                },
            )


def _fitted(config: Mapping[str, Any], place: Path, report: Report) -> dict[str, Any]:
    """Train in a folder of its own, and return the final numbers."""
    # What a killed process has left there is not gone on with.
    shutil.rmtree(place, ignore_errors=True)
    with scratch_folder() as folder, quiet_lightning():
        asked = write_atomically(folder / "config.yaml", yaml.safe_dump(_logging_to(place, config)).encode())
        args = ["fit", "--config", str(asked)]
        return run_lightning(args, LightningDataModule, command_line=_Measured, report=report).numbers


def _logging_to(place: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    options = {"save_dir": str(place.parent), "name": "", "version": place.name}
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
        report: Told the training numbers after each epoch.
        **options: Those of the command line.

    Attributes:
        numbers: Columns of the record: how training ended, its last numbers, and those of the validation after it.
    """

    def __init__(self, *args: Any, report: Report, **options: Any) -> None:
        self._report = report
        self.numbers: dict[str, Any] = {}
        super().__init__(*args, **options)

    def instantiate_trainer(self, **options: Any) -> Trainer:
        """Build the trainer, which tells how training goes."""
        trainer = super().instantiate_trainer(**options)
        cast("Any", trainer).callbacks.append(_Reporting(self._report))
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

    def __init__(self, report: Callable[[Mapping[str, float]], None]) -> None:
        self._report = report

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell those of the epoch before: at its end the task logs after the callbacks."""
        if trainer.current_epoch:
            self._report({"step": float(trainer.global_step), **_plain(trainer)})

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell those of the last epoch."""
        self._report({"step": float(trainer.global_step), **_plain(trainer)})


def _plain(trainer: Trainer) -> dict[str, float]:
    """Return the logged numbers; what was not defined is NaN."""
    return {
        name: float(value) if value is not None else math.nan
        for name, value in trainer.callback_metrics.items()
    }
