"""Training of an image predictor under Lightning: wiring only, every formula lives elsewhere."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any, Literal, cast

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from diffstab.errors import ArgumentError, DegenerateError
from diffstab.nets import CentredOutput, make_loss
from diffstab.training.optimise import OptimiserSettings, make_flow, make_optimiser
from diffstab.training.stopping import margin_share

LossName = Literal["mse", "hinge", "quadratic_hinge", "soft_hinge", "cross_entropy"]
Stage = Literal["train", "val", "test"]
Batch = tuple[Tensor, Tensor]

FLOWS = ("gradient_flow", "euler")
_NUMBERS = ("images", "loss", "error", "margin_share")  # what the sums of a stage are of
_DEFAULT_OPTIMISER = OptimiserSettings()


class ImageTask(LightningModule):
    """One net trained to classify images, in any regime and by any optimiser, until its stop rule is met.

    One object, `predictor`, is F = alpha (f - xi f_0); loss, error and stability are all measured on it. Its f_0
    is part of the state, so a resumed run goes on to the bit. An epoch is `flow_steps` steps of a flow, one step
    of gd, or one pass of sgd or adam over the batches of the data module. The logged `train_` numbers are those
    after the steps of a flow, and those met before each step of the others; a loss is alpha times the loss.

    With several processes each has its part of a batch: gradients are those of the mean over the whole batch, and
    numbers those of all images, as with one process up to rounding. gd repeats the same steps in each process. Flows
    take one process, and weights of float32 or float64. An empty part of a batch is fine.

    Args:
        net: Net f, as it is at initialisation.
        alpha: Output scale: below 1 towards the feature regime, above 1 towards the lazy one.
        xi: Share of the initial output that is taken off, in [0, 1].
        loss: Name of the loss; cross_entropy takes class labels, the others labels -1 and +1.
        loss_beta: Sharpness of the soft hinge.
        optimiser: Optimiser and stop rule. Batches come from the data module: its `batch_size` stays None.
        flow_steps: Accepted steps of a flow in an epoch, at most.

    Attributes:
        stop_reason: Why training ended: "margin", "loss", "max_steps", or "" if it was not by the stop rule.

    Raises:
        ArgumentError: If a value is out of range, or `optimiser.batch_size` is set.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        alpha: float = 1.0,
        xi: float = 1.0,
        loss: LossName = "soft_hinge",
        loss_beta: float = 20.0,
        optimiser: OptimiserSettings = _DEFAULT_OPTIMISER,
        flow_steps: int = 50,
    ) -> None:
        super().__init__()
        if optimiser.batch_size is not None:
            way_out = "Set the batch size of the data module."
            raise ArgumentError("optimiser.batch_size", "be null", optimiser.batch_size, way_out)
        if flow_steps < 1:
            raise ArgumentError("flow_steps", "be at least 1", flow_steps)
        # Plain values only, so that checkpoints load with weights_only: those that F is made of besides the net.
        self.save_hyperparameters("alpha", "xi", "loss", "loss_beta", logger=False)
        self.predictor = CentredOutput(net, alpha=alpha, xi=xi)
        self.loss = make_loss(loss, alpha=alpha, beta=loss_beta)
        self.settings, self.flow_steps = optimiser, flow_steps
        self.stop_reason = ""
        self.automatic_optimization = False
        self._sums: defaultdict[str, list[float]] = defaultdict(lambda: [0.0] * len(_NUMBERS))
        self._train_numbers: dict[str, float] = {}

    def forward(self, x: Tensor) -> Tensor:
        """Return F for images (n, ...), computed in the floating type of the net."""
        return cast("Tensor", self.predictor(self._like_net(x)))

    def configure_optimizers(self) -> Any:
        """Return the integrator of the flow, or the torch optimiser of the others."""
        if self.settings.name in FLOWS:
            return make_flow(self.predictor, self.loss, self.settings)
        return make_optimiser(self.predictor, self.settings)

    def setup(self, stage: str) -> None:
        """Refuse a trainer that a flow cannot run under.

        Raises:
            ArgumentError: If a flow has several processes or half-precision weights, or Adam and SGD float16 ones.
        """
        if stage == "fit":
            check_trainer(self, self.trainer.world_size)

    def on_train_start(self) -> None:
        """Refuse mini-batches for an optimiser that is defined on the whole training set.

        Raises:
            ArgumentError: If there is more than one batch, or weights are of a type that training breaks down in.
        """
        check_trainer(self, self.trainer.world_size)
        if self.settings.name not in ("sgd", "adam") and self.trainer.num_training_batches != 1:
            condition = f"be null (the full batch) for {self.settings.name}"
            received = f"{self.trainer.num_training_batches} batches"
            raise ArgumentError("data.batch_size", condition, received, "Mini-batches take sgd or adam.")

    def on_train_epoch_start(self) -> None:
        """Start the sums of an epoch."""
        self._sums["train"] = [0.0] * len(_NUMBERS)

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Advance the flow, or make one step on the batch."""
        x, y = self._like_net(batch[0]), self._like_net(batch[1])
        if self.settings.name in FLOWS:
            # A precision of the trainer must not reach into the integrator: its error estimate is finer.
            with torch.autocast(self.device.type, enabled=False):
                self._flow(x, y)
        else:
            self._descend(x, y)

    def on_train_epoch_end(self) -> None:
        """End the training when the stop rule is met."""
        if self.settings.name not in FLOWS:
            self.stop_reason = self._reason()
        if self.stop_reason:
            self.trainer.should_stop = True

    def on_validation_epoch_start(self) -> None:
        """Start the sums of an epoch."""
        self._sums["val"] = [0.0] * len(_NUMBERS)

    def on_test_epoch_start(self) -> None:
        """Start the sums of an epoch."""
        self._sums["test"] = [0.0] * len(_NUMBERS)

    def on_validation_epoch_end(self) -> None:
        """Log loss and error."""
        self._log("val")

    def on_test_epoch_end(self) -> None:
        """Log loss and error."""
        self._log("test")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Measure loss and error."""
        self._measure("val", self(batch[0]), self._like_net(batch[1]))

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Measure loss and error."""
        self._measure("test", self(batch[0]), self._like_net(batch[1]))

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return F."""
        return cast("Tensor", self(batch[0]))

    def _like_net(self, values: Tensor) -> Tensor:
        dtype = next(self.predictor.net.parameters()).dtype
        return values.to(dtype) if values.is_floating_point() else values

    def _flow(self, x: Tensor, y: Tensor) -> None:
        status = cast("Any", self.optimizers()).step(x=x, y=y, steps=self.flow_steps)
        self._measure("train", self(x), y)
        self._log("train")
        self.log("flow_time", status.time, prog_bar=True)
        self.log("flow_steps", float(status.steps))
        self.stop_reason = status.reason

    def _descend(self, x: Tensor, y: Tensor) -> None:
        outputs = self(x)
        loss = self.loss(outputs, y) if len(y) else 0 * outputs.sum()
        images, failures = self._over_processes([len(y), float(not loss.isfinite())])
        if failures:
            raise self._diverged("train", math.nan)
        self._measure("train", outputs, y)
        if self.trainer.is_last_batch:
            self._log("train")
        # On the full batch the rule is known to be met before the step: then the weights stay as they are.
        if self.trainer.num_training_batches == 1 and self._reason():
            return
        optimiser = cast("Any", self.optimizers())
        optimiser.zero_grad()
        # DDP averages gradients over the processes: each counts by its share of the batch.
        self.manual_backward(loss * (self.trainer.world_size * len(y) / images))
        optimiser.step()

    def _measure(self, stage: Stage, outputs: Tensor, y: Tensor) -> None:
        if not len(y):
            return
        outputs = outputs.detach()
        means = [
            float(self.loss.pointwise(outputs, y).mean()),
            error_share(outputs, y),
            margin_share(outputs, y, self.settings.stop.margin),
        ]
        sums = self._sums[stage]
        self._sums[stage] = [
            sums[0] + len(y),
            *(s + len(y) * m for s, m in zip(sums[1:], means, strict=True)),
        ]

    def _log(self, stage: Stage) -> None:
        """Log the means over all images of all processes; each process calls it at the same place.

        The sums are merged here and not by a logger, which would merge them in an order that hangs on the bars of
        the process.
        """
        images, *sums = self._over_processes(self._sums[stage])
        if not images:
            return
        values = {f"{stage}_{name}": total / images for name, total in zip(_NUMBERS[1:], sums, strict=True)}
        if not math.isfinite(values[f"{stage}_loss"]):
            raise self._diverged(stage, values[f"{stage}_loss"])
        if stage == "train":
            self._train_numbers = values
        else:
            del values[f"{stage}_margin_share"]
        for name, value in values.items():
            self.log(name, value, on_step=False, on_epoch=True, prog_bar=name != "train_loss", batch_size=1)

    def _over_processes(self, numbers: list[float]) -> list[float]:
        """Return the sums over all processes."""
        if self.trainer.world_size == 1:
            return numbers
        summed = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        return cast("list[float]", self.trainer.strategy.reduce(summed, reduce_op="sum").tolist())

    def _diverged(self, stage: Stage, loss: float) -> DegenerateError:
        way_out = "Lower optimiser.learning_rate."
        return DegenerateError(f"The {stage} loss became {loss} at step {self.global_step}. {way_out}")

    def _reason(self) -> str:
        loss, share = (self._train_numbers[f"train_{name}"] for name in ("loss", "margin_share"))
        return self.settings.stop.reason(loss=loss, share=share, steps=self.global_step)


def check_trainer(task: ImageTask, processes: int) -> None:
    """Refuse what a task cannot be trained under.

    Args:
        task: The task.
        processes: How many would train it.

    Raises:
        ArgumentError: If a flow has several processes or half-precision weights, or other optimisers float16 ones.
    """
    name, dtype = task.settings.name, next(task.predictor.net.parameters()).dtype
    if name in FLOWS and processes > 1:
        way_out = "Its batch is the whole training set, which every process would repeat."
        raise ArgumentError("trainer.devices", f"be 1 for {name}", f"{processes} processes", way_out)
    if name in FLOWS and dtype not in (torch.float32, torch.float64):
        way_out = "Choose 32-true or 64-true."
        raise ArgumentError(
            "trainer.precision", f"keep float32 or float64 weights for {name}", dtype, way_out
        )
    if dtype == torch.float16:
        way_out = "Its squares vanish or overflow; choose 16-mixed or bf16-true."
        raise ArgumentError("trainer.precision", "not train in float16 alone", dtype, way_out)


def error_share(outputs: Tensor, targets: Tensor) -> float:
    """Return the share of misclassified points; an output of exactly 0 is an error.

    Args:
        outputs: F (n,) with targets -1 / +1, or (n, C) with class indices.
        targets: Shape (n,).
    """
    wrong = outputs * targets <= 0 if outputs.ndim == 1 else outputs.argmax(1) != targets
    return float(wrong.double().mean())
