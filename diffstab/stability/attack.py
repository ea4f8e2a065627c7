"""Worst-case deformations: projected gradient ascent in the sine coefficients of one warp."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.stability.certify import Share
from diffstab.stability.certify_votes import (
    CertifySettings,
    SmoothedClassifier,
    checked_inputs,
    class_scores,
    share_bounds,
)
from diffstab.stability.predictors import Predictor
from diffstab.streams import NumberedStream


@dataclass(frozen=True)
class AttackSettings:
    """How a worst field is searched.

    Args:
        norms: Whitened norms that the fields may have at most, rising, each > 0.
        steps: Steps of the ascent, at least 1.
        restarts: Random fields from which it starts, at least 1.
        draws: Draws of the smoothing noise behind each gradient, at least 1; other ones at each step.
        smoothed: Whether the smoothed classifier h is attacked; else f itself, which has no noise.

    Raises:
        ArgumentError: A value is out of range.
    """

    norms: Sequence[float] = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
    steps: int = 10
    restarts: int = 2
    draws: int = 16
    smoothed: bool = True

    def __post_init__(self) -> None:
        rising = [0.0, *self.norms, math.inf]
        if len(rising) < 3 or any(not one < other for one, other in itertools.pairwise(rising)):
            raise ArgumentError("norms", "be finite, > 0 and rising", list(self.norms))
        for name in ("steps", "restarts", "draws"):
            if getattr(self, name) < 1:
                raise ArgumentError(name, "be at least 1", getattr(self, name))


class Ballots(NamedTuple):
    """Votes under some fields: for the label, and for the strongest other class, among as many draws.

    Attributes:
        right: Votes for the label, any shape, on the CPU.
        other: Votes for the strongest other class, likewise.
        draws: Number of draws; None for a classifier without noise, whose single vote is exact.
    """

    right: Tensor
    other: Tensor
    draws: int | None

    @property
    def is_right(self) -> Tensor:
        """Where the label has the most votes."""
        return self.right > self.other

    def accuracy(self, alpha: float) -> Share:
        """Share of the images with the right class; `alpha` is the probability that a bound of one image is wrong."""
        value = float(self.is_right.double().mean())
        if self.draws is None:
            return Share(value, value, value)
        right_low, right_high = share_bounds(self.right, self.draws, alpha / 2)
        other_low, other_high = share_bounds(self.other, self.draws, alpha / 2)
        sure = (right_low > 0.5) | (right_low > other_high)
        lost = (right_high < 0.5) & (other_low > right_high)
        return Share(value, float(sure.double().mean()), float((~lost).double().mean()))


class Attacks(NamedTuple):
    """Fields of K norms against P images, and the votes under them.

    Attributes:
        norms: K whitened norms.
        fields: Sine coefficients of the worst field that the ascent found, shape (K, P, 2, c, c), float64; its norm is
            at most the one allowed.
        clean: Votes without a field, shape (P,).
        random: Votes under one random field of exactly that norm, shape (K, P), in one direction for all norms.
        found: Votes under `fields`, shape (K, P).
        alpha: Of the settings.
    """

    norms: tuple[float, ...]
    fields: Tensor
    clean: Ballots
    random: Ballots
    found: Ballots
    alpha: float

    @staticmethod
    def joined(parts: Sequence["Attacks"]) -> "Attacks":
        """Those of several sets of images, one after another."""
        clean, random, found = (
            _joined([getattr(part, name) for part in parts]) for name in ("clean", "random", "found")
        )
        fields = torch.cat([part.fields for part in parts], dim=1)
        return Attacks(parts[0].norms, fields, clean, random, found, parts[0].alpha)

    def random_accuracy(self) -> list[Share]:
        """Accuracy under a random field of each norm."""
        return [self._at(self.random, k).accuracy(self.alpha) for k in range(len(self.norms))]

    def attacked_accuracy(self) -> list[Share]:
        """Accuracy under the worst of all fields tried of at most each norm: found, random, and none.

        It falls with the norm and is at most the random accuracy, since these fields are among those tried. Which of
        them counts is chosen by its votes: bounds are corrected for their number.
        """
        shares = []
        for k in range(len(self.norms)):
            tried = 2 * (k + 1) + 1
            shares.append(self._worst(k).accuracy(self.alpha / tried))
        return shares

    def _worst(self, k: int) -> Ballots:
        several = (self._until(self.found, k), self._until(self.random, k))
        right = torch.cat([self.clean.right[None], *(one.right for one in several)])
        other = torch.cat([self.clean.other[None], *(one.other for one in several)])
        worst = (right - other).argmin(dim=0, keepdim=True)
        return Ballots(right.gather(0, worst)[0], other.gather(0, worst)[0], self.clean.draws)

    @staticmethod
    def _until(ballots: Ballots, k: int) -> Ballots:
        return ballots._replace(right=ballots.right[: k + 1], other=ballots.other[: k + 1])

    @staticmethod
    def _at(ballots: Ballots, k: int) -> Ballots:
        return ballots._replace(right=ballots.right[k], other=ballots.other[k])


def attack(
    model: Predictor,
    images: Tensor,
    labels: Tensor,
    settings: CertifySettings | None = None,
    *,
    search: AttackSettings | None = None,
    numbers: Tensor | Sequence[int] | None = None,
) -> Attacks:
    """Search, for each image, the field of bounded whitened norm that takes its class away.

        max over |u| <= norm of  -log mean_xi softmax_label(f(warp(x, u + xi)))

    by projected gradient ascent through one warp, steps of 2.5 norm / steps along the normalised gradient, from random
    fields of that norm and, after the first norm, from the worst field so far, stretched. Without smoothing, xi = 0. A
    field is found by draws of its own; votes are counted over those of `certify`, the same for every field.

    Args:
        model: As of `certify`, and differentiable.
        images: (P, C, H, W), floating.
        labels: (P,) the classes that are to be taken away.
        settings: The noise, as of `certify`: it also sets the unit of the norm and the draws of the votes.
        search: The norms, and how hard it is tried; None is the defaults.
        numbers: As of `certify`.

    Raises:
        ArgumentError: As `certify`, labels do not fit, or the model has no gradient.

    Source:
        Madry et al., ICLR 2018 (projected gradient); Salman et al., NeurIPS 2019, eq. 6 (through the smoothing).
    """
    settings, search = settings or CertifySettings(), search or AttackSettings()
    images, places = checked_inputs(model, images, numbers, labels)
    smoothed = SmoothedClassifier(model, settings, (images.shape[2], images.shape[3]))
    ascent = _Ascent(smoothed, search)
    in_a_batch = max(1, settings.batch_size // ascent.versions)
    with smoothed.running():
        return Attacks.joined(
            [
                _attacked(ascent, *part)
                for part in zip(
                    *(torch.split(one, in_a_batch) for one in (images, labels.cpu(), places)), strict=True
                )
            ]
        )


class _Ascent:
    """Gradient ascent in whitened coordinates for a batch of images."""

    def __init__(self, smoothed: SmoothedClassifier, search: AttackSettings) -> None:
        self.smoothed, self.search = smoothed, search
        seed = smoothed.settings.seed
        self._starts = NumberedStream(seed, "attack starts")
        self._noise = NumberedStream(seed, "attack noise")

    @property
    def draws(self) -> int:
        """Draws behind a gradient."""
        return self.search.draws if self.search.smoothed else 1

    @property
    def versions(self) -> int:
        """Versions of an image in a step."""
        return self.search.restarts * self.draws

    def directions(self, numbers: Tensor) -> Tensor:
        """Random directions (n, restarts, d) of length 1."""
        shape = (self.search.restarts, self.smoothed.span.dimension)
        return torch.nn.functional.normalize(self._starts.normal(numbers, shape), dim=-1)

    def noise(self, numbers: Tensor) -> Tensor:
        """Draws (steps + 1, n, draws, d) of the smoothing noise; none is needed without smoothing."""
        shape = (self.search.steps + 1, self.draws, self.smoothed.span.dimension)
        if not self.search.smoothed:
            return torch.zeros(shape[0], len(numbers), *shape[1:], dtype=torch.float64)
        return self.smoothed.settings.sigma * self._noise.normal(numbers, shape).transpose(0, 1)

    def worst(self, images: Tensor, labels: Tensor, starts: Tensor, noise: Tensor, norm: float) -> Tensor:
        """Return the field (n, d) of the largest loss that ascents from fields (n, restarts, d) end in."""
        fields = starts
        for step in range(self.search.steps):
            fields = fields.detach().requires_grad_()
            with torch.enable_grad():
                loss = self._loss(images, labels, fields, noise[step]).sum()
            if not loss.requires_grad:
                raise ArgumentError("model", "be differentiable", "outputs without a gradient")
            (slope,) = torch.autograd.grad(loss, fields)
            if not bool(slope.isfinite().all()):
                raise ArgumentError("model", "have finite gradients", "NaN or infinity")
            ahead = torch.nn.functional.normalize(slope, dim=-1)
            fields = _within(fields.detach() + 2.5 * norm / self.search.steps * ahead, norm)
        with torch.no_grad():
            best = self._loss(images, labels, fields, noise[-1]).argmax(dim=1)
        return fields[torch.arange(len(fields)), best.cpu()]

    def _loss(self, images: Tensor, labels: Tensor, fields: Tensor, noise: Tensor) -> Tensor:
        """-log mean_xi softmax_label for each image and field (n, restarts)."""
        together = fields[:, :, None] + noise[:, None]
        scores = class_scores(self.smoothed.model(self.smoothed.warped(images, together.flatten(1, 2))))
        own = labels.to(scores.device).repeat_interleave(len(scores) // len(labels))
        losses = torch.nn.functional.cross_entropy(scores, own, reduction="none")
        return -torch.logsumexp(-losses.view(together.shape[:3]), dim=2)

    def ballots(self, images: Tensor, labels: Tensor, numbers: Tensor, fields: Tensor) -> Ballots:
        """Votes under one field (n, d) of each image."""
        draws = self.smoothed.settings.draws if self.search.smoothed else None
        found = []
        for image, label, number, field in zip(
            *(torch.split(one, 1) for one in (images, labels, numbers, fields)), strict=True
        ):
            noise = self.smoothed.estimation(number)[0] if draws else torch.zeros_like(field)
            votes = self.smoothed.votes(image, field + noise)
            _check_label(int(label), len(votes))
            right = int(votes[label])
            votes[label] = -1
            found.append((right, int(votes.max())))
        right, other = torch.tensor(found).T
        return Ballots(right, other, draws)


def _attacked(ascent: _Ascent, images: Tensor, labels: Tensor, numbers: Tensor) -> Attacks:
    """Attack a batch of images at all norms."""
    directions, noise = ascent.directions(numbers), ascent.noise(numbers)
    clean = ascent.ballots(images, labels, numbers, torch.zeros_like(directions[:, 0]))
    fields: list[Tensor] = []
    random, found = [], []
    for place, norm in enumerate(ascent.search.norms):
        starts = directions * norm
        if fields:
            stretched = fields[-1] * (norm / ascent.search.norms[place - 1])
            starts = torch.cat([stretched[:, None], starts[:, 1:]], dim=1)
        fields.append(ascent.worst(images, labels, starts, noise, norm))
        random.append(ascent.ballots(images, labels, numbers, directions[:, 0] * norm))
        found.append(ascent.ballots(images, labels, numbers, fields[-1]))
    coefficients = ascent.smoothed.span.coefficients(torch.stack(fields))
    alpha = ascent.smoothed.settings.alpha
    norms = tuple(ascent.search.norms)
    return Attacks(norms, coefficients, clean, _stacked(random), _stacked(found), alpha)


def _check_label(label: int, classes: int) -> None:
    if not 0 <= label < classes:
        raise ArgumentError("labels", f"lie from 0 to {classes - 1}, the classes of the model", label)


def _within(fields: Tensor, norm: float) -> Tensor:
    lengths = fields.norm(dim=-1, keepdim=True)
    inside: Tensor = fields * (norm / lengths.clamp_min(norm))
    return inside


def _stacked(several: Sequence[Ballots]) -> Ballots:
    right, other = (torch.stack([getattr(one, name) for one in several]) for name in ("right", "other"))
    return Ballots(right, other, several[0].draws)


def _joined(parts: Sequence[Ballots]) -> Ballots:
    """Those of all images, which are the last axis."""
    right, other = (torch.cat([getattr(one, name) for one in parts], dim=-1) for name in ("right", "other"))
    return Ballots(right, other, parts[0].draws)
