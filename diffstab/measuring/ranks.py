"""Processes that torchrun has started: each measures its share of the images, and the first one says what is next."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

import torch

from diffstab.errors import ArgumentError


class Ranks(NamedTuple):
    """Processes that were started together.

    Attributes:
        own: Number of this process, from 0.
        total: How many there are.
        here: How many of them are on this machine.
    """

    own: int
    total: int
    here: int


def started_together() -> Ranks | None:
    """Return the processes that torchrun has started this one with; None if it is alone.

    Raises:
        ArgumentError: There are several of them in another way: each would measure all, or a part for the whole.
    """
    told = os.environ
    if "TORCHELASTIC_RUN_ID" in told:
        ranks = Ranks(int(told["RANK"]), int(told["WORLD_SIZE"]), int(told["LOCAL_WORLD_SIZE"]))
        return ranks if ranks.total > 1 else None
    counts = {f"{name}=": told.get(name, "") for name in ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS")}
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        counts["a process group of "] = str(torch.distributed.get_world_size())
    many = [name + count for name, count in counts.items() if count.isdecimal() and int(count) > 1]
    if many:
        way_out = "Start one, with --devices N --strategy ddp; or several by torchrun."
        raise ArgumentError("processes", "be started by the measurement, or by torchrun", many[0], way_out)
    return None


def say_next(label: str | None) -> None:
    """Say to the other processes which model is measured now; None that all are. A process alone says nothing."""
    if started_together():
        torch.distributed.broadcast_object_list([label], src=0)


def next_labels() -> Iterator[str]:
    """Return what the first process says, until the end."""
    heard: list[str | None] = [None]
    while True:
        torch.distributed.broadcast_object_list(heard, src=0)
        if heard[0] is None:
            return
        yield heard[0]
