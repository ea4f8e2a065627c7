"""D, G and R as torchmetrics Metrics: exact under any batching, order and number of processes."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple, Self, cast

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.utilities.exceptions import TorchMetricsUserError

from diffstab.errors import ArgumentError, DegenerateError
from diffstab.stability.bootstrap import Samples, StabilityInterval, bootstrap_interval
from diffstab.stability.measures import Stability, double_device
from diffstab.stability.sums import StabilitySums, stability_sums

_PER_IMAGE = 3  # numbers kept of each image


class _Totals(NamedTuple):
    """The part of the state that does not grow: as a row of 2 + 2 features numbers, float64."""

    images: int
    shift: Tensor
    offset: Tensor

    @classmethod
    def of(cls, row: Tensor) -> Self:
        features = int(row[0])
        return cls(int(row[1]), row[2 : 2 + features], row[2 + features :])

    def row(self) -> Tensor:
        sizes = self.offset.new_tensor([self.offset.numel(), self.images])
        return torch.cat([sizes, self.shift.to(sizes), self.offset])


class StabilityMetric(Metric):
    """One of D, G and R of a predictor over all batches that it was updated with.

    Equal to `stability` on all images at once to float64 round-off. The state is two vectors of the size of an
    output, and three float64 per image (for medians and intervals). A batch of one image is fine as long as two
    images come in all. `forward` gives the number on the batch alone, NaN where that is undefined.

    The state stays in float64 whatever `half()` or a precision around asks for.
    """

    is_differentiable = False
    higher_is_better: bool | None = False
    full_state_update = False
    plot_lower_bound = 0.0
    quantity: ClassVar[str]  # the field of `Stability` that `compute` returns
    totals: list[Tensor]
    per_image: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # Lists of 1-d tensors that torchmetrics concatenates: processes then may have seen other numbers of
        # images, or none.
        for name in ("totals", "per_image"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, f_clean: Tensor, f_deformed: Tensor, f_noisy: Tensor) -> None:
        """Add a batch: outputs as in `diffstab.stability.stability`; raises ArgumentError like it."""
        self._join_rows()
        shift = _Totals.of(self.totals[0]).shift if self.totals else None
        self._add(stability_sums(f_clean, f_deformed, f_noisy, shift=shift))

    def forward(self, f_clean: Tensor, f_deformed: Tensor, f_noisy: Tensor) -> Tensor:
        """Add a batch, and return the number on the batch alone: NaN where it is undefined.

        With `dist_sync_on_step`, on the batches of all processes.
        """
        if self._is_synced:
            raise TorchMetricsUserError("The metric is synchronised: call `unsync` before `forward`.")
        self.update(f_clean, f_deformed, f_noisy)
        kept = {name: getattr(self, name) for name in self._defaults}
        try:
            self.totals, self.per_image = [], []
            self._add(stability_sums(f_clean, f_deformed, f_noisy))
            with self._synchronised(self.dist_sync_on_step):
                number = self._number_or_nan()
        finally:
            for name, state in kept.items():
                setattr(self, name, state)
        self._forward_cache: Any = number
        return number

    def compute(self) -> Tensor:
        """The number over all images so far, a float64 scalar.

        Raises:
            ArgumentError: Fewer than two images.
            DegenerateError: The predictor is constant on the images.
        """
        return self._number_of(self._stability())

    def stability(self) -> Stability:
        """D, G and R with the averages and medians they are made of; raises like `compute`."""
        with self._synchronised(self.sync_on_compute):
            return self._stability()

    def interval(
        self, *, resamples: int = 1000, confidence: float = 0.95, generator: torch.Generator
    ) -> StabilityInterval:
        """Bootstrap intervals over the images of D, G, R and their parts.

        Raises:
            ArgumentError: Fewer than two images, or an argument is out of range.
            DegenerateError: The predictor is constant on the images.
        """
        with self._synchronised(self.sync_on_compute):
            self._stability()  # refuses where there is none
            sums = cast("StabilitySums", self.sums())
            return bootstrap_interval(
                Samples.of(sums), resamples=resamples, confidence=confidence, generator=generator
            )

    def reset(self) -> None:
        """Forget all images."""
        self.totals, self.per_image = (
            [],
            [],
        )  # torchmetrics empties lists in place, also those that others hold
        super().reset()

    def sums(self) -> StabilitySums | None:
        """What was accumulated, of this process alone outside `compute`; None before the first batch."""
        rows = [_Totals.of(row) for row in _rows(self.totals)]
        if not rows:
            return None
        per_image = torch.split(_joined(self.per_image).view(-1, _PER_IMAGE), [row.images for row in rows])
        parts = zip(rows, per_image, strict=True)
        merged, *others = [StabilitySums(row.shift, row.offset, part) for row, part in parts]
        for other in others:
            merged = merged.merged(other)
        return merged

    def plot(self, val: Tensor | Sequence[Tensor] | None = None, ax: Any = None) -> Any:
        """Draw the number, or numbers of several steps, as torchmetrics does: returns figure and axes."""
        return self._plot(val, ax)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of every state."""
        return torch.float64

    def _add(self, batch: StabilitySums) -> None:
        """Append a batch that is counted from the shift of what was before."""
        totals, per_image = _Totals(batch.images, batch.shift, batch.offset), batch.per_image
        if self.totals:
            before = _Totals.of(self.totals[0])
            offset = before.offset + batch.offset.to(before.offset)
            totals = _Totals(before.images + batch.images, before.shift, offset)
            per_image = per_image.to(before.offset)
        # New lists, so that nobody's references to the old state change under them.
        self.totals, self.per_image = [totals.row()], [*self.per_image, per_image.flatten()]

    def _reduce_states(self, incoming_state: dict[str, Any]) -> None:
        """Merge another metric's state, as torchmetrics asks for in `merge_state` and in its wrappers."""
        super()._reduce_states(incoming_state)
        self._join_rows()

    def _join_rows(self) -> None:
        if not isinstance(self.totals, list) or len(self.totals) > 1:
            merged = self.sums()
            self.totals, self.per_image = [], []
            if merged is not None:
                self._add(merged)

    def _stability(self) -> Stability:
        sums = self.sums()
        if sums is None:
            raise ArgumentError("f_clean", "hold at least two images", 0, "Call update before compute.")
        return sums.stability()

    def _number_of(self, stability: Stability) -> Tensor:
        number: Tensor = getattr(stability, self.quantity)
        return number

    def _number_or_nan(self) -> Tensor:
        try:
            return self._number_of(self._stability())
        except (ArgumentError, DegenerateError):
            return torch.full((), torch.nan, dtype=torch.float64, device=_joined(self.totals).device)

    def _synchronised(self, wanted: bool) -> Any:
        return self.sync_context(
            dist_sync_fn=self.dist_sync_fn, should_sync=wanted and not self._is_synced, should_unsync=wanted
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> Self:
        # `.to(torch.float32)` or half precision of the module around it must not round what was accumulated:
        # only the device follows.
        def moved(tensor: Tensor) -> Tensor:
            return tensor.to(double_device(fn(tensor.new_empty(0, dtype=torch.float32)).device))

        super()._apply(moved, exclude_state)
        return self


class DeformationStability(StabilityMetric):
    """D: mean squared change of the output under a deformation, over that between two images."""

    quantity = "deformation"


class NoiseStability(StabilityMetric):
    """G: mean squared change of the output under noise, over that between two images."""

    quantity = "noise"
    higher_is_better = None  # it says how rough a predictor is, not how good


class RelativeStability(StabilityMetric):
    """R = D / G.

    Args:
        **kwargs: Those of `torchmetrics.Metric`.

    Example:
        >>> metric = RelativeStability()
        >>> f = torch.tensor([0.0, 1.0, 3.0])
        >>> metric.update(f, f + 1, f + 2)
        >>> float(metric.compute())
        0.25
    """

    quantity = "relative"


def stability_metrics(prefix: str | None = None, **kwargs: Any) -> MetricCollection:
    """D, G and R together, in one state.

    Args:
        prefix: Put before the names "D", "G" and "R".
        **kwargs: Those of `torchmetrics.Metric`.

    Example:
        >>> metrics = stability_metrics("test_")
        >>> f = torch.tensor([0.0, 1.0, 3.0])
        >>> metrics.update(f, f + 1, f + 2)
        >>> {name: round(float(value), 4) for name, value in metrics.compute().items()}
        {'test_D': 0.2143, 'test_G': 0.8571, 'test_R': 0.25}
    """
    kinds = {"D": DeformationStability, "G": NoiseStability, "R": RelativeStability}
    members: dict[str, Any] = {name: kind(**kwargs) for name, kind in kinds.items()}
    return MetricCollection(members, prefix=prefix, compute_groups=[list(kinds)])


def _rows(totals: list[Tensor] | Tensor) -> list[Tensor]:
    """One row for each process or merged metric."""
    joined = _joined(totals)
    return list(joined.view(-1, 2 + 2 * int(joined[0]))) if joined.numel() else []


def _joined(state: list[Tensor] | Tensor) -> Tensor:
    """A list state in one tensor; torchmetrics hands over the tensor itself after a synchronisation."""
    if isinstance(state, Tensor):
        return state
    return torch.cat(state) if state else torch.empty(0, dtype=torch.float64)
