"""Scale detection: are two bright pixels nearer to each other than a characteristic scale?"""

from typing import Any, Literal

import torch
from torch import Tensor

from datamodules.base import ImageDataModule, Labels
from datamodules.normalisation import Normalisation
from datamodules.regression import check_least
from datamodules.splits import Source, Split, balanced_order
from diffstab.errors import ArgumentError
from diffstab.streams import stream

N_TEST = 2000  # at most a quarter of all images
LARGEST = 2048  # pixels: there are two million pairs of them


class ScaleDetection(ImageDataModule):
    r"""Black images with two bright pixels, and whether their distance r is below or above a scale xi; no files.

    Class 0, near: r < xi - gap. Class 1, far: r >= xi + gap. Images between are left out. Distances are Euclidean, on a
    torus if `periodic`, so that no pixel is special. Every pair of pixels is one image.

    The scale at which a net must pool follows: in one dimension the largest sum over windows of w pixels is 2 where
    r < w, and 1 elsewhere, so it tells the classes apart for whole w with xi - gap <= w <= xi + gap, and at gap 0 for
    w = xi alone. (Gaussian windows of width sigma sum up to a map of squared norm |g|^2 (2 + 2 exp(-r^2 / 4 sigma^2)):
    its slope at r = xi is steepest for sigma = xi / 2.)

    Args:
        side: Side of the image in pixels.
        scale: xi in pixels, above the gap.
        gap: Half the width of the band of distances that is left out, at least 0.
        dimensions: 2 for square images, 1 for a single row of pixels.
        periodic: Whether opposite sides are neighbours.
        pool: Number of images that training sets are drawn from, if there are as many.
        labels: As of `ImageDataModule`.
        normalisation: As of `ImageDataModule`.
        kwargs: Further arguments of `ImageDataModule`; `root` is not used, and `size` stays None.

    Raises:
        ArgumentError: If a number is out of range, or a class has fewer than two images.

    Source: Tomasini, Petrini, Cagnetta, Wyart 2022 (arXiv 2210.01506); the two laws of pooling are derived here.
    """

    name = "scale_detection"

    def __init__(
        self,
        *,
        side: int = 16,
        scale: float = 5.0,
        gap: float = 0.0,
        dimensions: Literal[1, 2] = 2,
        periodic: bool = True,
        pool: int = 20_000,
        labels: Labels = "classes",
        normalisation: Normalisation = "none",
        **kwargs: Any,
    ) -> None:
        super().__init__(labels=labels, normalisation=normalisation, **kwargs)
        if self.size is not None:
            raise ArgumentError("size", "be None", self.size, "The side of the images is `side`.")
        check_least("side", side, 3)
        if dimensions not in (1, 2) or side**dimensions > LARGEST:
            received = f"{dimensions} with side {side}"
            raise ArgumentError("dimensions", f"be 1 or 2 with {LARGEST} pixels at most", received)
        if not 0 <= gap < scale:
            raise ArgumentError("gap", f"lie in [0, scale = {scale})", gap)
        if pool < (self.n_train or 1):
            raise ArgumentError("pool", f"be at least n_train = {self.n_train or 1}", pool)
        self.side, self.scale, self.gap, self.pool = side, scale, gap, pool
        self.dimensions, self.periodic = dimensions, periodic

    def read(self) -> Source:
        """List the pairs of pixels, and draw test and training split."""
        pairs, distances = self.pairs()
        low, high = self.scale - self.gap, self.scale + self.gap
        kept = (distances < low) | (distances >= high)
        pairs, classes = pairs[kept], (distances[kept] >= high).long()
        if min(counts := [int((classes == one).sum()) for one in (0, 1)]) < 2:
            received = f"{counts[0]} near and {counts[1]} far pairs"
            raise ArgumentError("scale", "leave two pairs of pixels at least on either side", received)
        order = balanced_order(classes, generator=stream(0, "division of the pairs"))
        tests = min(N_TEST, len(order) // 4)
        parts = order[:tests], order[tests : tests + self.pool]
        test, train = (Split(self._images(pairs[part]), classes[part]) for part in parts)
        return Source(train, test, ("near", "far"), white=1)

    def pairs(self) -> tuple[Tensor, Tensor]:
        """Return all pairs of pixels (n, 2), as numbers along the rows, and their distances (n,) in pixels."""
        pairs = torch.combinations(torch.arange(self.side**self.dimensions))
        columns = [pairs % self.side, pairs // self.side]
        steps = [(column[:, 0] - column[:, 1]).abs() for column in columns]
        if self.periodic:
            steps = [torch.minimum(step, self.side - step) for step in steps]
        squares = sum((step.square() for step in steps), torch.zeros(len(pairs), dtype=torch.int64))
        return pairs, squares.double().sqrt()

    def _images(self, pairs: Tensor) -> Tensor:
        images = torch.zeros(len(pairs), self.side**self.dimensions, dtype=torch.uint8)
        images.scatter_(1, pairs, 1)
        return images.view(len(pairs), 1, -1, self.side)
