"""Batches cut from tensors in memory: no per-image Python, no worker processes."""

from collections.abc import Callable, Iterator

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
    generator and asks for workers. In a process group the processes share the images and none is repeated:

    - without a sampler (measuring) process r of W has images r, r + W, ... in batches of ceil(batch_size / W). All
      have the same number of batches, so the last one of some may be empty;
    - with a sampler (mini-batch training) each has its part of every global batch of `batch_size`, the last of which
      may leave some an empty one;
    - with a sampler and no batch size (full-batch training), or with `whole`, each has everything.

    Args:
        images: (n, C, H, W).
        labels: (n,).
        batch_size: Images in a batch, the last one may be smaller; None yields everything as one batch,
            without a copy and in its own order.
        sampler: Order of the samples in each epoch; their own order when None.
        whole: Serve everything as one batch to every process.
        place: Number of this process and how many there are; those of the process group when None.
        augment: Changes the images (n, C, H, W) of each batch; it is given a batch of this process at a time, and draws
            from torch's global generator, which has a stream of its own for each epoch, batch and process then. Takes a
            sampler.

    Attributes:
        deals: Whether processes share the images.
        extra: None, or a tensor (n, ...) whose entries are served with the images, as a third part of each batch.
    """

    def __init__(
        self,
        images: torch.Tensor,
        labels: torch.Tensor,
        *,
        batch_size: int | None = None,
        sampler: EpochOrder | None = None,
        whole: bool = False,
        place: tuple[int, int] | None = None,
        augment: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        self.images = images
        self.labels = labels
        self.batch_size = batch_size
        self.sampler = sampler
        self.whole = whole
        self.deals = not whole
        self.place = place
        self.augment = augment
        self.extra: torch.Tensor | None = None
        # Lightning announces the epochs to `sampler`; a loader that has one must have this too.
        self.batch_sampler = None

    def __len__(self) -> int:
        """Number of batches in an epoch, the same in all processes."""
        if self.whole or self.batch_size is None:
            return 1
        if self.sampler is not None:
            return -(-len(self.images) // self.batch_size)
        _, processes = self.place or process_place()
        own = -(-len(self.images) // processes)
        return -(-own // -(-self.batch_size // processes))

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        """Yield this process's batches of the epoch that is current when the first one is asked for."""
        sampler, augment = self.sampler, self.augment
        if augment is None or sampler is None:
            yield from self._stored()
            return
        epoch, (process, _) = sampler.epoch, self.place or process_place()
        for number, (images, *others) in enumerate(self._stored()):
            source = stream(sampler.seed, "augmentation", epoch, number, process)
            with torch.random.fork_rng(devices=[]), torch.no_grad():
                torch.set_rng_state(source.get_state())
                changed = augment(images) if len(images) else images
            yield (changed, *others)

    def _stored(self) -> Iterator[tuple[torch.Tensor, ...]]:
        """Yield batches of the images as they are."""
        process, processes = self.place or process_place()
        shared = self.sampler is None and processes > 1
        parts = (self.images, self.labels) if self.extra is None else (self.images, self.labels, self.extra)
        if self.whole or (self.batch_size is None and not shared):
            yield parts
        elif self.sampler is None or self.batch_size is None:
            yield from self._in_order(tuple(part[process::processes] for part in parts), processes)
        else:
            for chosen in torch.split(self.sampler.permutation(), self.batch_size):
                own = chosen[process::processes]
                yield tuple(part[own] for part in parts)

    def _in_order(
        self, parts: tuple[torch.Tensor, ...], processes: int
    ) -> Iterator[tuple[torch.Tensor, ...]]:
        count = len(parts[0])
        size = max(count, 1) if self.batch_size is None else -(-self.batch_size // processes)
        for start in range(0, size * len(self), size):
            yield tuple(part[start : start + size] for part in parts)


def process_place() -> tuple[int, int]:
    """Return the number of this process in its group, and how many there are: (0, 1) without a group."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
