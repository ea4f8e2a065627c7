"""Training of an image predictor under Lightning: wiring only, every formula lives elsewhere."""

from __future__ import annotations

import math
from typing import Any, Literal, cast

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn
from torchmetrics import MeanMetric

from diffstab.errors import ArgumentError, DegenerateError
from diffstab.nets import CentredOutput, make_loss
from diffstab.solvers.optimise import OptimiserSettings, make_flow, make_optimiser
from diffstab.solvers.stopping import margin_share
from diffstab.training.numbering import Numbering, suffix
from diffstab.training.numbering import Stage as EvaluationStage
from diffstab.training.processes import (
    check_full_precision,
    check_one_process,
    check_precision,
    check_strategy,
    summed,
)
from diffstab.training.samples import images_of, labels_of

LossName = Literal["mse", "hinge", "quadratic_hinge", "soft_hinge", "cross_entropy"]

FLOWS = ("gradient_flow", "euler")
_DEFAULT_OPTIMISER = OptimiserSettings()


class ImageTask(LightningModule):
    """One net trained to classify images, in any regime and by any optimiser, until its stop rule is met.

    One object, `predictor`, is F = alpha (f - xi f_0); loss, error and stability are all measured on it. Its f_0
    is part of the state, so a resumed run goes on to the bit. An epoch is `flow_steps` steps of a flow, one step
    of gd, or one pass of sgd or adam over the batches of the data module. The logged `train_` numbers are those
    after the steps of a flow, and those met before each step of the others; a loss is alpha times the loss.

    Several processes (ddp) share each batch of sgd, adam and gd: gradients are means over the images of all, and the
    run is that of one process up to rounding where the loader serves them parts of the same batches, as the
    project's data modules do; batches of torch's loaders are others, of the same law. Batch normalisation sees the
    part of its own process, unless `sync_batchnorm` is set. Flows run in one process. Loss, error and margins are
    those of all images, each counted once.

    Weights may be of bfloat16 under sgd, gd and adam, and products of half precision (the mixed ones), while rounding
    of the centred output stays within a hundredth of the margin; losses are evaluated in float32. Flows need weights of
    float32 or float64 and step outside autocast.

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
        names = ("train_loss", "train_error", "train_margin_share")
        # Updated with sums over all processes, so that none has to be made when somebody looks at a number.
        self.means = nn.ModuleDict({name: MeanMetric(sync_on_compute=False) for name in names})
        self.numbering = Numbering()
        self._totals: dict[int, list[float]] = {}

    def forward(self, x: Tensor) -> Tensor:
        """Return F for images (n, ...), computed in the floating type of the net."""
        return cast("Tensor", self.predictor(self._like_net(x)))

    def setup(self, stage: str) -> None:
        """Refuse a trainer that this task cannot run under.

        Raises:
            ArgumentError: If its strategy, number of processes or precision is none that works.
        """
        self.check_trainer(self.trainer, stage)

    def check_trainer(self, trainer: Trainer, stage: str) -> None:
        """Raise an ArgumentError if a stage (fit, validate, test or predict) cannot run under a trainer."""
        name, dtype = self.settings.name, next(self.predictor.net.parameters()).dtype
        check_strategy(trainer)
        if stage == "fit" and name in FLOWS:
            check_one_process(trainer, what=f"{name}, which takes its steps on the whole training set")
            check_full_precision(trainer, what=name, dtype=dtype)
        alpha, xi = self.predictor.alpha, self.predictor.xi
        check_precision(trainer, dtype=dtype, training=stage == "fit", alpha=alpha, xi=xi)

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

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """Advance the flow, or make one step on the batch."""
        x, y = self._like_net(images_of(batch)), self._like_net(labels_of(batch))
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
        """Start the sums over."""
        self._start()

    def on_test_epoch_start(self) -> None:
        """Start the sums over."""
        self._start()

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Measure loss and error."""
        self._evaluate("val", batch, dataloader_idx)

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Measure loss and error."""
        self._evaluate("test", batch, dataloader_idx)

    def on_validation_epoch_end(self) -> None:
        """Log loss and error of all images."""
        self._log_totals("val")

    def on_test_epoch_end(self) -> None:
        """Log loss and error of all images."""
        self._log_totals("test")

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return F."""
        return cast("Tensor", self(images_of(batch)))

    def _like_net(self, values: Tensor) -> Tensor:
        dtype = next(self.predictor.net.parameters()).dtype
        return values.to(dtype) if values.is_floating_point() else values

    def _flow(self, x: Tensor, y: Tensor) -> None:
        status = cast("Any", self.optimizers()).step(x=x, y=y, steps=self.flow_steps)
        self._log_training(self._sums(self(x), y))
        self.log("flow_time", status.time, prog_bar=True)
        self.log("flow_steps", float(status.steps))
        self.stop_reason = status.reason

    def _descend(self, x: Tensor, y: Tensor) -> None:
        # Where there are more processes than images one gets none, and not every net takes an empty batch.
        outputs = at_least_single(self(x)) if len(x) else None
        totals = summed(self.trainer, self._sums(outputs, y), device=self.device)
        self._log_training(totals)
        # On the full batch the rule is known to be met before the step: then the weights stay as they are.
        if self.trainer.num_training_batches == 1 and self._reason():
            return
        optimiser = cast("Any", self.optimizers())
        optimiser.zero_grad()
        self.manual_backward(self._objective(outputs, y, count=totals[0]))
        optimiser.step()

    def _objective(self, outputs: Tensor | None, y: Tensor, *, count: float) -> Tensor:
        """Return a loss whose gradient, averaged over the processes, is that of the mean over all `count` images."""
        if outputs is None:
            parameters = [p for p in self.predictor.net.parameters() if p.requires_grad]
            return cast("Tensor", 0 * sum(parameter.sum() for parameter in parameters))
        weight = self.trainer.world_size * len(y) / count
        return self.loss(outputs, at_least_single(y)) * weight

    def _sums(self, outputs: Tensor | None, y: Tensor) -> list[float]:
        """Return the number of images and sums of loss, errors and margins met over them."""
        if outputs is None or not len(y):
            return [0.0, 0.0, 0.0, 0.0]
        outputs, y, n = at_least_single(outputs.detach()), at_least_single(y), len(y)
        loss = float(self.loss.pointwise(outputs, y).mean())
        met = margin_share(outputs, y, self.settings.stop.margin)
        return [float(n), n * loss, n * error_share(outputs, y), n * met]

    def _log_training(self, totals: list[float]) -> None:
        """Log what all processes have met in a step: no process sums up anything when it is looked at."""
        count, *sums = totals
        self._check_finite("train", sums[0])
        for name, total in zip(("loss", "error", "margin_share"), sums, strict=True):
            metric = cast("MeanMetric", self.means[f"train_{name}"])
            metric.update(total / count, weight=count)
            self.log(f"train_{name}", metric, on_step=False, on_epoch=True, prog_bar=name != "loss")

    def _start(self) -> None:
        self._totals = {}
        self.numbering.start()

    def _evaluate(self, stage: EvaluationStage, batch: Any, loader: int) -> None:
        images, labels = images_of(batch), labels_of(batch)
        found = self.numbering.numbers(self.trainer, stage, count=len(images), dataloader_idx=loader)
        x, y = (part[found.mine.to(part.device)] for part in (images, labels))
        sums = self._sums(self(x) if len(x) else None, self._like_net(y))
        before = self._totals.get(loader, [0.0] * len(sums))
        self._totals[loader] = [a + b for a, b in zip(before, sums, strict=True)]

    def _log_totals(self, stage: EvaluationStage) -> None:
        for loader, sums in sorted(self._totals.items()):
            count, loss, wrong, _ = summed(self.trainer, sums, device=self.device)
            self._check_finite(stage, loss)
            end = suffix(self.trainer, stage, loader)
            self.log(f"{stage}_loss{end}", loss / count, prog_bar=True)
            self.log(f"{stage}_error{end}", wrong / count, prog_bar=True)

    def _check_finite(self, stage: str, loss: float) -> None:
        if not math.isfinite(loss):
            way_out = "Lower optimiser.learning_rate."
            raise DegenerateError(f"The {stage} loss became {loss} at step {self.global_step}. {way_out}")

    def _reason(self) -> str:
        loss, share = (
            float(cast("MeanMetric", self.means[name]).compute())
            for name in ("train_loss", "train_margin_share")
        )
        return self.settings.stop.reason(loss=loss, share=share, steps=self.global_step)


def at_least_single(values: Tensor) -> Tensor:
    """Return half-precision values in float32, and others as they are."""
    half = values.is_floating_point() and values.element_size() < 4
    return values.float() if half else values


def error_share(outputs: Tensor, targets: Tensor) -> float:
    """Return the share of misclassified points; an output of exactly 0 is an error.

    Args:
        outputs: F (n,) with targets -1 / +1, or (n, C) with class indices.
        targets: Shape (n,).
    """
    wrong = outputs * targets <= 0 if outputs.ndim == 1 else outputs.argmax(1) != targets
    return float(wrong.double().mean())
