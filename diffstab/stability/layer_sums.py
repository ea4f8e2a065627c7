"""Reduce what a layer puts out on versions of images to its sums, at once and without keeping it.

Reductions are made in float32, in float64 for float64 outputs, for small ones (logits) and where squares would leave
the range of float32; half precision is lifted to float32.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.stability.trial import ImageAxis, layer_text

_SMALL = 4096  # features up to which everything is made in float64: it costs nothing there
_SCRATCH = 1 << 19  # entries of the work array on the CPU, 2 MB in float32: it stays in the cache
_FEWEST = 1024  # features in one block at least
_RANGE = (1e-12, 1e12)  # largest values whose squares float32 holds with room


class LayerSums:
    """Sums of one layer over images, counted from the mean of the first of them.

    Args:
        name: Of the layer, for errors.
        axis: Where the images are in its output.
    """

    def __init__(self, name: str, axis: ImageAxis) -> None:
        self.name, self._axis = name, axis
        self.shift: Tensor
        self.offset: Tensor
        self._base: Tensor | None = None
        self._seen, self._peak = 0, 0.0
        self._dtype = torch.float32

    def look(self, output: Tensor, images: int) -> None:
        """Take in the output on some of the first images, of which the mean will be the shift."""
        values = self._by_images(output, images)
        self._peak = max(self._peak, float(torch.stack(values.aminmax()).abs().max()))
        self._dtype = self._work_dtype(output)
        values = values.to(self._dtype)
        if self._base is None:
            # Deviations from one of them: of a constant layer, the mean is the constant to the bit.
            self._base = values[0].to(_accurate(output.device), copy=True)
            self._total = torch.zeros_like(self._base)
        self._total += (values - self._base.to(self._dtype)).sum(dim=0)
        self._seen += images

    def settle(self) -> None:
        """Set the shift; from here on images are counted."""
        assert self._base is not None
        mean = self._base + self._total / self._seen
        self.shift, self.offset = mean.to(self._dtype), torch.zeros_like(mean)
        self._base, self._total = None, mean.new_empty(0)

    def add(self, output: Tensor, *, images: int, versions: int) -> Tensor:
        """Take in the output on a stack of versions, the clean images first.

        Args:
            output: On versions * images inputs.
            images: n.
            versions: Of each image, itself included.

        Returns:
            (n, versions) on the device of the output: |f(x) - shift|^2, then |f(version) - f(x)|^2.
        """
        values = self._by_images(output, versions * images).view(versions, images, -1)
        if values.shape[2] != len(self.shift):
            condition = f"have {len(self.shift)} features like the images before"
            raise ArgumentError(layer_text(self.name), condition, values.shape[2])
        result = torch.zeros((versions, images), dtype=self._dtype, device=values.device)
        width = self._block(values)
        scratch = self._scratch(values[0, :, :width])
        for start in range(0, values.shape[2], width):
            part = slice(start, start + width)
            block = values[:, :, part]
            self._add_block(result, block, part, None if scratch is None else scratch[:, : block.shape[2]])
        return result.T

    def beside_moving(
        self,
        output: Tensor,
        move: Callable[[Tensor], Tensor] | None,
        *,
        images: int,
        version: int,
        size: tuple[int, int],
    ) -> Tensor:
        """|f(tau x) - tau f(x)|^2 of each image, (n,), for an output that is a map of it; else NaN.

        Args:
            output: As of `add`.
            move: Applies the deformation to maps (n, C, h, w); None where it is not known.
            images: n.
            version: Place of tau x among the versions.
            size: Height and width of the images.
        """
        total = output.shape[self._axis.axis] // self._axis.parts
        values = _as_maps(self._axis.first(output.detach(), total, name=self.name), size)
        if move is None or values is None:
            return torch.full((images,), torch.nan, dtype=self._dtype, device=output.device)
        clean, moved = (
            values[place * images : (place + 1) * images].to(self._dtype) for place in (0, version)
        )
        return _squares((moved - move(clean)).flatten(1))

    def _add_block(self, result: Tensor, values: Tensor, part: slice, scratch: Tensor | None) -> None:
        clean, *changed = values.unbind(dim=0)
        difference = self._difference(clean, self.shift[part].expand_as(clean), scratch)
        result[0] += _squares(difference)
        self.offset[part] += difference.sum(dim=0)
        for row, version in zip(result[1:], changed, strict=True):
            row += _squares(self._difference(version, clean, scratch))

    def _difference(self, first: Tensor, second: Tensor, scratch: Tensor | None) -> Tensor:
        if first.dtype != self._dtype or second.dtype != self._dtype:
            first, second = first.to(self._dtype), second.to(self._dtype)
        return torch.sub(first, second, out=scratch)

    def _scratch(self, like: Tensor) -> Tensor | None:
        """A work array on the CPU, where making one anew costs more than the work."""
        return torch.empty(like.shape, dtype=self._dtype) if like.device.type == "cpu" else None

    def _block(self, values: Tensor) -> int:
        if values.device.type != "cpu":
            return max(1, int(values.shape[2]))
        return max(_FEWEST, _SCRATCH // max(1, int(values.shape[1])))

    def _by_images(self, output: Tensor, images: int) -> Tensor:
        return self._axis.first(output.detach(), images, name=self.name).reshape(images, -1)

    def _work_dtype(self, output: Tensor) -> torch.dtype:
        accurate = _accurate(output.device)
        small = output.numel() <= _SMALL * max(1, output.shape[self._axis.axis] // self._axis.parts)
        far = self._peak > 0 and not _RANGE[0] < self._peak < _RANGE[1]
        return accurate if output.dtype == torch.float64 or small or far else torch.float32


def _as_maps(values: Tensor, size: tuple[int, int]) -> Tensor | None:
    """Outputs as maps (n, C, h, w): from (n, C, h, w) or (n, h, w, C) with sides as those of the images; else None."""
    if values.ndim != 4:
        return None
    for order in ((0, 1, 2, 3), (0, 3, 1, 2)):
        height, width = (values.shape[axis] for axis in order[2:])
        # In proportion, up to a pixel.
        if min(height, width) > 1 and abs(height * size[1] - width * size[0]) <= max(size):
            return values.permute(order)
    return None


def _squares(difference: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(difference, dim=1)
    return norms.square_()


def _accurate(device: torch.device) -> torch.dtype:
    """Float64, or float32 on a device without it (Apple's MPS)."""
    return torch.float32 if device.type == "mps" else torch.float64
