"""Batches cut from tensors in memory: no per-image Python, no worker processes."""

from collections.abc import Iterator

import torch

from diffstab.streams import stream


class EpochOrder:
    """The order of the samples in each epoch: a permutation that depends on the seed and the epoch only.

    A run that is resumed at epoch k therefore sees the same batches as one that was never stopped.
    Lightning announces each epoch through `set_epoch`.

    Args:
        count: Number of samples.
        seed: Seed of at least 0.
    """

    def __init__(self, count: int, *, seed: int) -> None:
        self.count = count
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next."""
        self.epoch = epoch

    def permutation(self) -> torch.Tensor:
        """(count,) order of the samples in the current epoch."""
        return torch.randperm(self.count, generator=stream(self.seed, "order of an epoch", self.epoch))


class TensorBatches:
    """An iterable of (images, labels) that Lightning takes as a dataloader.

    It is not a `torch.utils.data.DataLoader`: that one collates image by image, draws from the global
    generator and asks for workers. Under a distributed strategy every process sees all the batches.

    Args:
        images: (n, C, H, W).
        labels: (n,).
        batch_size: Images in a batch, the last one may be smaller; None yields everything as one batch,
            without a copy and in its own order.
        sampler: Order of the samples in each epoch; their own order when None.
    """

    def __init__(
        self,
        images: torch.Tensor,
        labels: torch.Tensor,
        *,
        batch_size: int | None = None,
        sampler: EpochOrder | None = None,
    ) -> None:
        self.images = images
        self.labels = labels
        self.batch_size = batch_size
        self.sampler = sampler
        # Lightning announces the epochs to `sampler`; a loader that has one must have this too.
        self.batch_sampler = None

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        return 1 if self.batch_size is None else -(-len(self.images) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the batches of the epoch that is current when the first one is asked for."""
        if self.batch_size is None:
            yield self.images, self.labels
        elif self.sampler is None:
            yield from zip(
                torch.split(self.images, self.batch_size), torch.split(self.labels, self.batch_size)
            )
        else:
            for chosen in torch.split(self.sampler.permutation(), self.batch_size):
                yield self.images[chosen], self.labels[chosen]
