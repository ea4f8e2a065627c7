"""What a pass over images has summed up: additive over passes, loaders' workers and processes."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.stability.draws import DrawSummary
from diffstab.stability.sums import StabilitySums

LayerKey = tuple[int, str]
"""Place of the deformation among those of the pass, name of the layer."""


class PassSums(NamedTuple):
    """Sums over P images, in the order of their numbers.

    Attributes:
        numbers: Places of the images in their data set, ascending, shape (P,).
        sums: By deformation and layer.
        draws: How the versions of each deformation were drawn.
    """

    numbers: Tensor
    sums: Mapping[LayerKey, StabilitySums]
    draws: Sequence[DrawSummary]

    def merged(self, other: "PassSums") -> "PassSums":
        """Sums over the union of two sets of images, measured on the same layers, deformations and seed.

        D, G and R are those of one pass to rounding; intervals differ a little, as each pass counts from the mean of
        its own first images.

        Raises:
            ArgumentError: Sets have images in common, or layers or deformations differ.
        """
        numbers = torch.cat([self.numbers, other.numbers])
        if len(set(numbers.tolist())) < len(numbers):
            received = "images that both have"
            raise ArgumentError(
                "other", "have other images", received, "Count each image in one process only."
            )
        if self.sums.keys() != other.sums.keys() or len(self.draws) != len(other.draws):
            raise ArgumentError("other", "be of the same layers and deformations", sorted(other.sums))
        order = numbers.argsort()
        sums = {key: one.merged(other.sums[key]).rows(order) for key, one in self.sums.items()}
        draws = [DrawSummary.joined(pair).rows(order) for pair in zip(self.draws, other.draws, strict=True)]
        return PassSums(numbers[order], sums, draws)


def gathered(own: PassSums | None) -> PassSums | None:
    """Sums over the images of all processes of a running group, the same in each; every process must call it.

    Args:
        own: Of this process; None if it has seen no image.

    Returns:
        None if no process has seen an image. Alone, what was given.
    """
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return own
    parts: list[PassSums | None] = [None] * distributed.get_world_size()
    distributed.all_gather_object(parts, own)
    merged: PassSums | None = None
    for part in parts:
        if part is not None:
            merged = part if merged is None else merged.merged(part)
    return merged
