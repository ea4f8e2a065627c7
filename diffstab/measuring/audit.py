"""Look at a model before anything is measured: is it what it should be, on its own kind of input?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from diffstab.errors import ArgumentError
from diffstab.measuring.audit_input import input_findings
from diffstab.measuring.audit_output import accuracy_finding, output_findings, share_right
from diffstab.measuring.audit_steadiness import steadiness_findings
from diffstab.measuring.finding import AuditReport, Finding, Subject
from diffstab.nets import LoadedModel, Preprocessing, output_part
from diffstab.stability.predictors import evaluation_mode

_FEWEST = 8
"""Images below which statistics tell nothing."""


def audit(
    model: LoadedModel | Callable[[Tensor], Any],
    images: Tensor,
    labels: Tensor | None = None,
    *,
    output: str | None = None,
    train_size: int | tuple[int, int] | None = None,
    batch_size: int = 100,
) -> AuditReport:
    """Look at a model on some images, and say what would make measurements on it mislead.

    Looked at are the clean accuracy, the kind of output, whether outputs hang on the other images of a batch, on the
    mode or on chance, whether the input is changed in place, and range, mean, standard deviation, order of channels and
    size of what enters the model. No training images are needed: other preprocessings are tried, and the accuracy (with
    labels) and the running statistics of the first batch normalisations tell which fits.

    The model is looked at in eval mode; its mode, buffers and torch's generator are as before afterwards.

    Args:
        model: A loaded model, or a module or function that takes images in [0, 1] as they are.
        images: (n, C, H, W), n >= 8, balanced over the classes at best; should lie in [0, 1].
        labels: (n,) class numbers; None where they are unknown.
        output: Which part of the output is measured, as "logits" or "0".
        train_size: Side, or height and width, of the images that the model was trained on, where known.
        batch_size: Images at once.

    Raises:
        ArgumentError: If images or labels have another shape, or the output has no such part.
    """
    _check(images, labels)
    subject = _subject(model, images, labels, output=output, train_size=train_size, batch_size=batch_size)
    modes = _modes(subject.module)
    with evaluation_mode(subject.module), torch.random.fork_rng(devices=[]), torch.no_grad():
        outputs = subject.outputs(subject.preprocessing)
        labels = subject.labels
        findings = [
            accuracy_finding(outputs, labels),
            *output_findings(outputs, labels),
            *modes,
            *steadiness_findings(subject, outputs),
            *input_findings(subject, outputs),
        ]
    accuracy = None if labels is None else share_right(outputs, labels)
    return AuditReport(tuple(findings), accuracy, len(images))


def _subject(
    model: LoadedModel | Callable[[Tensor], Any],
    images: Tensor,
    labels: Tensor | None,
    *,
    output: str | None,
    train_size: int | tuple[int, int] | None,
    batch_size: int,
) -> Subject:
    loaded = model if isinstance(model, LoadedModel) else None
    size = (train_size, train_size) if isinstance(train_size, int) else train_size
    expected = loaded.expected if loaded is not None else None
    return Subject(
        module=loaded.module if loaded is not None else model,
        preprocessing=loaded.preprocessing if loaded is not None else Preprocessing(),
        part=output_part(output),
        images=images,
        labels=None if labels is None else labels.cpu(),
        batch_size=batch_size,
        expected=expected,
        train_size=size or (None if expected is None else expected.input_size),
    )


def _check(images: Tensor, labels: Tensor | None) -> None:
    if images.ndim != 4 or len(images) < _FEWEST or not images.is_floating_point():
        received = f"{images.dtype} of shape {tuple(images.shape)}"
        raise ArgumentError("images", f"be at least {_FEWEST}, floating, (n, C, H, W)", received)
    if labels is not None and (labels.shape != images.shape[:1] or labels.is_floating_point()):
        received = f"{labels.dtype} of shape {tuple(labels.shape)}"
        raise ArgumentError("labels", "be one class number for each image", received)


def _modes(module: object) -> list[Finding]:
    """Tell of train mode; a measurement puts it right by itself."""
    if not isinstance(module, nn.Module):
        return []
    names = [name or "the model" for name, part in module.named_modules() if part.training]
    if not names:
        return []
    text = (
        f"Handed over in train mode ({len(names)} modules): call model.eval(). It was looked at in eval mode."
    )
    return [Finding("mode", "note", text)]
