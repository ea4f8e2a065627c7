"""The relu kernels in float32 and block by block, for more points than float64 has room for."""

import hashlib

import torch
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.kernels.infinite_width import (
    UnitPoints,
    fill,
    ntk,
    random_feature_kernel,
    relu_tiles,
    unit_points,
)
from diffstab.kernels.workers import shared_out

_ROWS_AT_ONCE = 256
"""Rows of the kernel that a thread makes at once."""

KERNELS = {"ntk": ntk, "random_feature": random_feature_kernel}
"""The exact kernels in float64, by name."""


class BlockKernel:
    """A kernel of an infinitely wide relu network on one set of points, any part of its matrix at a time.

    Entries are in float32: off by some 1e-6 of the diagonal. `exact_rows` are in float64.

    Args:
        points: Shape (n, ...), floating point, flattened to (n, d).
        kernel: "ntk" or "random_feature".
        depth: Number of hidden layers, at least 1.

    Attributes:
        points: As given.
        diagonal: K(x_i, x_i), shape (n,), float64.
        fingerprint: Equal for equal points, kernel and depth.

    Raises:
        ArgumentError: Points are not floating or not finite, or an option is out of range.
    """

    def __init__(self, points: Tensor, *, kernel: str = "ntk", depth: int = 1) -> None:
        if kernel not in KERNELS:
            raise ArgumentError("kernel", "be 'ntk' or 'random_feature'", repr(kernel))
        if isinstance(depth, bool) or not isinstance(depth, int) or depth < 1:
            raise ArgumentError("depth", "be an integer >= 1, the number of hidden layers", repr(depth))
        self.points, self._exact = points, KERNELS[kernel]
        self._depth, self._tangent = depth, kernel == "ntk"
        found = unit_points("images", points)
        # At angle 0 each layer adds 1 to the tangent kernel, which begins at 1, and leaves the other at 1.
        at_zero = (depth + 1 if self._tangent else 1) * 0.5**depth
        self.diagonal = found.deviation.square() * at_zero
        self._own = UnitPoints(found.direction.float(), found.deviation.float())
        self.fingerprint = self._hashed(f"{kernel}, depth {depth}")

    def __len__(self) -> int:
        return len(self.points)

    def block(self, rows: slice, columns: slice) -> Tensor:
        """Return K(x_i, x_j) for slices of the points, float32."""
        return self._entries(_part(self._own, rows), _part(self._own, columns))

    def columns(self, places: Tensor) -> Tensor:
        """Return K(x_i, x_j) for all i and some j, shape (n, k), float32."""
        some = _part(self._own, places)
        parts = slices(len(self), _ROWS_AT_ONCE)
        return torch.cat(shared_out(lambda rows: self._entries(_part(self._own, rows), some), parts))

    def exact_rows(self, places: Tensor) -> Tensor:
        """Return K(x_i, x_j) for some i and all j, shape (k, n), float64."""
        one = [self.points[places]]  # by one thread: each would need a copy of all points in float64
        return shared_out(lambda rows: self._exact(rows, self.points, depth=self._depth), one)[0]

    def expansion(self, images: Tensor, dual: Tensor) -> Tensor:
        """Return sum_j K(x, x_j) a_j for new points x.

        Args:
            images: Shape (m, ...), floating point. Entries of the kernel are in float64 if these are, else in float32.
            dual: a, shape (n, outputs), float64.

        Returns:
            Shape (m, outputs), float64.

        Raises:
            ArgumentError: Points that do not fit.
        """
        if images.dtype == torch.float64:
            strips = [
                self._exact(part, self.points, depth=self._depth) @ dual for part in torch.split(images, 256)
            ]
            return torch.cat(strips)
        found = unit_points("images", images)
        if found.direction.shape[1] != self._own.direction.shape[1]:
            expected = f"have {self._own.direction.shape[1]} pixels, as the training images"
            raise ArgumentError("images", expected, found.direction.shape[1])
        rows = UnitPoints(found.direction.float(), found.deviation.float())
        parts = slices(len(images), _ROWS_AT_ONCE)
        return torch.cat(shared_out(lambda part: self._strip(_part(rows, part), dual), parts))

    def _strip(self, rows: UnitPoints, dual: Tensor) -> Tensor:
        total = dual.new_zeros(len(rows.deviation), dual.shape[1])
        for part in slices(len(self), 4 * _ROWS_AT_ONCE):
            total += self._entries(rows, _part(self._own, part)).double() @ dual[part]
        return total

    @torch.no_grad()
    def _entries(self, rows: UnitPoints, columns: UnitPoints) -> Tensor:
        tile = relu_tiles(rows, columns, self._depth, self._tangent)
        return fill(rows, columns, tile, symmetric=False)

    def _hashed(self, options: str) -> str:
        digest = hashlib.sha256(options.encode())
        for values in self._own:
            digest.update(values.cpu().numpy().tobytes())
        return digest.hexdigest()[:16]


def slices(count: int, length: int) -> list[slice]:
    """Return slices of a length that cover so many places, the last one shorter."""
    return [slice(start, min(start + length, count)) for start in range(0, count, length)]


def _part(points: UnitPoints, places: slice | Tensor) -> UnitPoints:
    return UnitPoints(points.direction[places], points.deviation[places])
