"""The symmetric kernel matrix of many points: its upper half in float32, in memory or in files."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diffstab.kernels.block_kernel import BlockKernel, slices
from diffstab.kernels.workers import shared_out

_SIDE = 1024
"""Rows of a panel, and side of the blocks that are multiplied at once: 4 MB, read from memory once per product."""

_SUMS = 4
"""Sums of a product that threads add up independently, whatever their number, so that it changes no bit."""

Tell = Callable[[Mapping[str, float]], object]
"""Takes named numbers now and then."""


class GramPanels:
    """The matrix K(x_i, x_j) for products with many vectors at once.

    Panel p holds the rows from p B on, B of them, and the columns from p B on. Symmetric to the bit.

    Args:
        kernel: On the points.
        folder: Folder for a file per panel, mapped into memory; those that are there already, of the same points and
            kernel, are taken. None keeps all in memory, 2 n^2 bytes.
        tell: Told the share of the panels that are there, as "matrix".

    Attributes:
        folder: As given.
    """

    def __init__(self, kernel: BlockKernel, *, folder: Path | None = None, tell: Tell | None = None) -> None:
        self.folder = folder
        self._parts = slices(len(kernel), _SIDE)
        self._panels = shared_out(
            lambda rows: self._made(kernel, rows),
            self._parts,
            after=lambda done: tell({"matrix": done / len(self._parts)}) if tell else None,
        )

    def product(self, vectors: Tensor, *, exact: bool = False) -> Tensor:
        """Return K v.

        Args:
            vectors: v, shape (n, columns), float64.
            exact: Multiply in float64; else blocks multiply in float32. Both add up the blocks in float64.

        Returns:
            Shape (n, columns), float64.
        """
        operand = vectors if exact else vectors.float()
        # Long and short panels in every sum.
        shares = [range(first, len(self._parts), _SUMS) for first in range(_SUMS)]
        total = torch.zeros_like(vectors)
        for part in shared_out(lambda places: self._sum(places, operand), shares):
            total += part
        return total

    def _sum(self, places: Iterable[int], operand: Tensor) -> Tensor:
        """Return what some panels, and their transposes, contribute to a product."""
        total = torch.zeros_like(operand, dtype=torch.float64)
        for place in places:
            rows, panel = self._parts[place], self._panels[place]
            for columns in self._parts[place:]:
                block = panel[:, columns.start - rows.start : columns.stop - rows.start].to(operand.dtype)
                total[rows] += block @ operand[columns]
                if columns != rows:
                    total[columns] += block.T @ operand[rows]
        return total

    def _made(self, kernel: BlockKernel, rows: slice) -> Tensor:
        if self.folder is None:
            return _panel(kernel, rows)
        path = self.folder / f"{kernel.fingerprint}_{rows.start:07d}_{rows.stop - rows.start}.npy"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            # No fsync, unlike results: a file that a crash of the system spoils costs a panel, not a record.
            draft = path.with_suffix(".part")
            with draft.open("wb") as stream:
                np.save(stream, _panel(kernel, rows).cpu().numpy())
            draft.replace(path)
        # Copy on write: PyTorch wants arrays that can be written to, and nobody does.
        return torch.from_numpy(np.load(path, mmap_mode="c")).to(kernel.diagonal.device)


def _panel(kernel: BlockKernel, rows: slice) -> Tensor:
    panel = kernel.block(rows, slice(rows.start, len(kernel)))
    square = panel[:, : len(panel)]
    square.copy_((square + square.T) / 2)
    square.diagonal().copy_(kernel.diagonal[rows])
    return panel
