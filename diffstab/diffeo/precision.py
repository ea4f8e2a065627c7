"""The number types that fields and images are computed in, whatever surrounds the call."""

from contextlib import AbstractContextManager, nullcontext

import torch


def working_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the type that images of a type are warped in: float64 for float64, else float32.

    A displacement of 3 px is off by 0.001 px in float16 and by 0.008 px in bfloat16: fields are never made in these.
    """
    return torch.float64 if dtype == torch.float64 else torch.float32


def in_double(values: torch.Tensor) -> torch.Tensor:
    """Convert to float64, on the CPU where the device has none (MPS)."""
    return (values.cpu() if values.device.type == "mps" else values).double()


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Return a context in which operations on a device keep their number type."""
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def restored(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Convert computed values back to the type they came in; integers are rounded, halfway to even."""
    return values.to(dtype) if dtype.is_floating_point else values.round().to(dtype)
