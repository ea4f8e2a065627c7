"""Training of an image predictor under Lightning: wiring only, every formula lives elsewhere."""

from __future__ import annotations

import math
from typing import Any, Literal, cast

from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torchmetrics import MeanMetric

from diffstab.errors import ArgumentError, DegenerateError
from diffstab.nets import CentredOutput, make_loss
from diffstab.training.optimise import OptimiserSettings, make_flow, make_optimiser
from diffstab.training.stopping import margin_share

LossName = Literal["mse", "hinge", "quadratic_hinge", "soft_hinge", "cross_entropy"]
Stage = Literal["train", "val", "test"]
Batch = tuple[Tensor, Tensor]

FLOWS = ("gradient_flow", "euler")
_DEFAULT_OPTIMISER = OptimiserSettings()


class ImageTask(LightningModule):
    """One net trained to classify images, in any regime and by any optimiser, until its stop rule is met.

    One object, `predictor`, is F = alpha (f - xi f_0); loss, error and stability are all measured on it. Its f_0
    is part of the state, so a resumed run goes on to the bit. An epoch is `flow_steps` steps of a flow, one step
    of gd, or one pass of sgd or adam over the batches of the data module. The logged `train_` numbers are those
    after the steps of a flow, and those met before each step of the others; a loss is alpha times the loss.

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
        names = (
            "train_margin_share",
            *(f"{s}_{q}" for s in ("train", "val", "test") for q in ("loss", "error")),
        )
        self.means = nn.ModuleDict({name: MeanMetric() for name in names})

    def forward(self, x: Tensor) -> Tensor:
        """Return F for images (n, ...), computed in the floating type of the net."""
        return cast("Tensor", self.predictor(self._like_net(x)))

    def configure_optimizers(self) -> Any:
        """Return the integrator of the flow, or the torch optimiser of the others."""
        if self.settings.name in FLOWS:
            return make_flow(self.predictor, self.loss, self.settings)
        return make_optimiser(self.predictor, self.settings)

    def on_train_start(self) -> None:
        """Refuse mini-batches for an optimiser that is defined on the whole training set.

        Raises:
            ArgumentError: If there is more than one batch.
        """
        if self.settings.name not in ("sgd", "adam") and self.trainer.num_training_batches != 1:
            condition = f"be null (the full batch) for {self.settings.name}"
            received = f"{self.trainer.num_training_batches} batches"
            raise ArgumentError("data.batch_size", condition, received, "Mini-batches take sgd or adam.")

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Advance the flow, or make one step on the batch."""
        x, y = self._like_net(batch[0]), self._like_net(batch[1])
        if self.settings.name in FLOWS:
            self._flow(x, y)
        else:
            self._descend(x, y)

    def on_train_epoch_end(self) -> None:
        """End the training when the stop rule is met."""
        if self.settings.name not in FLOWS:
            self.stop_reason = self._reason()
        if self.stop_reason:
            self.trainer.should_stop = True

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
        self.log("flow_time", status.time, prog_bar=True)
        self.log("flow_steps", float(status.steps))
        self.stop_reason = status.reason

    def _descend(self, x: Tensor, y: Tensor) -> None:
        outputs = self(x)
        self._measure("train", outputs, y)
        # On the full batch the rule is known to be met before the step: then the weights stay as they are.
        if self.trainer.num_training_batches == 1 and self._reason():
            return
        optimiser = cast("Any", self.optimizers())
        optimiser.zero_grad()
        self.manual_backward(self.loss(outputs, y))
        optimiser.step()

    def _measure(self, stage: Stage, outputs: Tensor, y: Tensor) -> None:
        outputs = outputs.detach()
        loss = float(self.loss.pointwise(outputs, y).mean())
        if not math.isfinite(loss):
            way_out = "Lower optimiser.learning_rate."
            raise DegenerateError(f"The {stage} loss became {loss} at step {self.global_step}. {way_out}")
        values = {f"{stage}_loss": loss, f"{stage}_error": error_share(outputs, y)}
        if stage == "train":
            values["train_margin_share"] = margin_share(outputs, y, self.settings.stop.margin)
        for name, value in values.items():
            metric = cast("MeanMetric", self.means[name])
            metric.update(value, weight=len(y))
            self.log(name, metric, on_step=False, on_epoch=True, prog_bar=name != "train_loss")

    def _reason(self) -> str:
        loss, share = (
            float(cast("MeanMetric", self.means[name]).compute())
            for name in ("train_loss", "train_margin_share")
        )
        return self.settings.stop.reason(loss=loss, share=share, steps=self.global_step)


def error_share(outputs: Tensor, targets: Tensor) -> float:
    """Return the share of misclassified points; an output of exactly 0 is an error.

    Args:
        outputs: F (n,) with targets -1 / +1, or (n, C) with class indices.
        targets: Shape (n,).
    """
    wrong = outputs * targets <= 0 if outputs.ndim == 1 else outputs.argmax(1) != targets
    return float(wrong.double().mean())
