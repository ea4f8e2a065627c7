"""What a model's output is: scores of classes, probabilities, or nothing of use; and how often it is right."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffstab.measuring.finding import Finding

_SUM_TO_ONE = 1e-3
_Z = 2.576
"""Normal quantile of 99 %: chance is held against that interval."""


def accuracy_finding(outputs: Tensor, labels: Tensor | None) -> Finding:
    """Say how often the model is right, with its 99 % interval, and whether that is more than chance."""
    if labels is None:
        return Finding(
            "accuracy",
            "note",
            "Not known: the images have no labels. With labels the input is checked better.",
        )
    classes = _classes(outputs)
    highest = int(labels.max())
    if highest >= classes:
        text = f"Labels go up to {highest}, and the output has {classes} classes: this model is for other labels."
        return Finding("accuracy", "alarm", text)
    right, low, high = share_right(outputs, labels), *_interval(outputs, labels)
    text = f"{right:.1%} of {len(labels)} images are right [{low:.1%}, {high:.1%}]"
    if low > 1 / classes:
        return Finding("accuracy", "ok", f"{text}.")
    renamed = _share_renamed(outputs, labels)
    if renamed > max(0.5, 3 * right):
        text += f"; with the classes in another order {renamed:.1%} would be. Check the order of the classes."
        return Finding("accuracy", "alarm", text)
    text += f", no more than by chance ({1 / classes:.1%}). Is it trained, on these classes, with this input?"
    return Finding("accuracy", "alarm", text)


def output_findings(outputs: Tensor, labels: Tensor | None) -> list[Finding]:
    """Say what kind of output it is, and what of it is dead."""
    if not bool(outputs.isfinite().all()):
        share = float((~outputs.flatten(1).isfinite().all(1)).double().mean())
        text = f"NaN or infinite on {share:.0%} of the images: nothing can be measured there. Look at the input first."
        return [Finding("output", "alarm", text)]
    rows = outputs.flatten(1).double()
    varies = rows.std(0) > 1e-6 * rows.abs().max().clamp(min=1e-30)
    if not bool(varies.any()):
        text = "The same on all images: the model is dead, D, G, R are undefined. Is it trained, is its input right?"
        return [Finding("output", "alarm", text)]
    found = [_kind(rows, tuple(outputs.shape[1:]))]
    dead = int((~varies).sum())
    if dead:
        text = f"{dead} of {rows.shape[1]} numbers never change: they count for nothing in D, G, R."
        found.append(Finding("output", "note", text))
    return found


def share_right(outputs: Tensor, labels: Tensor) -> float:
    """Return the share of images whose largest output is that of the label; of one output, whose sign is."""
    return float((predictions(outputs) == labels).double().mean())


def predictions(outputs: Tensor) -> Tensor:
    """Return the predicted classes (n,)."""
    rows = outputs.flatten(1)
    return (rows[:, 0] > 0).long() if rows.shape[1] == 1 else rows.argmax(1)


def _classes(outputs: Tensor) -> int:
    return max(2, outputs.flatten(1).shape[1])


def _interval(outputs: Tensor, labels: Tensor) -> tuple[float, float]:
    """Return Wilson's interval of the accuracy."""
    share, count = share_right(outputs, labels), len(labels)
    centre = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = _Z / (1 + _Z**2 / count) * math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def _share_renamed(outputs: Tensor, labels: Tensor) -> float:
    """Return the accuracy under the best renaming of the classes."""
    from scipy.optimize import linear_sum_assignment

    classes = _classes(outputs)
    confusion = torch.zeros(classes, classes)
    confusion.index_put_((predictions(outputs), labels), torch.ones(len(labels)), accumulate=True)
    rows, columns = linear_sum_assignment(-confusion.numpy())
    return float(confusion[rows, columns].sum() / len(labels))


def _kind(rows: Tensor, shape: tuple[int, ...]) -> Finding:
    if len(shape) > 1:
        return Finding(
            "output", "note", f"A map of shape {' x '.join(map(str, shape))}, taken as one vector."
        )
    if rows.shape[1] == 1:
        return Finding("output", "ok", "One score per image.")
    if bool((rows >= 0).all()) and bool(((rows.sum(1) - 1).abs() < _SUM_TO_ONE).all()):
        text = "Probabilities: they saturate, and few images then carry D and G. Measure the scores before the softmax."
        return Finding("output", "note", text)
    if bool((rows <= 0).all()) and bool((rows.logsumexp(1).abs() < _SUM_TO_ONE).all()):
        text = "Logarithms of probabilities: unlikely classes weigh much. Measure the scores before the log-softmax."
        return Finding("output", "note", text)
    return Finding("output", "ok", f"{rows.shape[1]} scores (logits) per image.")
