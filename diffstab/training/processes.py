"""What a Lightning trainer must be like for our tasks, and sums over its processes."""

from __future__ import annotations

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor

from diffstab.errors import ArgumentError

_TRUE_TYPES = {"64-true": torch.float64, "16-true": torch.float16, "bf16-true": torch.bfloat16}
_ROUNDING_OF_MARGINS = 1e-2


def summed(trainer: Trainer, values: Tensor) -> Tensor:
    """Return sums over all processes, the same in each; every process must call it, in the same order.

    Lightning's own `sync_dist` and the metrics of torchmetrics add up when a number is looked at, and the process with
    the progress bar looks earlier than the others: their sums can be paired wrongly.

    Args:
        trainer: Whose processes they are.
        values: Numbers of this process, on the device of its strategy.
    """
    if trainer.world_size > 1:
        values = values.clone()
        torch.distributed.all_reduce(values)
    return values


def check_one_process(trainer: Trainer, *, what: str) -> None:
    """Raise an ArgumentError if there are several processes, which could only repeat each other's work."""
    if trainer.world_size > 1:
        received = f"{trainer.world_size} processes"
        way_out = "Set trainer.devices and trainer.num_nodes to 1."
        raise ArgumentError("trainer.devices", f"be one process for {what}", received, way_out)


def check_strategy(trainer: Trainer) -> None:
    """Raise an ArgumentError unless the strategy keeps a whole copy of the model in each process."""
    if not isinstance(trainer.strategy, DDPStrategy | SingleDeviceStrategy):
        received = type(trainer.strategy).__name__
        raise ArgumentError("trainer.strategy", "be auto or one of ddp, ddp_spawn, ddp_fork", received)


def check_full_precision(trainer: Trainer, *, what: str, dtype: torch.dtype = torch.float64) -> None:
    """Raise an ArgumentError unless weights are float32 or float64; what surrounds their steps may be mixed.

    Args:
        trainer: With the precision.
        what: What needs it.
        dtype: Type of the weights as they were made.
    """
    if getattr(trainer.precision_plugin, "scaler", None) is not None:
        way_out = "Choose bf16-mixed, 32-true or 64-true."
        raise ArgumentError("trainer.precision", f"scale no gradients for {what}", trainer.precision, way_out)
    weights = weights_type(trainer, dtype)
    if weights not in (torch.float32, torch.float64):
        way_out = "Choose 32-true or 64-true."
        raise ArgumentError(
            "trainer.precision", f"keep float32 or float64 weights for {what}", weights, way_out
        )


def check_precision(trainer: Trainer, *, dtype: torch.dtype, training: bool, alpha: float, xi: float) -> None:
    """Raise an ArgumentError for a half precision in which training or the predictor would be lost in rounding.

    Args:
        trainer: With the precision.
        dtype: Type of the net as it was made.
        training: Whether it will be trained.
        alpha: Output scale.
        xi: Share of the initial output that is taken off: the difference has the rounding of its terms.
    """
    if training and weights_type(trainer, dtype) == torch.float16:
        way_out = "Its squares vanish or overflow; choose 16-mixed or bf16-true."
        raise ArgumentError("trainer.precision", "not train in float16 alone", trainer.precision, way_out)
    computed = computing_type(trainer, dtype)
    if xi and computed.itemsize < 4 and alpha * torch.finfo(computed).eps > _ROUNDING_OF_MARGINS:
        received = f"{trainer.precision} with alpha = {alpha:g} and xi = {xi:g}"
        condition = "resolve alpha (f - xi f_0) to a hundredth of the margin"
        raise ArgumentError("trainer.precision", condition, received, "Choose 32-true or 64-true, or xi = 0.")


def weights_type(trainer: Trainer, dtype: torch.dtype) -> torch.dtype:
    """Return the type of weights under the trainer's precision."""
    precision = str(trainer.precision)
    if precision.startswith("transformer-engine"):
        return torch.bfloat16 if precision == "transformer-engine" else torch.float16
    return _TRUE_TYPES.get(precision, dtype)


def computing_type(trainer: Trainer, dtype: torch.dtype) -> torch.dtype:
    """Return the type that products are made in under the trainer's precision."""
    mixed = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}
    return mixed.get(str(trainer.precision)) or weights_type(trainer, dtype)
