"""What a grid of runs tells Weights & Biases: one W&B run per batch, after each record is on the disk."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from diffstab.extras import require
from diffstab.grid.batches import RunBatch
from diffstab.grid.observers import Observer
from diffstab.results import Records
from diffstab.tracking import content
from diffstab.tracking.session import Mode, check_project, choose_mode, log_files, open_run, tell_once

KEPT = "results"
"""Folder in a run's files that is a results folder of its own: configuration, records and what lies beside them."""

_unreachable: set[str] = set()
_drawing = threading.Lock()
"""Matplotlib's styles are those of the process: one thread at a time draws."""


class WandbObserver(Observer):
    """Logs each batch as a W&B run of its own: group = results folder, job type = command, name = label.

    A run holds the nested configuration, what is followed during training, a point per record on the command's
    curves, tables, pictures, and, in its files and as an artifact, the records themselves.

    Several threads may use one observer. Whatever fails in W&B is told once on standard error and never reaches
    the grid: the record is on the disk by then. After a run that could not be opened, this process opens no more.

    Args:
        project: W&B project.
        mode: Where runs go; None is what `choose_mode` finds.

    Raises:
        ArgumentError: If it is no name of a project, or WANDB_MODE is none of W&B's.
    """

    def __init__(self, project: str, *, mode: Mode | None = None) -> None:
        check_project(project)
        self.project, self.mode = project, mode or choose_mode()
        self._open: dict[int, _BatchRun] = {}

    def started(self, batch: RunBatch, folder: Path) -> None:
        """Open the W&B run of a batch."""
        if self.mode == "disabled" or self.project in _unreachable:
            return
        try:
            self._open[threading.get_ident()] = _BatchRun(self.project, self.mode, batch, folder.absolute())
        except Exception as error:
            _unreachable.add(self.project)
            tell_once(self.project, error, "this process logs nothing more there")

    def progressed(self, values: Mapping[str, float]) -> None:
        """Log a moment of a training."""
        self._guarded(lambda run: run.progress(values))

    def recorded(self, cell: Any, row: Mapping[str, Any]) -> None:
        """Log and keep a record."""
        self._guarded(lambda run: run.record(cell, row))

    def finished(self, error: BaseException | None) -> None:
        """Log tables and pictures, and close the W&B run."""
        if error is None:
            self._guarded(lambda run: run.complete())
        run = self._open.pop(threading.get_ident(), None)
        if run is not None:
            self._closed(run, exit_code=int(error is not None))

    def _guarded(self, act: Callable[[_BatchRun], None]) -> None:
        """Let the run of this thread act; one that fails is given up."""
        run = self._open.get(threading.get_ident())
        if run is None:
            return
        try:
            act(run)
        except Exception as error:
            del self._open[threading.get_ident()]
            tell_once(self.project, error, "the W&B run of this batch is incomplete")
            self._closed(run, exit_code=1)

    def _closed(self, run: _BatchRun, exit_code: int) -> None:
        try:
            run.handle.finish(exit_code=exit_code)
        except Exception as error:
            tell_once(self.project, error, "a W&B run may be incomplete")


def wandb_observers(project: str) -> Callable[[], WandbObserver]:
    """Return what makes observers in any process: project and mode are checked and chosen here, once for all.

    Raises:
        ArgumentError: If it is no name of a project, WANDB_MODE is none of W&B's, or wandb is not installed.
    """
    require("wandb", "to log runs")
    return partial(WandbObserver, project, mode=WandbObserver(project).mode)


class _BatchRun:
    """The W&B run of one batch."""

    def __init__(self, project: str, mode: Mode, batch: RunBatch, folder: Path) -> None:
        self.batch, self.folder, self.experiment = batch, folder, batch.experiment
        self.rows: list[Mapping[str, Any]] = []
        self._curves = content.curves_of(type(batch.experiment))
        self._axis = ""
        self.handle = open_run(
            project,
            mode=mode,
            folder=folder,
            key=batch.keys[batch.cells[0]],
            name=batch.label,
            group=folder.name,
            job_type=self.experiment.name,
            config=_config(batch),
        )
        self._define(self._curves.prefix, self._curves.axis)

    def progress(self, values: Mapping[str, float]) -> None:
        """Log a moment of a training."""
        moment = content.moment(values)
        if not self._axis:
            self._axis = content.training_axis(moment)
            self._define(content.TRAINING, self._axis)
        self.handle.log({content.TRAINING + name: value for name, value in moment.items()})

    def record(self, cell: Any, row: Mapping[str, Any]) -> None:
        """Keep a record in the run's files, and log it."""
        key = self.batch.keys[cell]
        self.rows.append({**row, "key": key})
        self._keep(key, row)
        # Trainings of several cells would be drawn as one line.
        if len(self.batch.cells) == 1 and not self._axis:
            for values in content.training_history(row):
                self.progress(values)
        self.handle.log(content.point(self._curves, row))

    def complete(self) -> None:
        """Log what is made of all records of the batch."""
        self.handle.summary.update(content.summary(self.rows))
        if points := content.best_points(self._curves, self.rows):
            self._define(self._curves.best, self._curves.axis)
            for values in points:
                self.handle.log(values)
        places = ["dataset", *(axis.name for axis in self.experiment.axes)]
        tables = {
            "intervals": content.intervals_table(self.rows, places),
            "records": content.records_table(self.rows),
        }
        self.handle.log(content.as_tables(tables) | self._images())
        self._log_files()

    def _images(self) -> dict[str, Any]:
        import pandas as pd

        from diffstab.report.pages import run_pictures

        if not self.rows:
            return {}
        with _drawing:
            return content.as_images(run_pictures(self.experiment.kind, pd.DataFrame(self.rows), self.folder))

    def _define(self, prefix: str, axis: str) -> None:
        """Let W&B draw everything of a prefix against one of its values."""
        if axis:
            self.handle.define_metric(f"{prefix}*", step_metric=prefix + axis)

    @property
    def _kept(self) -> Path:
        return Path(self.handle.dir) / KEPT

    def _keep(self, key: str, row: Mapping[str, Any]) -> None:
        """Copy the record, and what belongs to it, into the run's files."""
        names = (f"records/{key}.parquet", "config.yaml", "examples.npz", f"snapshots/{key}.npz")
        copies = {self._kept / name: self.folder / name for name in names}
        for copy, source in copies.items():
            if not copy.exists():
                copy.parent.mkdir(parents=True, exist_ok=True)
                with suppress(FileNotFoundError):
                    shutil.copyfile(source, copy)
        if not (self._kept / names[0]).exists():
            # Packed with others in the meantime.
            Records(self._kept).write(key, row)
        for copy in copies:
            if copy.exists():
                self.handle.save(str(copy), base_path=self.handle.dir, policy="now")

    def _log_files(self) -> None:
        """Log the records, and the last checkpoints of fits, as artifacts."""
        log_files(self.handle, self._kept, kind="records")
        for key in self.batch.keys.values():
            log_files(self.handle, self.folder / "fits" / key / "checkpoints" / "final.ckpt", kind="model")


def _config(batch: RunBatch) -> dict[str, Any]:
    """Return the nested configuration of a batch, and what its lines are grouped by."""
    experiment = batch.experiment
    cells = [experiment.settings(cell) for cell in batch.cells]
    method = getattr(experiment, "methods", {}).get(cells[0].get("method"))
    return {
        **experiment.resolved(),
        "command": experiment.name,
        "line": content.line_name(experiment, batch.cells[0]),
        "regime": getattr(method, "regime", None),
        **({"cells": cells} if len(cells) > 1 else {"cell": cells[0]}),
    }
