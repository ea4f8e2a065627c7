"""Streaming D, G and R as a torchmetrics Metric: exact under any batching, order and number of processes."""

from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor
from torchmetrics import Metric

from diffstab.errors import ArgumentError
from diffstab.stability.measures import (
    Stability,
    merge_moments,
    output_moments,
    squared_changes,
    stability_from_moments,
)


class RelativeStability(Metric):
    """D, G and R of a predictor over all batches that it was updated with.

    Equal to `stability` on all images at once to float64 round-off: batches add their squared changes (one
    float64 number per image, needed for the median) and the moments of their outputs, merged exactly.
    A batch of one image is fine as long as two images come in all.

    Args:
        **kwargs: Those of `torchmetrics.Metric`.

    Example:
        >>> metric = RelativeStability()
        >>> f = torch.tensor([0.0, 1.0, 3.0])
        >>> metric.update(f, f + 1, f + 2)
        >>> float(metric.compute().relative)
        0.25
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    counts: list[Tensor]
    means: list[Tensor]
    scatters: list[Tensor]
    deformation_squares: list[Tensor]
    noise_squares: list[Tensor]

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        # Lists of 1-d tensors that torchmetrics concatenates: they work in reset, merge_state, forward and a
        # process group alike, also when one process saw no image.
        for name in ("counts", "means", "scatters", "deformation_squares", "noise_squares"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, f_clean: Tensor, f_deformed: Tensor, f_noisy: Tensor) -> None:
        """Add a batch: outputs as in `diffstab.stability.stability`; raises ArgumentError like it."""
        deformation = squared_changes(f_clean, f_deformed, argument="f_deformed")
        noise = squared_changes(f_clean, f_noisy, argument="f_noisy")
        moments = output_moments(f_clean)
        if self.means and moments.mean.numel() != self._features():
            condition = f"have {self._features()} features like the batches before"
            raise ArgumentError("f_clean", condition, moments.mean.numel())
        self.counts.append(torch.tensor([float(moments.images)], dtype=torch.float64, device=f_clean.device))
        self.means.append(moments.mean)
        self.scatters.append(moments.scatter.reshape(1))
        self.deformation_squares.append(deformation)
        self.noise_squares.append(noise)

    def compute(self) -> Stability:
        """D, G and R of all images so far.

        Raises:
            ArgumentError: Fewer than two images.
            DegenerateError: The predictor is constant on the images.
        """
        counts = _joined(self.counts)
        if counts.numel() == 0:
            raise ArgumentError("f_clean", "hold at least two images", 0, "Call update before compute.")
        means = _joined(self.means).reshape(counts.numel(), -1)
        moments = merge_moments(counts, means, _joined(self.scatters))
        return stability_from_moments(_joined(self.deformation_squares), _joined(self.noise_squares), moments)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of every state."""
        return torch.float64

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> Self:
        # `.to(torch.float32)` or half precision of the module around it must not round what was accumulated:
        # only the device follows.
        super()._apply(lambda tensor: tensor.to(fn(tensor).device), exclude_state)
        return self

    def _features(self) -> int:
        return sum(part.numel() for part in self.means) // sum(part.numel() for part in self.counts)


def _joined(state: list[Tensor] | Tensor) -> Tensor:
    """A list state in one tensor; torchmetrics hands over the tensor itself after a synchronisation."""
    if isinstance(state, Tensor):
        return state
    return torch.cat(state) if state else torch.empty(0, dtype=torch.float64)
