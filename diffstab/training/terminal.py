"""What a training under Lightning shows: one bar or a line a minute, numbers that can be read, no advertisements."""

from __future__ import annotations

import logging
import math
import re
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback, ProgressBar
from rich.console import Console

from diffstab.progress import Progress, Tally, number_text, numbers_text, progress

LOOK_SECONDS = 0.2
"""Time between two looks at the logged numbers: each of them waits for the device."""

_REMARKS = re.compile(r"💡|(GPU|TPU|HPU|IPU) available|LOCAL_RANK: |.*litlogger|.*litmodels")
"""Beginnings of Lightning's lines that tell nobody anything about their run."""

_LOGGERS = ("pytorch_lightning.utilities.rank_zero", "lightning_fabric.utilities.rank_zero")

_NOISE = (
    ".*LeafSpec.*deprecated",  # Lightning's own use of torch
    ".*sync_dist=True",  # what the task and the probe log is merged over the processes before it is logged
    ".*does not have many workers",  # data modules keep their images in memory
    ".*smaller than the logging interval",
    ".*but have no `val_dataloader`",  # a training inside a grid is measured after it
)


class EpochProgress(ProgressBar):
    """Shows a training, or the batches of an evaluation, by `diffstab.progress` on standard error.

    The count of a training is in batches; its total is what `max_epochs` and `max_steps` allow, so the time left is
    the longest that it may take where a rule stops it earlier.
    """

    def __init__(self) -> None:
        super().__init__()
        self._is_enabled = True
        self._shown: Progress | None = None
        self._tally = Tally(0)
        self._stack = ExitStack()
        self._next_look = 0.0

    def enable(self) -> None:
        """Show it again."""
        self._is_enabled = True

    def disable(self) -> None:
        """Show nothing."""
        self._is_enabled = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin with all batches of a training."""
        self._begin(_training_batches(trainer))

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin with the batches of an evaluation, unless it is part of a training."""
        counts = {
            "validate": trainer.num_val_batches,
            "test": trainer.num_test_batches,
            "predict": trainer.num_predict_batches,
        }
        if trainer.state.fn in counts:
            self._begin(_total(counts[trainer.state.fn]))

    on_test_start = on_predict_start = on_validation_start

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """Count it, and show now and then what is logged."""
        self._tally.done += 1
        if self._shown and time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + LOOK_SECONDS
            self._shown.describe(_moment(trainer))

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """Count it, unless it is part of a training."""
        self._tally.done += trainer.state.fn != "fit"

    on_test_batch_end = on_predict_batch_end = on_validation_batch_end  # type: ignore[assignment]

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the last numbers."""
        self._tally.total = self._tally.done  # a rule may have stopped it
        if self._shown:
            self._shown.ended(_moment(trainer))

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: object) -> None:
        """Let go of the terminal."""
        self._stack.close()
        self._shown = None

    on_exception = teardown  # type: ignore[assignment]

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print a line beside the bar."""
        print(*args, **kwargs)

    def _begin(self, total: int) -> None:
        self._stack.close()
        self._tally = Tally(total, is_bound=True)
        if self._is_enabled:
            self._shown = self._stack.enter_context(progress(Console(stderr=True), self._tally))


def show_progress(trainer: Trainer, asked: Sequence[Callback]) -> None:
    """Put our bar in the place of the one that Lightning adds by itself.

    Args:
        trainer: A trainer that was just made.
        asked: Callbacks that were asked for; a bar among them stays.
    """
    if any(isinstance(callback, ProgressBar) for callback in asked):
        return
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    callbacks[:] = [EpochProgress() if isinstance(one, ProgressBar) else one for one in callbacks]


def _training_batches(trainer: Trainer) -> int:
    """Return the most batches that a training may take; 0 if nothing bounds them."""
    epochs = trainer.max_epochs if trainer.max_epochs is not None and trainer.max_epochs >= 0 else math.inf
    bounds = [
        epochs * trainer.num_training_batches,
        trainer.max_steps if trainer.max_steps >= 0 else math.inf,
    ]
    return int(min(bounds)) if min(bounds) < math.inf else 0


def _total(batches: float | Sequence[float]) -> int:
    """Return the batches of all loaders; 0 for endless ones."""
    total = sum(batches) if isinstance(batches, Sequence) else batches
    return int(total) if total < math.inf else 0


def _moment(trainer: Trainer) -> str:
    numbers = {"epoch": float(trainer.current_epoch)} | {
        name: float(value)
        for name, value in trainer.progress_bar_metrics.items()
        if isinstance(value, int | float)
    }
    return numbers_text(numbers)


def results_text(results: Sequence[Mapping[str, float]]) -> str:
    """Return the numbers of an evaluation, a line each.

    Args:
        results: What `Trainer.validate` or `Trainer.test` returns: the numbers of each loader.
    """
    lines = [(name, number_text(value)) for loader in results for name, value in loader.items()]
    width = max((len(name) for name, _ in lines), default=0)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in lines)


@contextmanager
def without_remarks(level: int = logging.NOTSET) -> Iterator[None]:
    """Keep Lightning's advertisements, and warnings that nobody can act on, off the terminal; real warnings stay.

    Args:
        level: Least level of Lightning's lines that are shown; by default all but the advertisements.
    """

    def passes(record: logging.LogRecord) -> bool:
        return record.levelno >= level and not _REMARKS.match(record.getMessage())

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    with warnings.catch_warnings():
        for message in _NOISE:
            warnings.filterwarnings("ignore", message=message)
        for logger in loggers:
            logger.addFilter(passes)
        try:
            yield
        finally:
            for logger in loggers:
                logger.removeFilter(passes)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Run Lightning as a function of ours: only its warnings are shown, and an interruption stays one."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        with without_remarks(logging.WARNING):
            yield
    except SystemExit as stop:
        # Lightning makes an exit of Ctrl-C, and has it ignored from then on.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise stop.__context__ from None
        raise
