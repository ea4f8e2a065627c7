"""Which images of a data loader a process was given, and which of them it should count."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from pytorch_lightning import Trainer
from torch import Tensor
from torch.utils.data import DistributedSampler, SequentialSampler

Stage = Literal["val", "test"]


class Numbers(NamedTuple):
    """Images of a batch.

    Attributes:
        number: (n,) place of each image in the order of the loader, in whichever process.
        mine: (n,) whether this process is the one that counts it.
        even: Whether all processes get as many batches.
    """

    number: Tensor
    mine: Tensor
    even: bool


class Numbering:
    """Numbers the images of evaluation loaders, so that several processes count each image once.

    Process r of W has images r, r + W, ... of loaders with `deals`, as `datamodules.TensorBatches`, and of torch's with
    a sampler of Lightning, which repeats some at its end. Torch's loaders in their own order serve all images to all
    processes. Of other loaders every image counts, numbered apart from those of the other processes.
    """

    def __init__(self) -> None:
        self._seen: dict[int, int] = {}

    def start(self) -> None:
        """Start from the first batch."""
        self._seen.clear()

    def numbers(self, trainer: Trainer, stage: Stage, *, count: int, dataloader_idx: int) -> Numbers:
        """Return the numbers of the next batch of a loader.

        Args:
            trainer: At work.
            stage: "val" or "test".
            count: Images in the batch, n.
            dataloader_idx: Number of the loader.
        """
        seen = self._seen.get(dataloader_idx, 0)
        self._seen[dataloader_idx] = seen + count
        place = torch.arange(seen, seen + count)
        processes, rank = trainer.world_size, trainer.global_rank
        all_mine = torch.ones(count, dtype=torch.bool)
        if processes == 1:
            return Numbers(place, all_mine, even=True)
        loader = _loader(trainer, stage, dataloader_idx)
        sampler = getattr(getattr(loader, "batch_sampler", None), "sampler", None)
        if isinstance(sampler, DistributedSampler):
            number = sampler.rank + sampler.num_replicas * place
            return Numbers(number, number < len(sampler.dataset), even=True)  # type: ignore[arg-type]
        deals = getattr(loader, "deals", None)
        if isinstance(sampler, SequentialSampler) or deals is False:
            return Numbers(place, place % processes == rank, even=True)
        return Numbers(rank + processes * place, all_mine, even=deals is True)


def _loader(trainer: Trainer, stage: Stage, index: int) -> Any:
    loaders = trainer.val_dataloaders if stage == "val" else trainer.test_dataloaders
    if isinstance(loaders, dict):
        loaders = list(loaders.values())
    return loaders[index] if isinstance(loaders, list | tuple) else loaders


def suffix(trainer: Trainer, stage: Stage, index: int) -> str:
    """Return what Lightning puts behind the names of the numbers of one of several loaders."""
    counts = trainer.num_val_batches if stage == "val" else trainer.num_test_batches
    return f"/dataloader_idx_{index}" if len(counts) > 1 else ""
