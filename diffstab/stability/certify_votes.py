"""Votes of the smoothed classifier: how often each class wins over random fields, with exact bounds."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import betaincinv
from torch import Tensor

from diffstab.diffeo.precision import working_dtype
from diffstab.diffeo.temperature import check_cutoff
from diffstab.diffeo.warp import check_images
from diffstab.errors import ArgumentError
from diffstab.stability.certify_fields import FieldWarp, WhitenedSpan
from diffstab.stability.draws import checked_numbers
from diffstab.stability.predictors import (
    Predictor,
    batch_output,
    evaluating,
    images_again,
    modules_of,
    tell_if_unsteady,
)
from diffstab.streams import NumberedStream


@dataclass(frozen=True)
class CertifySettings:
    """The smoothing noise, and how many draws of it are made.

    Args:
        delta_px: Typical displacement in pixels that sets the unit of the whitened norm: a random diffeomorphism of
            that displacement has independent standard normal coordinates.
        cutoff: High-frequency cut-off c >= 2 of the span.
        sigma: Standard deviation of the smoothing noise in each whitened coordinate, > 0.
        draws: Draws for the estimate of each image, at least 1; they bound the radius.
        selection_draws: Further draws, by which the class is chosen, at least 1.
        alpha: Probability that the certificate of an image is wrong, in (0, 1/2).
        seed: Of all draws. Those of an image depend on it and on the image's number alone.
        batch_size: Versions of images in a call of the classifier, at least 1; it changes nothing beyond rounding.

    Raises:
        ArgumentError: A value is out of range.
    """

    delta_px: float = 1.0
    cutoff: int = 3
    sigma: float = 1.0
    draws: int = 2000
    selection_draws: int = 100
    alpha: float = 0.001
    seed: int = 0
    batch_size: int = 1000

    def __post_init__(self) -> None:
        check_cutoff(self.cutoff)
        for name in ("delta_px", "sigma"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ArgumentError(name, "be finite and > 0", getattr(self, name))
        if not 0 < self.alpha < 0.5:
            raise ArgumentError("alpha", "lie between 0 and 1/2", self.alpha)
        for name in ("draws", "selection_draws", "batch_size"):
            if getattr(self, name) < 1:
                raise ArgumentError(name, "be at least 1", getattr(self, name))


def share_bounds(count: Tensor, draws: int, alpha: float | Tensor) -> tuple[Tensor, Tensor]:
    """Exact lower and upper bound of a probability, each wrong with probability alpha at most.

    Args:
        count: Number of successes, any shape.
        draws: Number of independent draws.
        alpha: Of each bound alone.

    Returns:
        Lower and upper bounds, float64 on the CPU.

    Source:
        Clopper and Pearson, Biometrika 26 (1934).
    """
    found = np.asarray(count.cpu(), dtype=np.float64)
    low = np.where(found > 0, betaincinv(np.maximum(found, 1), draws - found + 1, alpha), 0.0)
    high = np.where(found < draws, betaincinv(found + 1, np.maximum(draws - found, 1), 1 - alpha), 1.0)
    return torch.from_numpy(low), torch.from_numpy(high)


def class_scores(outputs: Tensor) -> Tensor:
    """Scores (n, K) of the classes: a single output is positive for class 1, else class 0.

    Raises:
        ArgumentError: The outputs are no finite scores (n, K), (n, 1) or (n,).
    """
    scores = outputs[:, None] if outputs.ndim == 1 else outputs
    if scores.ndim != 2 or not scores.is_floating_point():
        received = f"{outputs.dtype} of shape {tuple(outputs.shape)}"
        raise ArgumentError("model", "return scores (n, K) of K classes, or (n,) for two", received)
    if not bool(scores.isfinite().all()):
        raise ArgumentError("model", "return finite scores", "NaN or infinity")
    scores = scores.to(working_dtype(scores.dtype))
    return torch.cat([torch.zeros_like(scores), scores], dim=1) if scores.shape[1] == 1 else scores


class SmoothedClassifier:
    """h(u) = argmax_k P_xi[f(warp(x, u + xi)) = k], estimated by counting draws of xi ~ Normal(0, sigma^2) (whitened).

    Args:
        model: Takes images (n, C, H, W), returns scores. It gets copies; see `certify`.
        settings: Of the noise.
        size: Height and width of the images.
    """

    def __init__(self, model: Predictor, settings: CertifySettings, size: tuple[int, int]) -> None:
        self.model, self.settings = model, settings
        self.span = WhitenedSpan(size, delta_px=settings.delta_px, cutoff=settings.cutoff)
        self._modules = modules_of(model)
        self._selection = NumberedStream(settings.seed, "certificate selection")
        self._estimation = NumberedStream(settings.seed, "certificate estimation")
        self._warp: FieldWarp | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Eval mode for what the model reaches; put back afterwards."""
        with evaluating(self._modules):
            yield

    @property
    def device(self) -> torch.device | None:
        """Where the model's weights lie; None without any."""
        tensors = (one for module in self._modules for one in module.parameters(recurse=False))
        return next((one.device for one in tensors), None)

    def selection(self, numbers: Tensor) -> Tensor:
        """Draws (n, selection draws, d) by which the class is chosen."""
        return self._noise(self._selection, numbers, self.settings.selection_draws)

    def estimation(self, numbers: Tensor) -> Tensor:
        """Draws (n, draws, d) by which probabilities are estimated, the same for every field u."""
        return self._noise(self._estimation, numbers, self.settings.draws)

    def warped(self, images: Tensor, whitened: Tensor) -> Tensor:
        """Images (n, C, H, W) warped by fields (n, k, d): (n k, C, H, W), on the model's device."""
        images = images.to(self.device or images.device)
        if self._warp is None:
            self._warp = FieldWarp(self.span, like=images)
        return self._warp(images, whitened)

    def votes(self, image: Tensor, whitened: Tensor) -> Tensor:
        """Number of the fields (k, d) for which each class wins on an image (1, C, H, W): (K,) on the CPU."""
        counts: Tensor | None = None
        for part in torch.split(whitened, self.settings.batch_size):
            with torch.no_grad():
                scores = class_scores(self.model(self.warped(image, part[None])))
            found = scores.argmax(dim=1).bincount(minlength=scores.shape[1])
            counts = found if counts is None else counts + found
        assert counts is not None  # there is a draw at least
        return counts.cpu()

    def tell_if_unsteady(self, image: Tensor, whitened: Tensor) -> None:
        """Warn unless the outputs on the versions of an image are the same in other batches and at another time."""
        batch = self.warped(image, whitened[None, : self.settings.batch_size])
        first = slice(images_again(len(batch)))
        with torch.no_grad():
            outputs = batch_output(self.model, batch)
            tell_if_unsteady(
                outputs[first],
                batch_output(self.model, batch[first]),
                lambda: batch_output(self.model, batch[first]),
                smallest=2 * float(class_scores(outputs).cpu().double().var(dim=0, correction=0).sum()),
                what="the model",
                consequence="the certificate does not hold",
            )

    def _noise(self, source: NumberedStream, numbers: Tensor, draws: int) -> Tensor:
        return self.settings.sigma * source.normal(numbers, (draws, self.span.dimension))


def checked_inputs(
    model: Predictor, images: Tensor, numbers: Tensor | Sequence[int] | None, labels: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return images and numbers that fit, or raise ArgumentError."""
    if not callable(model):
        raise ArgumentError("model", "be a module or another callable on images", type(model).__name__)
    check_images(images)
    if len(images) < 1:
        raise ArgumentError("images", "be one at least", "none")
    if labels is not None and (labels.shape != (len(images),) or labels.is_floating_point()):
        received = f"{labels.dtype} of shape {tuple(labels.shape)}"
        raise ArgumentError("labels", f"be whole numbers, one for each of {len(images)} images", received)
    found = torch.arange(len(images)) if numbers is None else torch.as_tensor(numbers)
    return images.detach(), checked_numbers(found, len(images))
