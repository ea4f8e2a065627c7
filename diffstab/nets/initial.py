"""The initial weights of a seed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from diffstab.streams import stream


@contextmanager
def initial_weights(seed: int, member: int = 0) -> Iterator[None]:
    """Give nets that are built in this context the initial weights of a seed, whatever their layers.

    They draw from torch's global generator, as the layers of torch do; it is put back afterwards.

    Args:
        seed: Seed of the run.
        member: Number of the net in an ensemble.
    """
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(stream(seed, "weights", member).get_state())
        yield
