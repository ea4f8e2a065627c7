"""Ensembles: the mean output of several predictors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from diffstab.errors import ArgumentError


class Ensemble(nn.Module):
    """Mean of the outputs of several predictors of the same output shape.

    Args:
        members: Predictors, at least one; modules among them are registered.

    Raises:
        ArgumentError: If there is no member.
    """

    def __init__(self, members: Sequence[Callable[[Tensor], Tensor]]) -> None:
        super().__init__()
        if not members:
            raise ArgumentError("members", "hold at least one predictor", len(members))
        self.members = list(members)
        self.modules_of_members = nn.ModuleList(member for member in members if isinstance(member, nn.Module))

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean output for inputs (n, ...)."""
        return torch.stack([member(x) for member in self.members]).mean(0)
