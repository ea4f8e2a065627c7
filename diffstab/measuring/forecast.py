"""What a measurement will take: memory of an image on its way through a model, and time."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

_SHARE_OF_FREE = 0.25  # convolutions need workspaces, and others use the machine too
_LARGEST_BATCH = 256
_UNKNOWN_BYTES = 64 * 2**20  # of an image in a model without modules to look into
_TRIALS = 2


class Forecast(NamedTuple):
    """What a measurement will take.

    Attributes:
        seconds: Time.
        bytes: Largest memory beyond the weights.
        batch_size: Images in a batch.
        images: Images measured.
        forwards: Passes of an image through the model.
    """

    seconds: float
    bytes: float
    batch_size: int
    images: int
    forwards: int

    def __str__(self) -> str:
        time_text = f"{self.seconds / 60:.1f} minutes" if self.seconds >= 120 else f"{self.seconds:.0f} s"
        return (
            f"{self.images} images, {self.forwards} passes of each: about {time_text} and "
            f"{self.bytes / 2**20:.0f} MB beyond the weights, in batches of {self.batch_size}."
        )


def bytes_per_image(module: object, example: Tensor, *, layers: int, versions: int) -> float:
    """Return an estimate of the memory that an image takes on its way through a model.

    Counted are its versions, all outputs of modules on the way (a bound for what is alive at once), and the clean
    outputs of the measured layers.

    Args:
        module: What takes `example`; a module, or any callable.
        example: Two preprocessed images, (2, C, H, W).
        layers: Number of measured layers.
        versions: Of an image that are passed through at once.
    """
    if not isinstance(module, nn.Module) or isinstance(module, torch.jit.ScriptModule):
        return _UNKNOWN_BYTES
    sizes: list[int] = []
    with _watched(module, sizes), torch.no_grad():
        module(example.clone())
    leaves = sorted(sizes, reverse=True)
    alive = sum(leaves[: 4 + layers])
    return versions * (alive + 4 * example.numel() * example.element_size()) / len(example)


@contextmanager
def _watched(module: nn.Module, sizes: list[int]) -> Iterator[None]:
    def note(_module: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            sizes.append(output.numel() * output.element_size())

    mode = module.training
    handles = [one.register_forward_hook(note) for one in module.modules() if not list(one.children())]
    module.eval()
    try:
        yield
    finally:
        module.train(mode)
        for handle in handles:
            handle.remove()


def free_bytes(device: torch.device) -> float:
    """Return the free memory of a device, that of the machine for the CPU."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    try:
        with open("/proc/meminfo", encoding="ascii") as file:  # noqa: PTH123
            kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in file}
        return 1024.0 * kilobytes["MemAvailable"]
    except (OSError, KeyError, ValueError):  # no Linux
        return 0.5 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def fitting_batch(per_image: float, free: float, *, images: int, processes: int = 1) -> int:
    """Return the largest power of two of images that a quarter of the free memory holds.

    Args:
        per_image: Bytes.
        free: Bytes; on the CPU, shared by the processes.
        images: Images there are.
        processes: That share the memory.
    """
    fits = _SHARE_OF_FREE * free / processes / per_image
    size = 1
    while size * 2 <= min(fits, _LARGEST_BATCH, max(1, images)):
        size *= 2
    return size


def seconds_per_batch(update: Any, images: Tensor, *, first: int) -> float:
    """Return the time of a batch, the least of a few after one that warms up.

    Args:
        update: That of a `LayerPass`.
        images: (n, C, H, W); what they show does not matter.
        first: Images that a pass looks at before it measures.
    """
    times, begun = [], first - first % len(images) + len(images)
    update(images.repeat(begun // len(images), 1, 1, 1), torch.arange(begun))
    for trial in range(_TRIALS):
        clock = time.perf_counter()
        update(images, begun + len(images) * trial + torch.arange(len(images)))
        if images.is_cuda:
            torch.cuda.synchronize(images.device)
        times.append(time.perf_counter() - clock)
    return min(times)
