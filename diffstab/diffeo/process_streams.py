"""A generator for each process that one seeded object draws in: workers of a data loader, ranks of a DDP run."""

import hashlib
import os
from multiprocessing.reduction import ForkingPickler
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import get_worker_info

from diffstab.streams import stream


class ProcessStream(NamedTuple):
    """A stream that one process draws from, and what it was derived from."""

    name: tuple[bytes, int, int]
    generator: torch.Generator


def process_stream(
    generator: torch.Generator, last: ProcessStream | None, *, rank: int
) -> ProcessStream | None:
    """Return the stream that this process draws from in place of a generator, of which all processes have a copy.

    Args:
        generator: The generator as it is in this process.
        last: What the last call here returned.
        rank: Rank of the process among those that train together.

    Returns:
        None in the first process (rank 0, no worker of a data loader), which draws from the generator itself. Else
        the stream of (state of the generator, seed of the worker, rank): `last` while these stay the same. A data
        loader gives its workers new seeds each epoch; workers that live on just draw on.
    """
    worker = get_worker_info()
    if worker is None and rank == 0:
        return None
    state = hashlib.sha256(generator.get_state().numpy().tobytes()).digest()
    name = (state, -1 if worker is None else worker.seed, rank)
    if last is not None and last.name == name:
        return last
    seed, *use = int.from_bytes(state, "little"), *name[1:]
    return ProcessStream(name, stream(seed, "process", *use, device=generator.device))


def process_rank() -> int:
    """Return the rank of this process among those that train together, 0 where it is alone."""
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank()
    return int(os.environ.get("RANK") or 0)


def _reduced(generator: torch.Generator) -> tuple[Any, tuple[str, bytes]]:
    return _rebuilt, (str(generator.device), generator.get_state().numpy().tobytes())


def _rebuilt(device: str, state: bytes) -> torch.Generator:
    generator = torch.Generator(device)
    generator.set_state(torch.from_numpy(np.frombuffer(state, dtype=np.uint8).copy()))
    return generator


# torch sends the state of a generator to a spawned process as shared memory, which that process cannot open.
ForkingPickler.register(torch.Generator, _reduced)
