"""Runs a pass under `Trainer.test`: rounds of images, one process per device, what an earlier run has left kept."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning import Trainer
from torch import Tensor, nn

from diffstab.errors import ArgumentError, FoldingWarning, ResultsError
from diffstab.measuring.images import ImageSet
from diffstab.measuring.ranks import Ranks, started_together
from diffstab.measuring.settings import LEAST_IMAGES, MOST_FIELDS, DeviceSettings
from diffstab.measuring.state import PassState, load_state
from diffstab.measuring.task import MeasureTask, PassPlan, Round, Serving, Subject, is_narrow
from diffstab.stability.layer_pass import FIRST_LOOK
from diffstab.training.devices import told_in_a_line
from diffstab.training.terminal import quiet_lightning, show_progress

_MOST_AT_ONCE = 2048
"""Images of a round: what a killed run loses at most, and a search for a narrow interval measures too much."""


def rounds_of(order: Tensor, *, further_blocks: int = 0) -> tuple[Round, ...]:
    """Part images into rounds, each twice as many as all before it, up to a bound.

    Args:
        order: Numbers of the images, most important first.
        further_blocks: How many times all images may be measured again, with new fields.
    """
    ends, reached = [], LEAST_IMAGES
    while reached < len(order):
        ends.append(reached)
        reached += min(reached, _MOST_AT_ONCE)
    parts = torch.tensor_split(order, ends)
    # Ascending: files are read, and rows of tables stand, in the order of the data set.
    return tuple(Round(part.sort().values, block) for block in range(1 + further_blocks) for part in parts)


def trainer_of(devices: DeviceSettings, *, logger: Any = False, is_shown: bool = True) -> Trainer:
    """Return the trainer of a measurement.

    Processes that torchrun has started share its work; they have met when it is returned.

    Args:
        devices: Where.
        logger: Any logger of Lightning; False for none.
        is_shown: Whether a bar, or a line a minute, shows how far it is.

    Raises:
        ArgumentError: This machine has not what is asked for.
    """
    ranks = started_together()
    if ranks:
        devices = _devices_of(ranks, devices)
    # A process per device is started for the measurement alone, and this one goes on after it.
    strategy = "ddp_spawn" if devices.strategy == "ddp" and not ranks else devices.strategy
    with quiet_lightning(), told_in_a_line(ValueError, ImportError, RuntimeError, TypeError):
        trainer = Trainer(
            accelerator=devices.accelerator,
            devices=devices.devices,
            strategy=strategy,
            num_nodes=ranks.total // ranks.here if ranks else 1,
            # Else a batch job of Slurm with several tasks is waited for.
            plugins=None if ranks else [LightningEnvironment()],
            precision=cast("Any", devices.precision),
            logger=logger,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=is_shown and (not ranks or ranks.own == 0),
            use_distributed_sampler=False,
            inference_mode=False,
        )
        if trainer.world_size > 1 and devices.strategy == "auto":
            return trainer_of(replace(devices, strategy="ddp"), logger=logger, is_shown=is_shown)
        if ranks:
            trainer.strategy.setup_environment()
    show_progress(trainer, [])
    return trainer


def _devices_of(ranks: Ranks, devices: DeviceSettings) -> DeviceSettings:
    """Return one device for each process of torchrun."""
    if str(devices.devices) not in ("1", "auto", str(ranks.here)):
        received = f"{devices.devices} with {ranks.here} processes of torchrun on this machine"
        raise ArgumentError("devices", "be left to torchrun", received)
    return replace(devices, devices=ranks.here, strategy="ddp")


def measured_state(
    subject: Subject,
    images: ImageSet,
    plan: PassPlan,
    *,
    order: Tensor,
    devices: DeviceSettings,
    batch_size: int,
    path: Path,
    trainer: Trainer,
) -> PassState:
    """Measure images, and go on where an earlier run has stopped.

    Args:
        subject: What is measured; its module comes back in its mode and on its device.
        images: Of all of which the order chooses some.
        plan: How; its rounds are filled in here.
        order: Numbers of the images, most important first.
        devices: Where.
        batch_size: Images in a batch.
        path: File of the state.
        trainer: From `trainer_of`.

    Returns:
        The state, from its file.
    """
    before = _first_has(path, trainer)
    plan = replace(plan, rounds=_open_rounds(order, plan, before))
    if before is not None and (not plan.rounds or is_narrow(before, plan)):
        return before
    look = images.batch(order[:FIRST_LOOK]).images
    is_gpu = trainer.strategy.root_device.type == "cuda"
    serving = Serving(images, batch_size, devices.workers, is_gpu, look)
    task = MeasureTask(subject, plan, serving, path=path, before=before)
    if trainer.world_size > 1 and not started_together():
        _check_sent(task)
    place = _device(subject.module)
    try:
        with quiet_lightning(), warnings.catch_warnings():
            # What folds is told by `cautions`, beside the numbers.
            warnings.simplefilter("ignore", FoldingWarning)
            trainer.test(task, verbose=False)
    finally:
        task.close()
        if place is not None:
            subject.module.to(place)
    state = _first_has(path, trainer)
    if state is None:
        raise ResultsError(f"The processes have ended without {path}.")
    return state


def _first_has(path: Path, trainer: Trainer) -> PassState | None:
    """Return the state in the file of the first process, to each of those that have met."""
    state = load_state(path) if trainer.is_global_zero else None
    return trainer.strategy.broadcast(state)


def _open_rounds(order: Tensor, plan: PassPlan, before: PassState | None) -> tuple[Round, ...]:
    """Return the rounds without the images that are measured already."""
    fields = plan.settings.fields_per_image
    blocks = MOST_FIELDS // fields - 1 if plan.settings.until is not None else 0
    done = 0 if before is None else before.fields // fields
    seen = torch.zeros(0, dtype=torch.int64) if before is None else before.numbers
    found = []
    for one in rounds_of(order, further_blocks=blocks):
        left = one.numbers[~torch.isin(one.numbers, seen)] if one.block == 0 else one.numbers
        if len(left) and (one.block == 0 or one.block >= done):
            found.append(Round(left, one.block))
    return tuple(found)


def _check_sent(task: MeasureTask) -> None:
    """Refuse, before processes are started, what cannot be sent to them."""
    try:
        pickle.dumps(task)
    except Exception as error:  # any object may refuse in a way of its own
        way_out = "Give it by an import path, or measure on one device."
        raise ArgumentError("model", "be picklable for several processes", error, way_out) from error


def _device(module: object) -> torch.device | None:
    if not isinstance(module, nn.Module):
        return None
    return next((tensor.device for tensor in _tensors(module)), None)


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()
