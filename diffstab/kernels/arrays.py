"""Tensors as what scikit-learn takes."""

import numpy as np
from torch import Tensor


def as_array(values: object) -> object:
    """Return a tensor of any device and type as a NumPy array, without its gradient; other values as they are."""
    if not isinstance(values, Tensor):
        return values
    there = values.detach().cpu()
    # NumPy has no bfloat16.
    array: np.ndarray = (there.double() if there.is_floating_point() else there).numpy()
    return array
