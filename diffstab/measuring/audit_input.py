"""Whether what enters a model is what it was trained on: range, mean and standard deviation, channels, size.

Nobody has the training images at hand. What tells are the accuracy, where there are labels, and the running statistics
of the first batch normalisations: with the right preprocessing, the images at hand have about the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from diffstab.measuring.audit_output import predictions
from diffstab.measuring.finding import Finding, Subject
from diffstab.nets import Preprocessing

_FIRST_NORMS = 3
"""Batch normalisations, from the first, that are looked at: deeper ones tell of the images, not of their scale."""

_MISFIT = 0.3
"""Divergence from which on statistics do not fit: right inputs have 0.02 to 0.1, those without mean and std 1."""

_BETTER = 3.0
"""By how much another preprocessing must fit better."""

_TRIED = 250
"""Images that other ranges, means and standard deviations are tried on."""

_RARE = 1e-4
"""Probability, by chance, of a gain of accuracy that counts."""

_SURE = 3.0
"""Standard errors of a gain of confidence that counts."""

_GAIN = 0.03
"""Least gain of accuracy that counts."""


@dataclass(frozen=True)
class _Trial:
    """A preprocessing that was tried."""

    name: str
    preprocessing: Preprocessing
    right: Tensor | None
    confidence: Tensor
    misfit: float

    @property
    def accuracy(self) -> float:
        return math.nan if self.right is None else float(self.right.double().mean())


def input_findings(subject: Subject, outputs: Tensor) -> list[Finding]:
    """Say whether range, mean and std, channels and size of the input fit the model.

    Args:
        subject: In eval mode.
        outputs: Its outputs on all images, with its own preprocessing.
    """
    found = [*_range(subject.images), *_size(subject)]
    if any(finding.level == "alarm" for finding in found):
        return found
    if not isinstance(subject.preprocessing, Preprocessing):
        return found
    if isinstance(subject.expected, Preprocessing):
        found += _as_expected(subject.preprocessing, subject.expected)
    return [*found, _values(subject, subject.preprocessing)]


def _range(images: Tensor) -> list[Finding]:
    low, high = float(images.min()), float(images.max())
    if low < -1e-3:
        text = (
            f"Images go from {low:.3g} to {high:.3g}: they are normalised already. Give them in [0, 1], and "
        )
        return [
            Finding("input", "alarm", text + "mean and std as the model's: deformations act before them.")
        ]
    if high > 1 + 1e-3:
        text = f"Images go from {low:.3g} to {high:.3g}: divide them by 255. A model of 0..255 takes --scale 255."
        return [Finding("input", "alarm", text)]
    if high < 0.02:
        return [
            Finding(
                "input", "alarm", f"Images go from {low:.3g} to {high:.3g}: were they divided by 255 twice?"
            )
        ]
    if images.shape[1] == 3 and bool((images[:, :1] == images).all()):
        return [Finding("input", "note", "All images are grey: three equal channels.")]
    return []


def _size(subject: Subject) -> list[Finding]:
    entering = tuple(subject.preprocessing(subject.images[:1].clone()).shape[2:])
    wanted, shown = subject.train_size, f"{entering[0]} x {entering[1]} px"
    if wanted is None:
        text = f"Images enter with {shown}. The size in training is not known here; --train_size checks it."
        return [Finding("size", "ok", text)]
    if entering == tuple(wanted):
        return [Finding("size", "ok", f"Images enter with {shown}, as in training.")]
    text = (
        f"Images enter with {shown}; in training they had {wanted[0]} x {wanted[1]}: set --resize and --crop."
    )
    return [Finding("size", "alarm", text)]


def _as_expected(given: Preprocessing, expected: Preprocessing) -> list[Finding]:
    """Compare the values with those of the weights' own transforms."""
    names = [
        name
        for name in ("scale", "mean", "std", "channels")
        if getattr(given, name) != getattr(expected, name)
    ]
    if not names:
        return []
    verb = "is not what" if len(names) == 1 else "are not what"
    text = (
        f"{' and '.join(names)} {verb} the weights' own transforms have: {expected}. Leave out these options."
    )
    return [Finding("input", "alarm", text)]


def _values(subject: Subject, given: Preprocessing) -> Finding:
    """Try other ranges, means and orders of channels, and say whether one fits better."""
    some = _first(subject, _TRIED)
    own = _tried(some, "as given", given)
    trials = [_tried(some, name, one) for name, one in _others(given, subject.images.shape[1])]
    better = [trial for trial in trials if _is_better(trial, own)]
    if better:
        return _alarm(own, better)
    order = _other_order(subject, given)
    if order is not None:
        return order
    if own.misfit > _MISFIT:
        text = f"The first BatchNorm layers met other inputs in training (misfit {own.misfit:.2g}; below {_MISFIT} is "
        return Finding("input", "alarm", text + "usual), and no usual mean and std mends it. Other images?")
    text = f"No other range, mean and std, or order of channels fits better ({_evidence(own)})."
    return Finding("input", "ok", text)


def _first(subject: Subject, count: int) -> Subject:
    labels = None if subject.labels is None else subject.labels[:count]
    return replace(subject, images=subject.images[:count], labels=labels)


def _others(given: Preprocessing, channels: int) -> list[tuple[str, Preprocessing]]:
    """Return the usual ranges, means and standard deviations, by name, but for the given ones."""
    usual: dict[str, tuple[float, tuple[float, ...] | None, tuple[float, ...] | None]] = {
        "images in [0, 1] as they are": (1.0, None, None),
        "mean and std 0.5": (1.0, (0.5,), (0.5,)),
        "pixels from 0 to 255": (255.0, None, None),
    }
    if channels == 3:
        usual |= {
            "ImageNet's mean and std": (1.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            "CIFAR-10's mean and std": (1.0, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
            "ImageNet's mean of 0..255": (255.0, (123.68, 116.779, 103.939), None),
        }
    if channels == 1:
        usual |= {
            "MNIST's mean and std": (1.0, (0.1307,), (0.3081,)),
            "Fashion-MNIST's mean and std": (1.0, (0.2860,), (0.3530,)),
        }
    made = {
        name: replace(given, scale=scale, mean=mean, std=std) for name, (scale, mean, std) in usual.items()
    }
    return [(name, one) for name, one in made.items() if one != given]


def _tried(subject: Subject, name: str, preprocessing: Preprocessing) -> _Trial:
    statistics = _Statistics(subject.module)
    with statistics:
        rows = subject.outputs(preprocessing).flatten(1).double()
    right = None if subject.labels is None else predictions(rows) == subject.labels
    return _Trial(name, preprocessing, right, _confidence(rows), statistics.misfit())


def _confidence(rows: Tensor) -> Tensor:
    """Return the probability of the predicted class (n,), by a softmax where rows are scores."""
    if rows.shape[1] == 1:
        return rows[:, 0].abs().sigmoid()
    are_probabilities = bool((rows >= 0).all()) and bool(((rows.sum(1) - 1).abs() < 1e-3).all())
    return (rows if are_probabilities else rows.softmax(1)).max(1).values


def _is_better(trial: _Trial, own: _Trial) -> bool:
    """Whether another preprocessing fits clearly better: by accuracy, or by the statistics and not less accurate."""
    if own.right is not None and trial.right is not None:
        if _is_gain(trial.right, own.right):
            return not trial.misfit > max(_MISFIT, _BETTER * own.misfit)
        if _is_gain(own.right, trial.right):
            return False
    return own.misfit > _MISFIT and trial.misfit * _BETTER < own.misfit and trial.misfit < _MISFIT


def _is_gain(right: Tensor, before: Tensor) -> bool:
    """Whether more images are right than before, more than by chance: McNemar's test on those that changed."""
    gained, lost = int((right & ~before).sum()), int((before & ~right).sum())
    changed = gained + lost
    if (gained - lost) / len(right) < _GAIN:
        return False
    tail: float = sum(math.comb(changed, k) for k in range(gained, changed + 1)) / 2**changed
    return tail < _RARE


def _alarm(own: _Trial, better: list[_Trial]) -> Finding:
    """Name those that fit best; several may, within chance."""
    best = max(better, key=lambda trial: (trial.accuracy if trial.right is not None else 0.0, -trial.misfit))
    as_good = [trial for trial in better if trial is best or not _is_worse(trial, best)]
    fits = "; or ".join(
        f"{one.name} ({_evidence(one)}): {_options(one.preprocessing)}" for one in as_good[:2]
    )
    text = f"Mean, std or range are not those of the training ({_evidence(own)}). What fits: {fits}."
    if not math.isnan(own.misfit):
        text += f" (Misfit of the statistics of the first BatchNorm layers; below {_MISFIT} is usual.)"
    return Finding("input", "alarm", text)


def _is_worse(trial: _Trial, best: _Trial) -> bool:
    if trial.right is not None and best.right is not None and _is_gain(best.right, trial.right):
        return True
    return trial.misfit > _MISFIT and trial.misfit > _BETTER * best.misfit


def _other_order(subject: Subject, given: Preprocessing) -> Finding | None:
    """Say whether the channels are in the wrong order: by the accuracy, or without labels by confidence."""
    if subject.images.shape[1] != 3:
        return None
    order: Literal["rgb", "bgr"] = "rgb" if given.channels == "bgr" else "bgr"
    own, other = (_tried(subject, "", one) for one in (given, replace(given, channels=order)))
    if own.right is not None and other.right is not None:
        if not _is_gain(other.right, own.right):
            return None
        text = f"The channels are in the wrong order (RGB or BGR): reversed, accuracy {own.accuracy:.1%} becomes "
        return Finding("input", "alarm", f"{text}{other.accuracy:.1%}. Use --channels {order}.")
    change = other.confidence - own.confidence
    deviation = float(change.std()) / math.sqrt(len(change))
    if not float(change.mean()) > _SURE * deviation > 0 or other.misfit > 1.5 * own.misfit:
        return None
    means = f"{own.confidence.mean():.3f} becomes {other.confidence.mean():.3f}"
    text = f"The channels may be in the wrong order (RGB or BGR): reversed, mean confidence {means}."
    return Finding("input", "note", f"{text} Try --channels {order}.")


def _evidence(trial: _Trial) -> str:
    parts = [] if trial.right is None else [f"accuracy {trial.accuracy:.1%}"]
    if not math.isnan(trial.misfit):
        parts.append(f"BatchNorm misfit {trial.misfit:.2g}")
    return ", ".join(parts) or f"mean confidence {trial.confidence.mean():.3f}"


def _options(preprocessing: Preprocessing) -> str:
    """Return the options of the command line that ask for it."""
    words = [f"--scale {preprocessing.scale:g}"] if preprocessing.scale != 1 else []
    for name, numbers in (("mean", preprocessing.mean), ("std", preprocessing.std)):
        if numbers is not None:
            words.append(f"--{name} {' '.join(f'{number:g}' for number in numbers)}")
    return " ".join(words) or "no --scale, --mean and --std"


class _Statistics:
    """Moments of what enters the first batch normalisations, while it is entered as a context."""

    def __init__(self, module: object) -> None:
        parts = module.modules() if isinstance(module, nn.Module) else iter(())
        self.norms = [part for part in parts if isinstance(part, _BatchNorm) and _is_trained(part)]
        self.sums: dict[_BatchNorm, list[Tensor]] = {}
        self.handles: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> None:
        self.handles = [norm.register_forward_pre_hook(self._add) for norm in self.norms]

    def __exit__(self, *error: object) -> None:
        for handle in self.handles:
            handle.remove()

    def _add(self, norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, _BatchNorm)
        if norm not in self.sums and len(self.sums) >= _FIRST_NORMS:
            return
        values = inputs[0].detach().double().transpose(0, 1).flatten(1)
        count = values.new_full((len(values),), values.shape[1])
        sums = [count, values.sum(1), values.square().sum(1)]
        self.sums[norm] = [a + b for a, b in zip(self.sums[norm], sums)] if norm in self.sums else sums

    def misfit(self) -> float:
        """Return the mean divergence of Gaussians, of the images from the running statistics; NaN where there are none.

        For each channel KL(N(m, v) | N(mu, sigma^2)) = (log(sigma^2 / v) + (v + (m - mu)^2) / sigma^2 - 1) / 2.
        """
        found = [_divergence(norm, *sums) for norm, sums in self.sums.items()]
        return sum(found) / len(found) if found else math.nan


def _divergence(norm: _BatchNorm, count: Tensor, total: Tensor, square: Tensor) -> float:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    mean = total / count
    variance = (square / count - mean.square()).clamp(min=0) + norm.eps
    expected = norm.running_var.double() + norm.eps
    distance = (mean - norm.running_mean.double()).square()
    return float(((expected / variance).log() + (variance + distance) / expected - 1).mean() / 2)


def _is_trained(norm: _BatchNorm) -> bool:
    """Whether a batch normalisation has statistics of a training: not those of its making."""
    if norm.running_mean is None or norm.running_var is None:
        return False
    return not (bool((norm.running_mean == 0).all()) and bool((norm.running_var == 1).all()))
