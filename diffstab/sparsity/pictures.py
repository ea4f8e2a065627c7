"""Pictures of neurons."""

from __future__ import annotations

import torch
from torch import Tensor


def neuron_picture(theta: Tensor, masses: Tensor) -> Tensor:
    """Return each neuron's mass-scaled direction on the two principal components of these, shape (H, 2)."""
    points = theta / theta.norm(dim=1, keepdim=True).clamp_min(1e-300) * masses[:, None]
    axes = torch.linalg.svd(points, full_matrices=False).Vh[:2]
    return points @ axes.T
