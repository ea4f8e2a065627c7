"""What D, G and R are computed from: additive over batches, workers and processes, three numbers per image.

    denominator = 2/(P-1) (sum_i |f_i - a|^2 - |sum_i (f_i - a)|^2 / P),   a any fixed shift

With the mean of the first batch as the shift, the two terms do not cancel; sums of other shifts merge exactly.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from diffstab.errors import ArgumentError, DegenerateError
from diffstab.stability.measures import (
    Stability,
    check_outputs,
    flat_outputs,
    median,
    output_mean,
    squared_changes,
    stability_from_numerators,
)


class StabilitySums(NamedTuple):
    """Sums over P images, from which their D, G and R follow.

    Attributes:
        shift: The vector a that outputs are counted from, shape (features,), float64.
        offset: sum_i (f_i - a), shape (features,), float64.
        per_image: |f(tau x) - f(x)|^2, |f(x + eta) - f(x)|^2 (averages over fields) and |f(x) - a|^2 of each image,
            shape (P, 3), float64. If they were measured, a fourth column has |f(b x) - f(x)|^2 (see `floor`) and a
            fifth |f(tau x) - tau f(x)|^2 (see `equivariance`). After `merged`, the third one is exact in the sum only.
    """

    shift: Tensor
    offset: Tensor
    per_image: Tensor

    @property
    def images(self) -> int:
        """Number of images, P."""
        return len(self.per_image)

    @property
    def spread(self) -> Tensor:
        """|f_i - mean f|^2 of each image, exact in the sum, shape (P,).

        A single one misses 2 (f_i - a).(a - mean f), which is small where the shift is near the mean: in the mean
        square, 4/B of its variance where the shift is the mean of B images. A value may be below zero by as much.
        """
        return self.per_image[:, 2] - self.offset.square().sum() / self.images**2

    @property
    def denominator(self) -> Tensor:
        """Mean of |f_i - f_j|^2 over pairs of distinct images; NaN for fewer than two."""
        scatter = self.per_image[:, 2].sum() - self.offset.square().sum() / self.images
        return 2 * scatter.clamp(min=0) / (self.images - 1) if self.images > 1 else scatter * torch.nan

    @property
    def floor(self) -> Tensor:
        """What D reads for reasons of interpolation alone; NaN where it was not measured.

        < |f(b x) - f(x)|^2 > over the denominator of D, b the blur that moves nothing and has the bandwidth of the
        deformation's interpolation at each pixel (`diffstab.stability.interpolation`).
        """
        return self._ratio_of_column(3)

    @property
    def equivariance(self) -> Tensor:
        """The part of D that is no mere moving of the layer's map; NaN where it was not measured, or for no map.

        < |f(tau x) - tau f(x)|^2 > over the denominator of D, for a layer whose output is a map (C, h, w) of the image:
        the same field, resized to its h x w pixels, warps it. 0 for a layer that only moves with its image.
        """
        return self._ratio_of_column(4)

    def beside_moving(self) -> "StabilitySums":
        """Sums whose D is `equivariance`: the change beside moving takes the place of the change, NaN if unknown."""
        per_image = self.per_image.clone()
        per_image[:, 0] = per_image[:, 4] if per_image.shape[1] > 4 else torch.nan
        return self._replace(per_image=per_image)

    def _ratio_of_column(self, column: int) -> Tensor:
        if column >= self.per_image.shape[1]:
            return self.denominator * torch.nan
        return self.per_image[:, column].mean() / self.denominator

    def rows(self, order: Tensor) -> "StabilitySums":
        """The same sums with their images in another order, (P,) integers."""
        return self._replace(per_image=self.per_image[order])

    def merged(self, other: "StabilitySums") -> "StabilitySums":
        """Sums of the union of two disjoint sets of images, counted from the shift of the first.

        Source: Chan, Golub, LeVeque, "Algorithms for computing the sample variance", The American Statistician 37
        (1983).
        """
        step = other.shift - self.shift
        theirs = other.per_image.clone()
        # Exact in the sum; of a single image, its deviation from their mean is left out along the step.
        theirs[:, 2] += step.square().sum() + 2 * (other.offset @ step) / other.images
        return StabilitySums(
            self.shift,
            self.offset + other.offset + other.images * step,
            torch.cat([self.per_image, theirs]),
        )

    def stability(self) -> Stability:
        """D, G and R.

        Raises:
            ArgumentError: Fewer than two images.
            DegenerateError: The predictor is constant on the images.
        """
        if self.images < 2:
            way_out = "The denominator runs over pairs."
            raise ArgumentError("f_clean", "hold at least two images", self.images, way_out)
        if not bool(self.denominator > 0):
            message = "The predictor is constant on these images: D, G and R are undefined (0 / 0)."
            raise DegenerateError(message)
        return self.ratios()

    def ratios(self) -> Stability:
        """As `stability`, with NaN for what is undefined."""
        changes, denominator = self.per_image[:, :2], self.denominator
        medians = torch.stack([median(column) for column in changes.T])
        result = stability_from_numerators(changes.mean(dim=0), medians, denominator)
        if bool(denominator > 0):
            return result
        nan = torch.full_like(denominator, torch.nan)
        kept = ("deformation_numerator", "noise_numerator", "denominator")
        return Stability(*[x if name in kept else nan for name, x in result._asdict().items()])


def joined_sums(parts: Sequence[StabilitySums]) -> StabilitySums:
    """Sums over the union of one or more disjoint sets of images that are counted from the same shift."""
    offset = torch.stack([part.offset for part in parts]).sum(dim=0)
    return StabilitySums(parts[0].shift, offset, torch.cat([part.per_image for part in parts]))


def stability_sums(
    f_clean: Tensor, f_deformed: Tensor, f_noisy: Tensor, *, shift: Tensor | None = None
) -> StabilitySums:
    """Sums over a batch of P >= 1 images.

    Args:
        f_clean: Outputs on the images, shape (P,) or (P, ...).
        f_deformed: On their deformed versions: the same shape, or (k, P, ...) for k fields per image.
        f_noisy: On their noisy versions, likewise.
        shift: What to count outputs from, shape (features,), float64; their mean when None.

    Raises:
        ArgumentError: Shapes do not fit, values that are not finite.
    """
    deformation = squared_changes(f_clean, f_deformed, argument="f_deformed")
    noise = squared_changes(f_clean, f_noisy, argument="f_noisy")
    return sums_from_changes(f_clean, deformation, noise, shift=shift)


def sums_from_changes(
    f_clean: Tensor, deformation_squares: Tensor, noise_squares: Tensor, *, shift: Tensor | None = None
) -> StabilitySums:
    """As `stability_sums`, from the squared changes of each image, both (P,)."""
    check_outputs(f_clean, argument="f_clean")
    outputs = flat_outputs(f_clean)
    shift = output_mean(outputs) if shift is None else shift.to(outputs.device)
    if shift.numel() != outputs.shape[1]:
        condition = f"have {shift.numel()} features like the batches before"
        raise ArgumentError("f_clean", condition, outputs.shape[1])
    shifted = outputs - shift
    columns = [deformation_squares, noise_squares, shifted.square().sum(dim=1)]
    return StabilitySums(shift, shifted.sum(dim=0), torch.stack(columns, dim=1))


def stability(f_clean: Tensor, f_deformed: Tensor, f_noisy: Tensor) -> Stability:
    """D, G and R of a predictor from its outputs on P images, their deformed and their noisy versions.

    The denominator runs over pairs of distinct images in O(P): 2/(P-1) sum_i |f_i - mean f|^2.
    D, G and R are unchanged by f -> a f + b.

    Args:
        f_clean: Outputs f(x_i), shape (P,), (P, classes) or (P, ...); all axes but the first are flattened.
        f_deformed: Outputs f(tau x_i) of the same shape, or (k, P, ...) for k fields per image.
        f_noisy: Outputs f(x_i + eta), likewise.

    Returns:
        Float64 scalars on the device of the outputs.

    Raises:
        ArgumentError: P < 2, shapes that do not fit, values that are not finite.
        DegenerateError: The predictor is constant on the images.

    Source: arXiv 2105.02468, section 3.
    """
    return stability_sums(f_clean, f_deformed, f_noisy).stability()
