"""Certificates of stability to deformations, by randomised smoothing in the sine coefficients of the field."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.stability.certify_votes import CertifySettings, SmoothedClassifier, checked_inputs, share_bounds
from diffstab.stability.predictors import Predictor


class Share(NamedTuple):
    """A share of the images, and what the finite number of draws leaves open.

    Attributes:
        value: As counted.
        low: Share that is certain to belong, each image with probability 1 - alpha.
        high: Share that is not certain not to belong.
    """

    value: float
    low: float
    high: float


class Certificates(NamedTuple):
    """What is certified of each of P images; tensors on the CPU.

    Attributes:
        classes: The class that was selected, shape (P,).
        votes: Draws of the estimate in which it won, shape (P,).
        low: Lower bound of its probability, shape (P,), float64; wrong with probability alpha at most.
        high: Upper bound, likewise.
        radii: Certified whitened norm, shape (P,): h is that class for every field u of the span with |u| below it.
            0 where nothing is certified.
        most: What the radius could be at most with any number of draws, shape (P,), by the upper bound.
        draws: Draws of the estimate.
        alpha: Of each bound alone.
    """

    classes: Tensor
    votes: Tensor
    low: Tensor
    high: Tensor
    radii: Tensor
    most: Tensor
    draws: int
    alpha: float

    @property
    def abstained(self) -> Tensor:
        """Where the draws do not show a majority, (P,) bool: there is no certificate."""
        return ~(self.low > 0.5)

    def accuracy(self, labels: Tensor, norm: float) -> Share:
        """Share of the images whose class is right, and certified for all fields of a whitened norm.

        Its value is its lower end: only what is certified counts.
        """
        right = self.classes == labels.cpu()
        certified = float((right & (self.radii > norm)).double().mean())
        return Share(certified, certified, float((right & (self.most > norm)).double().mean()))


def certify(
    model: Predictor,
    images: Tensor,
    settings: CertifySettings | None = None,
    *,
    numbers: Tensor | Sequence[int] | None = None,
) -> Certificates:
    """Certify the smoothed classifier against deformations.

        h(u) = argmax_k P_xi[f(warp(x, u + xi)) = k],  xi ~ Normal(0, sigma^2 T / (i^2 + j^2))
        h(u) = h(0) for all u with  sum (i^2 + j^2) |C_ij|^2 / T < (sigma Phi^-1(p_low))^2

    C are the sine coefficients of u, T the temperature of `delta_px`, p_low a lower bound of the probability of the
    class, which is chosen by other draws. What it proves, and what not:

    - the norm is a whitened one (a Dirichlet energy), not a displacement in pixels;
    - u and xi add to one field before ONE warp: a warp of a warped image is another map;
    - only fields of the sine span up to the cut-off, on the grid of the image;
    - h, not f; with probability 1 - alpha for each image;
    - fields that fold are not excluded.

    Args:
        model: The classifier f: takes images (n, C, H, W), returns scores (n, K), or one number for two classes (class
            1 where it is positive). A module, or any callable; modules are in eval mode meanwhile. The images are
            brought to the device of its weights.
        images: (P, C, H, W), floating.
        settings: The noise and the number of draws; None is the defaults.
        numbers: (P,) places of the images in their data set, which fix their draws; 0, 1, ... when None.

    Raises:
        ArgumentError: Images, numbers or outputs do not fit, or are not finite.

    Warns:
        UnsteadyPredictorWarning: Outputs change between two calls, or with the other images of the batch.

    Source:
        Cohen, Rosenfeld, Kolter, ICML 2019, theorem 1 and the procedure CERTIFY; here in the coefficients of a field.
    """
    settings = settings or CertifySettings()
    images, places = checked_inputs(model, images, numbers, None)
    smoothed = SmoothedClassifier(model, settings, (images.shape[2], images.shape[3]))
    with smoothed.running():
        smoothed.tell_if_unsteady(images[:1], smoothed.selection(places[:1])[0])
        found = list(_elections(smoothed, images, places))
    classes, votes = (torch.tensor(column) for column in zip(*found, strict=True))
    return certificates(classes, votes, settings)


def _elections(smoothed: SmoothedClassifier, images: Tensor, numbers: Tensor) -> Iterator[tuple[int, int]]:
    """Yield the selected class of each image, and its votes among the other draws."""
    for image, number in zip(torch.split(images, 1), torch.split(numbers, 1), strict=True):
        chosen = int(smoothed.votes(image, smoothed.selection(number)[0]).argmax())
        yield chosen, int(smoothed.votes(image, smoothed.estimation(number)[0])[chosen])


def certificates(classes: Tensor, votes: Tensor, settings: CertifySettings) -> Certificates:
    """Return the certificates that votes (P,) for classes (P,) give.

    Raises:
        ArgumentError: The shapes differ.
    """
    if classes.shape != votes.shape:
        raise ArgumentError(
            "votes", f"have shape {tuple(classes.shape)} like the classes", tuple(votes.shape)
        )
    low, high = share_bounds(votes, settings.draws, settings.alpha)
    radii, most = (settings.sigma * torch.special.ndtri(p).clamp_min(0.0) for p in (low, high))
    return Certificates(classes, votes, low, high, radii, most, settings.draws, settings.alpha)
