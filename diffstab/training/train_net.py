"""Training of one net on the images of a data module, without a command line: what each run of a comparison does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn

from diffstab.nets import CentredOutput
from diffstab.solvers.optimise import FLOWS, OptimiserSettings
from diffstab.solvers.solver import CHUNK
from diffstab.solvers.status import Status
from diffstab.streams import integer_seed
from diffstab.training.devices import Devices, told_in_a_line
from diffstab.training.task import LossName, Task
from diffstab.training.terminal import quiet_lightning

_ONE_CPU = Devices()


def train_net(
    net: nn.Module,
    data: Any,
    *,
    alpha: float = 1.0,
    xi: float = 1.0,
    loss: str = "soft_hinge",
    loss_beta: float = 20.0,
    optimiser: OptimiserSettings,
    member: int = 0,
    devices: Devices = _ONE_CPU,
    on_progress: Callable[[Status], object] | None = None,
) -> tuple[CentredOutput, Status]:
    """Train a net until its stop rule is met, as `diffstab fit` does.

    Args:
        net: As it is at initialisation.
        data: Data module, set up.
        alpha: Output scale.
        xi: Share of the initial output that is taken off.
        loss: Name of the loss.
        loss_beta: Sharpness of the soft hinge.
        optimiser: Optimiser, batches and stop rule.
        member: Number of the net in an ensemble: each has batches of its own.
        devices: Where it is trained.
        on_progress: Called now and then during training.

    Returns:
        The predictor, on the device in eval mode, and its last status.

    Raises:
        ArgumentError: If a value is out of range, or this machine has not the device.
        DegenerateError: If the training diverges.
    """
    size = optimiser.batch_size
    if size is not None and (optimiser.name not in ("sgd", "adam") or size >= len(data.train_images)):
        size = None
    steps = CHUNK if size is None and optimiser.name not in FLOWS else None
    task = Task(
        net,
        alpha=alpha,
        xi=xi,
        loss=cast("LossName", loss),
        loss_beta=loss_beta,
        optimiser=replace(optimiser, batch_size=None),
        epoch_steps=steps,
    )
    report: list[Callback] = [_Progress(on_progress)] if on_progress else []
    with quiet_lightning():
        trainer = _trainer(devices, report)
        trainer.fit(task, _batches(data, size, member=member))
    device = trainer.strategy.root_device  # Lightning leaves the net on the CPU
    assert task.status is not None
    return task.predictor.to(device).eval(), task.status


def _trainer(devices: Devices, callbacks: list[Callback]) -> Trainer:
    with told_in_a_line(ValueError, ImportError, RuntimeError, TypeError):
        trainer = Trainer(
            accelerator=devices.accelerator,
            devices=devices.devices,
            precision=cast("Any", devices.precision),
            max_epochs=-1,  # the stop rule ends a run
            callbacks=callbacks,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
    devices.check_one(trainer.world_size)
    return trainer


def _batches(data: Any, size: int | None, *, member: int) -> Any:
    """Return the training batches of a data module, in batches of a size; None for the whole set."""
    loader = data.train_dataloader()
    if not hasattr(loader, "extra"):
        return loader
    loader.batch_size = size
    if member:
        loader.sampler.seed = integer_seed(loader.sampler.seed, "batches of a member", member)
    return loader


class _Progress(Callback):
    """Tells where the training stands after each epoch."""

    def __init__(self, tell: Callable[[Status], object]) -> None:
        self._tell = tell

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell it."""
        status = getattr(pl_module, "status", None)
        if status is not None:
            self._tell(status)
