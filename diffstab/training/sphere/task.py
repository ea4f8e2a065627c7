"""Training on the sphere under Lightning: wiring only, every formula lives in `descent` and `trained`."""

from __future__ import annotations

from typing import Any, cast

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.training.processes import check_full_precision, check_one_process
from diffstab.training.sphere.descent import Problem, State, advance
from diffstab.training.sphere.trained import SphereProgress, SphereTraining, moment, neurons_of, relu_sum

Batch = tuple[Tensor, Tensor]
_DEFAULT_SETTINGS = SphereTraining()


class SphereTask(LightningModule):
    """One hidden layer trained on points of the sphere by one rule, until its stop rule is met.

    An epoch is `epoch_steps` steps on the full batch. The whole state of the descent, momentum and step size
    included, and what the stop rule has seen are part of a checkpoint, so that a resumed run goes on to the bit
    (on the CPU). Logged: train_objective, train_loss, mass, n_atoms, step_size; the mean squares val_error, test_error.

    Args:
        settings: Rule, width, penalty, stop rule and seed of the initial neurons.
        epoch_steps: Steps of an epoch.

    Attributes:
        stop_reason: Why training ended: "objective", "converged", "max_steps", or "" if not by the stop rule.

    Raises:
        ArgumentError: If a value is out of range.
    """

    def __init__(self, *, settings: SphereTraining = _DEFAULT_SETTINGS, epoch_steps: int = 100) -> None:
        super().__init__()
        if epoch_steps < 1:
            raise ArgumentError("epoch_steps", "be at least 1", epoch_steps)
        self.settings, self.epoch_steps = settings, epoch_steps
        self.automatic_optimization = False
        self.stop_reason = ""
        self.progress = SphereProgress(settings)
        self.state: State | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return f at points (m, d), shape (m,).

        Raises:
            ArgumentError: If there is nothing trained or loaded yet.
        """
        if self.state is None:
            raise ArgumentError("ckpt_path", "name a checkpoint of a fit", None, "Train first.")
        # A checkpoint is read to the CPU, wherever the points are.
        atoms, weights = (part.to(x) for part in neurons_of(self.state))
        return relu_sum(x, atoms, weights)

    def setup(self, stage: str) -> None:
        """Refuse a trainer that this task cannot run under.

        Raises:
            ArgumentError: If there are several processes, or in half precision.
        """
        self.check_trainer(self.trainer, stage)

    def check_trainer(self, trainer: Trainer, stage: str) -> None:
        """Raise an ArgumentError if a stage (fit, validate, test or predict) cannot run under a trainer."""
        check_one_process(trainer, what="descent on the sphere")
        check_full_precision(trainer, what="descent on the sphere")

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Return none: the descent is its own optimiser."""
        return []

    def on_train_start(self) -> None:
        """Refuse mini-batches.

        Raises:
            ArgumentError: If there is more than one batch.
        """
        if self.trainer.num_training_batches != 1:
            received = f"{self.trainer.num_training_batches} batches"
            raise ArgumentError("data", "come as one batch", received)

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Advance the descent."""
        problem = self.settings.problem(*batch)
        state = self.settings.start(problem) if self.state is None else self._at(problem)
        done = self.settings.max_steps - int(state.steps)
        self.state = advance(problem, state, min(self.epoch_steps, done))
        self.stop_reason = self.progress.reason(self.state)
        self._log_moment(problem, self.state)

    def on_train_epoch_end(self) -> None:
        """End the training when the stop rule is met."""
        if self.stop_reason:
            self.trainer.should_stop = True

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Measure the mean square error; Lightning's check before training has nothing to measure."""
        if not self.trainer.sanity_checking:
            self._measure("val_error", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Measure the mean square error."""
        self._measure("test_error", batch)

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return f."""
        return cast("Tensor", self(batch[0]))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the descent and what the stop rule has seen, as plain tensors and numbers."""
        if self.state is not None:
            checkpoint["descent"] = self.state._asdict()
        checkpoint["seen"] = [list(pair) for pair in self.progress.seen]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the descent up where it was.

        Raises:
            ArgumentError: If the checkpoint is of another task or width.
        """
        if "seen" not in checkpoint:
            raise ArgumentError("ckpt_path", "be of `diffstab sphere fit`", "another checkpoint")
        if "descent" in checkpoint:
            state = State(**checkpoint["descent"])
            if len(state.weights) != self.settings.width:
                received = (
                    f"{len(state.weights)} neurons there and {self.settings.width} in the configuration"
                )
                raise ArgumentError("ckpt_path", "be of the configured width", received)
            self.state = state
        self.progress.seen = [(int(step), float(value)) for step, value in checkpoint["seen"]]

    def _at(self, problem: Problem) -> State:
        """The state on the device of the data: a checkpoint is read to the CPU."""
        state = cast("State", self.state)
        return State(*(part.to(problem.points.device) for part in state))

    def _log_moment(self, problem: Problem, state: State) -> None:
        now = moment(problem, state)
        self.log("train_objective", now.objective, prog_bar=True)
        self.log("train_loss", now.loss)
        self.log("mass", now.mass)
        self.log("n_atoms", float(now.n_atoms), prog_bar=True)
        self.log("step_size", float(state.size))
        self.log("descent_steps", float(state.steps))

    def _measure(self, name: str, batch: Batch) -> None:
        error = torch.nn.functional.mse_loss(self(batch[0]), batch[1])
        self.log(name, error, prog_bar=True)
