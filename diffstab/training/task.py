"""Training of any net under Lightning: wiring only, every formula lives elsewhere."""

from __future__ import annotations

import math
from typing import Any, Literal, cast

import torch
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch import Tensor, nn

from diffstab.errors import ArgumentError, DegenerateError
from diffstab.nets import CentredOutput, make_loss
from diffstab.nets.losses import widest_float
from diffstab.solvers.optimise import FLOWS, OptimiserSettings, make_optimiser, make_solver
from diffstab.solvers.solver import Solver
from diffstab.solvers.status import Status
from diffstab.solvers.stopping import has_margin
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

LossName = Literal["mse", "hinge", "quadratic_hinge", "soft_hinge", "cross_entropy", "regression"]

FLOW_STEPS = 50
"""Steps of a flow in an epoch, unless told otherwise."""

_DEFAULT_OPTIMISER = OptimiserSettings()
_MEETING_HOOKS = ("on_train_batch_start", "on_train_batch_end")
_CHANGING_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


class Task(LightningModule):
    """One net trained in any regime, on any loss and by any optimiser, until its stop rule is met.

    One object, `predictor`, is F = alpha (f - xi f_0); loss, error and stability are all measured on it. Its f_0
    is part of the state, so a resumed run goes on to the bit. There are two ways to train:

    - flows, and gd, sgd and adam with `epoch_steps`, are solvers: the whole training set is one batch, an epoch is
      `epoch_steps` steps, and training ends at the first weights that meet the stop rule;
    - everything else is Lightning's automatic optimisation, with its schedulers, gradient clipping, accumulation,
      precisions and ddp: gd, sgd and adam, or the optimiser of an own `configure_optimizers` (on the command line:
      `optimizer` and `lr_scheduler`). An epoch is one pass over the batches. The rule is judged on what the batches of
      an epoch met; on the full batch before each step, so that the weights that meet it stay. Both give the same bits.

    The logged `train_` numbers are those after the steps of a solver, and those met before each step of the others;
    a loss is alpha times the loss. Numbers are fetched from the device once an epoch.

    Several processes (ddp) share each batch: gradients are means over the images of all, and the run is that of one
    process up to rounding where the loader serves them parts of the same batches, as the project's data modules do;
    batches of torch's loaders are others, of the same law. Batch normalisation sees the part of its own process, unless
    `sync_batchnorm` is set. Solvers run in one process. Loss, error and margins are those of all images, each counted
    once.

    Weights may be of bfloat16 outside the solvers, and products of half precision (the mixed ones), while rounding of
    the centred output stays within a hundredth of the margin; losses are evaluated in float32. Solvers need weights of
    float32 or float64; flows step outside autocast.

    f_0 is computed once per training image where data lie in memory (`extra` of the loader) and nobody else meets the
    batches on the way; else at every step.

    Args:
        net: Net f, as it is at initialisation: any module that maps (n, ...) to (n, outputs).
        alpha: Output scale: below 1 towards the feature regime, above 1 towards the lazy one.
        xi: Share of the initial output that is taken off, in [0, 1].
        loss: Name of the loss; cross_entropy takes class labels, regression real targets, the others -1 and +1.
        loss_beta: Sharpness of the soft hinge.
        optimiser: Optimiser and stop rule. Batches come from the data module: its `batch_size` stays None.
        epoch_steps: Steps of a solver in an epoch; None is 50 for a flow, and no solver for gd, sgd and adam.

    Attributes:
        status: Where the training stands; None before it starts.

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
        epoch_steps: int | None = None,
    ) -> None:
        super().__init__()
        if optimiser.batch_size is not None:
            way_out = "Set the batch size of the data module."
            raise ArgumentError("optimiser.batch_size", "be null", optimiser.batch_size, way_out)
        if epoch_steps is not None and epoch_steps < 1:
            raise ArgumentError("epoch_steps", "be at least 1", epoch_steps)
        # Plain values only, so that checkpoints load with weights_only: those that F is made of besides the net.
        self.save_hyperparameters("alpha", "xi", "loss", "loss_beta", logger=False)
        self.predictor = CentredOutput(net, alpha=alpha, xi=xi)
        self.loss = make_loss(loss, alpha=alpha, beta=loss_beta)
        self.settings, self.epoch_steps = optimiser, epoch_steps
        self.status: Status | None = None
        self.numbering = Numbering()
        self._has_start = False
        self._sums: Tensor | None = None
        self._totals: dict[int, Tensor] = {}

    @property  # type: ignore[misc]
    def automatic_optimization(self) -> bool:
        """Whether Lightning makes the steps; else a solver of ours does."""
        return not self._is_named() or (self.settings.name not in FLOWS and self.epoch_steps is None)

    @property
    def stop_reason(self) -> str:
        """Why training ended: "margin", "loss", "max_steps", "stalled", or "" if it was not by the stop rule."""
        return self.status.reason if self.status else ""

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
        if stage == "fit" and not self.automatic_optimization:
            check_one_process(trainer, what=f"{name}, which takes its steps on the whole training set")
            check_full_precision(trainer, what=name, dtype=dtype)
        alpha, xi = self.predictor.alpha, self.predictor.xi
        check_precision(trainer, dtype=dtype, training=stage == "fit", alpha=alpha, xi=xi)

    def configure_optimizers(self) -> Any:
        """Return the solver, or the torch optimiser of that name."""
        if self.automatic_optimization:
            return make_optimiser(self.predictor, self.settings)
        return self.make_solver()

    def make_solver(self) -> Solver:
        """Return what trains on the whole training set."""
        return make_solver(self.predictor, self.loss, self.settings)

    def on_train_start(self) -> None:
        """Refuse mini-batches for what is defined on the whole training set; compute f_0 where that is once.

        Raises:
            ArgumentError: If there is more than one batch, or images are augmented.
        """
        if (not self.automatic_optimization or self._is_plain_gd()) and not self._on_full_batch():
            condition = f"be null (the full batch) for {self.settings.name}"
            if self.settings.name in ("sgd", "adam"):
                condition = "be null (the full batch) for epoch_steps"
            received = f"{self.trainer.num_training_batches} batches"
            raise ArgumentError("data.batch_size", condition, received, "Mini-batches take sgd or adam.")
        if self.automatic_optimization:
            self._keep_start(self.trainer.train_dataloader)
        elif is_augmented(self.trainer.train_dataloader):
            received = f"one for {self.settings.name}, which takes its steps on fixed images"
            raise ArgumentError("data.augmentation", "be null", received, "Mini-batches take sgd or adam.")

    def on_train_epoch_start(self) -> None:
        """Start the sums over."""
        self._sums = None

    def training_step(self, batch: Any, batch_idx: int) -> Tensor | None:
        """Return the loss on the batch, or let the solver advance."""
        x, y = self._like_net(images_of(batch)), self._like_net(labels_of(batch))
        if self.automatic_optimization:
            start = (
                batch[2] if isinstance(batch, tuple | list) and len(batch) > 2 and self._has_start else None
            )
            return self._batch_loss(x, y, start)
        status = cast("Any", self.optimizers()).step(x=x, y=y, steps=self.epoch_steps or FLOW_STEPS)
        self._note(status, count=len(x))
        more = cast("Solver", self.optimizers(use_pl_optimizer=False)).measures(x)
        self.log_dict(more, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(x))
        return None

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Leave weights alone that are known to meet the stop rule: without gradients nothing moves."""
        if self.automatic_optimization and self._on_full_batch() and self.stop_reason:
            optimizer.zero_grad(set_to_none=True)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """End the training when its steps are used up."""
        if self.global_step >= self.settings.stop.max_steps and self._by_mini_batches():
            self.trainer.should_stop = True

    def on_train_epoch_end(self) -> None:
        """End the training when the stop rule is met."""
        if self._by_mini_batches():
            self._judge()
        if self.stop_reason:
            self.trainer.should_stop = True

    def on_validation_epoch_start(self) -> None:
        """Start the sums over."""
        self._totals = {}
        self.numbering.start()

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Measure loss and error."""
        images, labels = images_of(batch), labels_of(batch)
        options: Any = {"count": len(images), "dataloader_idx": dataloader_idx}
        found = self.numbering.numbers(self.trainer, self._stage, **options)
        x, y = (part[found.mine.to(part.device)] for part in (images, labels))
        sums = self._no_sums()
        if len(x):
            outputs, y = at_least_single(self(x)), at_least_single(self._like_net(y))
            sums = self._sums_of(outputs, y, self.loss.pointwise(outputs, y))
        self._totals[dataloader_idx] = self._totals.get(dataloader_idx, self._no_sums()) + sums

    def on_validation_epoch_end(self) -> None:
        """Log loss and error of all images."""
        stage = self._stage
        for loader, sums in sorted(self._totals.items()):
            count, loss, wrong, _ = summed(self.trainer, sums)
            self._check_finite(stage, float(loss))
            end = suffix(self.trainer, stage, loader)
            self.log_dict(
                {f"{stage}_loss{end}": loss / count, f"{stage}_error{end}": wrong / count}, prog_bar=True
            )

    on_test_epoch_start = on_validation_epoch_start
    test_step = validation_step
    on_test_epoch_end = on_validation_epoch_end

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return F."""
        return cast("Tensor", self(images_of(batch)))

    @property
    def _stage(self) -> EvaluationStage:
        return "test" if self.trainer.testing else "val"

    def _no_sums(self) -> Tensor:
        return torch.zeros(4, dtype=widest_float(self.device), device=self.device)

    def _is_plain_gd(self) -> bool:
        return self._is_named() and self.settings.name == "gd"

    def _is_named(self) -> bool:
        """Whether the settings name the optimiser: nobody has put another in its place."""
        return getattr(self.configure_optimizers, "__func__", None) is Task.configure_optimizers

    def _on_full_batch(self) -> bool:
        return self.trainer.num_training_batches == 1

    def _by_mini_batches(self) -> bool:
        return self.automatic_optimization and not self._on_full_batch()

    def _like_net(self, values: Tensor) -> Tensor:
        dtype = next(self.predictor.net.parameters()).dtype
        return values.to(dtype) if values.is_floating_point() else values

    def _batch_loss(self, x: Tensor, y: Tensor, start: Tensor | None) -> Tensor:
        """Return a loss whose gradient, averaged over the processes, is that of the mean over the images of all."""
        if not len(x):
            # Where there are more processes than images one gets none, and not every net takes an empty batch.
            self._add(self._no_sums())
            self._share(x)
            parameters = [p for p in self.predictor.net.parameters() if p.requires_grad]
            return cast("Tensor", 0 * sum(parameter.sum() for parameter in parameters))
        outputs, y = at_least_single(self.predictor(x, start)), at_least_single(y)
        losses = self.loss.pointwise(outputs, y)
        self._add(self._sums_of(outputs.detach(), y, losses.detach()))
        return losses.mean() / self.loss.alpha * self._share(x)

    def _share(self, x: Tensor) -> Tensor | float:
        """Return the images of this process over the mean of all processes."""
        if self.trainer.world_size == 1:
            return 1.0
        count = torch.tensor(float(len(x)), device=self.device)
        return len(x) * self.trainer.world_size / summed(self.trainer, count)

    def _add(self, sums: Tensor) -> None:
        """Add what a batch met; on the full batch the stop rule is judged at once."""
        self._sums = sums if self._sums is None else self._sums + sums
        if self._on_full_batch():
            self._judge()

    def _sums_of(self, outputs: Tensor, y: Tensor, losses: Tensor) -> Tensor:
        """Return the number of images and sums of loss, errors and margins met over them, on the device."""
        met = torch.full_like(losses, math.nan)
        if not self.loss.is_regression:
            met = has_margin(outputs, y, self.settings.stop.margin)
        wide = widest_float(outputs.device)
        means = [losses.mean().to(wide), self.loss.errors(outputs, y).mean().to(wide), met.to(wide).mean()]
        return len(y) * torch.stack([torch.ones_like(means[0]), *means])

    def _judge(self) -> None:
        """Note what all processes have met since the epoch began."""
        if self._sums is None:
            return
        count, loss, error, share = summed(self.trainer, self._sums).tolist()
        loss, share, steps = loss / count, share / count, self.global_step
        reason = self.settings.stop.reason(loss=loss, share=share, steps=steps)
        status = Status(steps=steps, loss=loss, error=error / count, margin_share=share, reason=reason)
        self._note(status, count=int(count))

    def _note(self, status: Status, *, count: int) -> None:
        """Keep where the training stands, and log it; no process sums up anything when it is looked at."""
        self.status = status
        self._check_finite("train", status.loss)
        shown = {
            "train_error": status.error,
            "train_margin_share": status.margin_share,
            "flow_time": status.time,
        }
        defined = {name: value for name, value in shown.items() if not math.isnan(value)}
        once: Any = {"on_step": False, "on_epoch": True, "batch_size": count}
        self.log_dict({"train_loss": status.loss, "steps": float(status.steps)}, **once)
        self.log_dict(defined, prog_bar=True, **once)

    def _keep_start(self, loader: Any) -> None:
        """Have f_0 of the training images served beside them, computed once, where that is sure to be the same."""
        self._has_start = False
        if not hasattr(loader, "extra"):
            return
        loader.extra = None
        if self.predictor.xi and not is_augmented(loader) and not others_meet_batches(self.trainer):
            images, size = self._like_net(loader.images), loader.batch_size
            with self.trainer.precision_plugin.forward_context():
                loader.extra = self.predictor.fixed_start(images, batch_size=size)
        self._has_start = loader.extra is not None

    def _check_finite(self, stage: str, loss: float) -> None:
        if not math.isfinite(loss):
            way_out = "Lower the learning rate."
            raise DegenerateError(f"The {stage} loss became {loss} at step {self.global_step}. {way_out}")


def is_augmented(loader: Any) -> bool:
    """Whether a loader changes its images anew in each epoch."""
    return getattr(loader, "augment", None) is not None


def others_meet_batches(trainer: Trainer) -> bool:
    """Whether somebody else meets the batches: may change their images, or takes them for (images, labels)."""
    data = getattr(trainer, "datamodule", None)
    owners = [(trainer.lightning_module, LightningModule), (data, LightningDataModule)]
    transfers = any(
        owner is not None and is_overridden(hook, owner, parent=parent)
        for owner, parent in owners
        for hook in _CHANGING_HOOKS
    )
    others = [
        callback
        for callback in cast("Any", trainer).callbacks
        if getattr(callback, "changes_images", False)
        or not type(callback).__module__.startswith(("pytorch_lightning.", "diffstab."))
    ]
    meets = any(is_overridden(hook, one, parent=Callback) for one in others for hook in _MEETING_HOOKS)
    task = type(trainer.lightning_module)
    own = any(getattr(task, hook) is not getattr(Task, hook) for hook in ("training_step", *_MEETING_HOOKS))
    return transfers or meets or own


def at_least_single(values: Tensor) -> Tensor:
    """Return half-precision values in float32, and others as they are."""
    half = values.is_floating_point() and values.element_size() < 4
    return values.float() if half else values
