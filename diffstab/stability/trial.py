"""Look at a few images first: where the images are in each layer's output, and whether outputs can be trusted."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.stability.measures import check_outputs, flat_outputs
from diffstab.stability.predictors import tell_if_unsteady

TRIAL_IMAGES = 5  # enough to see which axis of a layer runs over the images
_SAME = 0.05  # of the layer's root mean square: half precision rounds to less, another order is off by 1


class ImageAxis(NamedTuple):
    """Where the images are in an output: in `parts` equal parts along an axis, one after another."""

    axis: int
    parts: int

    def first(self, output: Tensor, images: int, *, name: str) -> Tensor:
        """The output with its images first, (images, ...).

        Raises:
            ArgumentError: The output has another number of entries along the axis.
        """
        if output.ndim <= self.axis or output.shape[self.axis] != self.parts * images:
            condition = f"have {self.parts * images} entries along axis {self.axis} for {images} images"
            raise ArgumentError(layer_text(name), condition, f"shape {tuple(output.shape)}")
        moved = output.movedim(self.axis, 0)
        return moved.reshape(images, self.parts, *moved.shape[1:]) if self.parts > 1 else moved


class Trial(NamedTuple):
    """Outputs of the layers on n images and on the first m of them, and the axes that follow."""

    many: Mapping[str, Tensor]
    few: Mapping[str, Tensor]
    images: int
    axes: dict[str, ImageAxis]

    @classmethod
    def run(cls, outputs: Callable[[Tensor], Mapping[str, Tensor]], images: Tensor) -> "Trial":
        """Evaluate layers on some of the images.

        Args:
            outputs: Gives copies of what the layers put out on images.
            images: One or more; `TRIAL_IMAGES` at most are used.

        Raises:
            ArgumentError: A layer has no axis over the images, or its output is not floating.
        """
        count = min(len(images), TRIAL_IMAGES)
        fewer = max(1, count // 2)
        many, few = outputs(images[:count]), outputs(images[:fewer])
        axes = {name: _image_axis(name, many[name], few.get(name), count, fewer) for name in many}
        return cls(many, few, fewer, axes)

    def tell_if_unsteady(
        self, outputs: Callable[[], Mapping[str, Tensor]], smallest: Mapping[str, float]
    ) -> None:
        """Warn of layers that change between two calls or with the other images of the batch.

        Args:
            outputs: Evaluates the layers once more on the m images.
            smallest: Of each layer the smaller mean squared change, by deformation or noise.
        """
        for name, axis in self.axes.items():
            entries = self.many[name].shape[axis.axis] // axis.parts
            tell_if_unsteady(
                axis.first(self.many[name], entries, name=name)[: self.images],
                axis.first(self.few[name], self.images, name=name),
                partial(self._again, outputs, name),
                smallest=smallest[name],
                what=f"layer {name!r}" if name else "the predictor",
            )

    def _again(self, outputs: Callable[[], Mapping[str, Tensor]], name: str) -> Tensor:
        return self.axes[name].first(outputs()[name], self.images, name=name)


def layer_text(name: str) -> str:
    """How errors name a layer's output."""
    return f"output of {name!r}" if name else "output of the model"


def _image_axis(name: str, many: Tensor, few: Tensor | None, count: int, fewer: int) -> ImageAxis:
    """Find the axis of an output that runs over the images, from outputs on `count` and on `fewer` of them."""
    check_outputs(many, argument=layer_text(name))
    if few is not None and many.ndim == few.ndim > 0:
        grown = [axis for axis in range(many.ndim) if many.shape[axis] != few.shape[axis]]
        axis = grown[0] if grown else 0
        parts, rest = divmod(many.shape[axis], count)
        if len(grown) == (count > fewer) and rest == 0 and few.shape[axis] == parts * fewer and parts > 0:
            where = ImageAxis(axis, parts)
            sides = where.first(many, count, name=name)[:fewer], where.first(few, fewer, name=name)
            if where == (0, 1) or _agree(*sides):
                return where
    shapes = (
        f"{tuple(many.shape)} for {count} images and {few if few is None else tuple(few.shape)} for {fewer}"
    )
    way_out = "Measure another layer, or give layers as a callable that returns {name: output} with the images first."
    raise ArgumentError(layer_text(name), "have one axis that runs over the images", shapes, way_out)


def _agree(first: Tensor, second: Tensor) -> bool:
    gap = torch.linalg.vector_norm(flat_outputs(first) - flat_outputs(second))
    return bool(gap <= _SAME * torch.linalg.vector_norm(flat_outputs(first)))
