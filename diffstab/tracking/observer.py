"""What a grid of runs tells Weights & Biases: one W&B run per batch, after each record is on the disk."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from diffstab.experiments.unit import Cell
from diffstab.extras import require
from diffstab.grid.batch import Observer
from diffstab.grid.plan import RunBatch
from diffstab.results import Records
from diffstab.tracking import content
from diffstab.tracking.session import (
    Mode,
    check_project,
    choose_mode,
    harmless,
    log_files,
    run_settings,
    tell_once,
)

KEPT = "results"
"""Folder in a run's files that is a results folder of its own: configuration, records and what lies beside them."""

_unreachable: set[str] = set()


class WandbObserver(Observer):
    """Logs each batch as a W&B run of its own: group = results folder, job type = command, name = label.

    A run holds the nested configuration, what is followed during training, a point per record on the command's
    curves, tables, pictures, and, in its files and as an artifact, the records themselves.

    Whatever fails in W&B is told once on standard error and never reaches the grid: the record is on the disk by
    then. After a run that could not be opened, this process opens no more.

    Args:
        project: W&B project.
        mode: Where runs go; None is what `choose_mode` finds.

    Raises:
        ArgumentError: If it is no name of a project, or WANDB_MODE is none of W&B's.
    """

    def __init__(self, project: str, *, mode: Mode | None = None) -> None:
        check_project(project)
        self.project, self.mode = project, mode or choose_mode()
        self._run: Any = None
        self._axis = ""
        self._rows: list[Mapping[str, Any]] = []

    def started(self, batch: RunBatch, folder: Path) -> None:
        """Open the W&B run of a batch."""
        if self.mode == "disabled" or self.project in _unreachable:
            return
        self._batch, self._folder, self._axis, self._rows = batch, folder.absolute(), "", []
        self._curves = content.curves_of(type(batch.experiment))
        try:
            self._run = self._opened()
        except Exception as error:
            _unreachable.add(self.project)
            tell_once(self.project, error, "this process logs nothing more there")
        self._guarded(self._define, self._curves.prefix, self._curves.axis)

    def progressed(self, values: Mapping[str, float]) -> None:
        """Log a moment of a training."""
        self._guarded(self._progress, values)

    def recorded(self, cell: Cell, row: Mapping[str, Any]) -> None:
        """Log and keep a record."""
        self._guarded(self._record, self._batch.keys[cell] if self._run else "", row)

    def finished(self, error: BaseException | None) -> None:
        """Log tables and pictures, and close the W&B run."""
        if error is None:
            self._guarded(self._complete)
        self._close(exit_code=int(error is not None))

    def _guarded(self, act: Callable[..., None], *arguments: Any) -> None:
        """Act on the run of this batch, if there is one; one that fails is given up."""
        if self._run is not None:
            try:
                act(*arguments)
            except Exception as error:
                tell_once(self.project, error, "the W&B run of this batch is incomplete")
                self._close(exit_code=1)

    def _close(self, exit_code: int) -> None:
        run, self._run = self._run, None
        try:
            if run is not None:
                run.finish(exit_code=exit_code)
        except Exception as error:
            tell_once(self.project, error, "a W&B run may be incomplete")

    def _opened(self) -> Any:
        """Return a W&B run of its own, whatever other runs this process has open."""
        import wandb

        batch, key = self._batch, self._batch.keys[self._batch.cells[0]]
        return wandb.init(
            project=self.project,
            dir=str(self._folder),
            # The key alone would be that of a second start, or of a colleague's run, and W&B would write into that one.
            id=f"{key}-{uuid.uuid4().hex[:8]}",
            name=harmless(batch.label),
            group=harmless(self._folder.name),
            job_type=harmless(batch.experiment.name),
            config=_config(batch),
            mode=self.mode,
            reinit="create_new",
            settings=run_settings(),
        )

    def _define(self, prefix: str, axis: str) -> None:
        """Let W&B draw everything of a prefix against one of its values."""
        if axis:
            self._run.define_metric(f"{prefix}*", step_metric=prefix + axis)

    def _progress(self, values: Mapping[str, float]) -> None:
        moment = content.moment(values)
        if not self._axis:
            self._axis = content.training_axis(moment)
            self._define(content.TRAINING, self._axis)
        self._run.log({content.TRAINING + name: value for name, value in moment.items()})

    def _record(self, key: str, row: Mapping[str, Any]) -> None:
        self._rows.append({**row, "key": key})
        self._keep(key, row)
        # Trainings of several cells would be drawn as one line.
        if len(self._batch.cells) == 1 and not self._axis:
            for values in content.training_history(row):
                self._progress(values)
        self._run.log(content.point(self._curves, row))

    def _keep(self, key: str, row: Mapping[str, Any]) -> None:
        """Copy the record, and what belongs to it, into the run's files."""
        kept = Path(self._run.dir) / KEPT
        names = (f"records/{key}.parquet", "config.yaml", "examples.npz", f"snapshots/{key}.npz")
        for name in names:
            if not (kept / name).exists():
                (kept / name).parent.mkdir(parents=True, exist_ok=True)
                with suppress(FileNotFoundError):
                    shutil.copyfile(self._folder / name, kept / name)
        if not (kept / names[0]).exists():
            # Packed with others in the meantime.
            Records(kept).write(key, row)
        for name in names:
            if (kept / name).exists():
                self._run.save(str(kept / name), base_path=self._run.dir, policy="now")

    def _complete(self) -> None:
        """Log what is made of all records of the batch."""
        experiment = self._batch.experiment
        self._run.summary.update(content.summary(self._rows))
        if points := content.best_points(self._curves, self._rows):
            self._define(self._curves.best, self._curves.axis)
            for values in points:
                self._run.log(values)
        places = ["dataset", *(axis.name for axis in experiment.axes)]
        tables = {
            "intervals": content.intervals_table(self._rows, places),
            "records": content.records_table(self._rows),
        }
        self._run.log(content.as_tables(tables) | self._images())
        log_files(self._run, Path(self._run.dir) / KEPT, kind="records")
        for key in self._batch.keys.values():
            log_files(self._run, self._folder / "fits" / key / "checkpoints" / "final.ckpt", kind="model")

    def _images(self) -> dict[str, Any]:
        import pandas as pd

        from diffstab.report.pages import run_pictures

        kind, frame = self._batch.experiment.kind, pd.DataFrame(self._rows)
        return content.as_images(run_pictures(kind, frame, self._folder)) if self._rows else {}


def wandb_observers(project: str) -> Callable[[], WandbObserver]:
    """Return what makes observers in any process: project and mode are checked and chosen here, once for all.

    Raises:
        ArgumentError: If it is no name of a project, WANDB_MODE is none of W&B's, or wandb is not installed.
    """
    require("wandb", "to log runs")
    return partial(WandbObserver, project, mode=WandbObserver(project).mode)


def _config(batch: RunBatch) -> dict[str, Any]:
    """Return the nested configuration of a batch, and what its lines are grouped by."""
    experiment = batch.experiment
    cells = [experiment.settings(cell) for cell in batch.cells]
    method = getattr(experiment, "methods", {}).get(cells[0].get("method"))
    return {
        **experiment.resolved(),
        "command": experiment.name,
        "grid_keys": list(experiment.grid_keys()),
        "line": content.line_name(experiment, batch.cells[0]),
        "regime": getattr(method, "regime", None),
        **({"cells": cells} if len(cells) > 1 else {"cell": cells[0]}),
    }
