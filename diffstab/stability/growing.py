"""Rows of tensors that come in batches and are kept together."""

import torch
from torch import Tensor

_FIRST_ROWS = 64


class GrowingRows:
    """Rows in one block of memory on the CPU, twice as large whenever it is full.

    A small tensor for each batch would lie between blocks of the size of images, which the allocator could then not
    give back: a pass over many images would grow by about an image for each.
    """

    def __init__(self) -> None:
        self._block: Tensor | None = None
        self._count = 0

    def __len__(self) -> int:
        """Number of rows."""
        return self._count

    @property
    def rows(self) -> Tensor:
        """All rows so far, (rows, ...): a view, which further rows may leave behind."""
        return torch.empty(0) if self._block is None else self._block[: self._count]

    def add(self, rows: Tensor) -> None:
        """Copy rows (n, ...) behind those that are there; all have one shape and number type."""
        end = self._count + len(rows)
        if self._block is None or end > len(self._block):
            larger = rows.new_empty((max(_FIRST_ROWS, 2 * end), *rows.shape[1:]), device="cpu")
            if self._block is not None:
                larger[: self._count] = self.rows
            self._block = larger
        self._block[self._count : end] = rows
        self._count = end
