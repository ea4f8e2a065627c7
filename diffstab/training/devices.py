"""Where something is trained or measured, in the words of Lightning."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from diffstab.errors import ArgumentError, DiffstabError


@dataclass(frozen=True)
class Devices:
    """One device, and the precision of a training on it.

    Args:
        accelerator: "cpu", "gpu", "auto", ...
        devices: One device: 1, or a list of its number, [2] say.
        precision: "32-true", "bf16-mixed", ...
    """

    accelerator: str = "cpu"
    devices: int | str | list[int] = 1
    precision: str | int = "32-true"

    def check_one(self, count: int) -> None:
        """Raise an ArgumentError if these are several devices."""
        if count > 1:
            way_out = "Runs share devices by --workers and `diffstab sweep`."
            raise ArgumentError("devices", "be one for each run", count, way_out)

    def place(self, dtype: torch.dtype = torch.float64) -> torch.device:
        """Return the device.

        Args:
            dtype: Floating type of what is computed there.

        Raises:
            ArgumentError: If this machine has it not, these are several, or it does not know the type.
        """
        if self.accelerator == "cpu" and self.devices in (1, "1"):
            return torch.device("cpu")
        from lightning_fabric import Fabric

        with told_in_a_line(ValueError, ImportError, RuntimeError, TypeError):
            fabric = Fabric(accelerator=self.accelerator, devices=self.devices)
        self.check_one(fabric.world_size)
        if fabric.device.type == "mps" and dtype == torch.float64:
            raise ArgumentError("accelerator", "know float64, which is computed in here", "mps", "Take cpu.")
        return fabric.device


@contextmanager
def told_in_a_line(*also: type[Exception]) -> Iterator[None]:
    """Turn Lightning's complaints about its options, and the given errors, into an ArgumentError of one line."""
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    try:
        yield
    except DiffstabError:
        raise
    except Exception as error:
        if not isinstance(error, (MisconfigurationException, *also)):
            raise
        said = " ".join(str(error).split()).rstrip(".!")
        way_out = "The options are those of pytorch_lightning.Trainer."
        raise ArgumentError("trainer", "fit this machine and itself", said, way_out) from error
