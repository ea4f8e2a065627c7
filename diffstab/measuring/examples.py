"""The most and the least stable images of a measurement, with the deformed versions that were measured."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch

from diffstab.measuring.one_call import Preparation
from diffstab.measuring.task import first_deformed

EACH = 4
"""Images on either side."""


def example_arrays(ready: Preparation, images: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return images of the largest and the smallest D_i under the first deformation.

    Args:
        ready: What was measured.
        images: `image_frame` of it.

    Returns:
        number, images and deformed (n, C, H, W) as 8 bits, D_i, G_i, class and predicted_class, the least stable first.
    """
    amount = ready.settings.amounts[0]
    rows = images[(images["deformation"] == amount.text) & (images["cutoff"] == amount.cutoff)]
    ordered = rows.sort_values("D_i", ascending=False)
    each = min(EACH, len(ordered) // 2)
    chosen = pd.concat([ordered.head(each), ordered.tail(each)])
    numbers = torch.from_numpy(chosen["number"].to_numpy(copy=True))
    clean = torch.stack([ready.images.read(int(number)).image for number in numbers])
    deformed = first_deformed(ready.plan, clean, numbers)
    found: dict[str, Any] = {name: chosen[name].to_numpy(dtype=np.float64) for name in ("D_i", "G_i")}
    for name in ("class", "predicted_class"):
        found[name] = chosen[name].to_numpy(dtype=str)
    return {**found, "number": numbers.numpy(), "images": _bytes(clean), "deformed": _bytes(deformed)}


def _bytes(images: torch.Tensor) -> np.ndarray:
    found: np.ndarray = (images.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    return found
