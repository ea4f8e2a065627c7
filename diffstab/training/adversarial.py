"""Training on images that are moved against the net."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.training.samples import images_of, labels_of
from diffstab.training.task import Task


class AdversarialImages(Callback):
    """Trains a `Task` on the images within a radius of the training images at which its loss is largest.

    Each batch is moved in place before its training step: `steps` steps of length 2.5 radius / steps along the gradient
    of each image's loss, |x' - x| kept below the radius (projected gradient ascent from x itself; nothing is drawn).
    The net is in eval mode meanwhile. Pixels may leave the range of the images.

    Args:
        radius: Largest |x' - x|, the Euclidean norm over all pixels and channels, in units of the normalised images.
        steps: Gradients per batch: a training takes about (steps + 1) times as long.

    Raises:
        ArgumentError: If a value is out of range; at the start of a training, if it is of another kind than a `Task`,
            or its whole training set is one batch, whose images would be changed for good.

    Source: Madry et al. 2017 (arXiv 1706.06083), in the Euclidean norm.
    """

    changes_images = True
    """So that nothing is kept of the images as they were."""

    def __init__(self, *, radius: float, steps: int = 5) -> None:
        if not 0 < radius < float("inf"):
            raise ArgumentError("radius", "be positive and finite", radius)
        if steps < 1:
            raise ArgumentError("steps", "be at least 1", steps)
        self.radius, self.steps = radius, steps

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse what cannot be trained so."""
        if not isinstance(pl_module, Task):
            raise ArgumentError(
                "model", "be a Task, whose loss is known, for AdversarialImages", type(pl_module).__name__
            )
        if trainer.num_training_batches < 2:
            received = "the whole training set as one batch"
            raise ArgumentError("data.batch_size", "give two batches or more", received)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Move the images of the batch."""
        assert isinstance(pl_module, Task)
        images, labels, task = images_of(batch), labels_of(batch), pl_module
        was_training = task.training
        task.eval()
        try:
            moved = worst_images(
                lambda x: task.loss.pointwise(task(x), labels), images, radius=self.radius, steps=self.steps
            )
        finally:
            task.train(was_training)
        images.copy_(moved)


def worst_images(losses: Callable[[Tensor], Tensor], images: Tensor, *, radius: float, steps: int) -> Tensor:
    """Return images of a large loss within a radius, by projected gradient ascent.

    Args:
        losses: Maps images (n, ...) to a loss each, (n,).
        images: (n, ...), left as they are.
        radius: Largest Euclidean distance of an image from its own.
        steps: Steps of length 2.5 radius / steps each.
    """
    shift = torch.zeros_like(images)
    for _ in range(steps):
        with torch.enable_grad():
            moved = (images + shift).detach().requires_grad_()
            (gradient,) = torch.autograd.grad(losses(moved).sum(), moved)
        shift = shift + 2.5 * radius / steps * gradient / _norms(gradient)
        shift = shift * (radius / _norms(shift)).clamp(max=1)
    return (images + shift).detach()


def _norms(values: Tensor) -> Tensor:
    """Norm of each image, (n, 1, ...), never zero."""
    flat: Tensor = torch.linalg.vector_norm(values.flatten(1), dim=1).clamp(
        min=torch.finfo(values.dtype).tiny
    )
    return flat.reshape(-1, *[1] * (values.ndim - 1))
