"""Whether an output is a function of one image, not of chance, batch or mode, and the input is left as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from diffstab.measuring.finding import Finding, Subject
from diffstab.stability.predictors import evaluation_mode

_SOME = 8
"""Images of the batch that calls are compared on."""

_TOLERANCE = 1e-3
"""Relative to the spread of the outputs; batched kernels in single precision round to some 1e-6 of it."""


def steadiness_findings(subject: Subject, outputs: Tensor) -> list[Finding]:
    """Compare calls on the same images: twice, alone and in company, in both modes; and the input before and after.

    Args:
        subject: In eval mode.
        outputs: Its outputs on all images.
    """
    batch = subject.preprocessing(subject.like_model(subject.images[:_SOME]))
    spread = _spread(outputs)
    return [
        _input_stays(subject, batch),
        _twice(subject, batch, spread) or _in_company(subject, batch, spread) or _STEADY,
        *_train_mode(subject, batch, spread),
    ]


_STEADY = Finding(
    "steadiness", "ok", "In eval mode the output is the same in two calls, and alone as in a batch."
)


def _input_stays(subject: Subject, batch: Tensor) -> Finding:
    copy = batch.clone()
    subject.module(copy)
    if torch.equal(copy, batch):
        return Finding("in place", "ok", "The input is left as it is.")
    text = "The model changes its input in place: give it a copy where you use images again. Measurements here do."
    return Finding("in place", "note", text)


def _twice(subject: Subject, batch: Tensor, spread: float) -> Finding | None:
    first, second = (_call(subject, batch) for _ in range(2))
    gap = _gap(first, second, spread)
    if gap <= _TOLERANCE:
        return None
    where = _first_difference(subject, batch, batch)
    text = f"Random in eval mode: two calls on the same images differ by {gap:.1%} of the output's spread{where}. "
    return Finding("steadiness", "alarm", text + "Switch it off, or fix its draw: D and G would contain it.")


def _in_company(subject: Subject, batch: Tensor, spread: float) -> Finding | None:
    alone = torch.cat([_call(subject, batch[i : i + 1]) for i in range(2)])
    gap = _gap(_call(subject, batch)[:2], alone, spread)
    if gap <= _TOLERANCE:
        return None
    where = _first_difference(subject, batch, batch[:1])
    text = f"Outputs hang on the other images of the batch, by {gap:.1%} of their spread, in eval mode too{where}. "
    return Finding(
        "steadiness",
        "alarm",
        text + "Give batch normalisation its running statistics, or measure images alone.",
    )


def _train_mode(subject: Subject, batch: Tensor, spread: float) -> list[Finding]:
    """Say what train mode would do, for models that have any."""
    module = subject.module
    parts = list(module.modules()) if isinstance(module, nn.Module) else []
    norms = sum(isinstance(part, _BatchNorm) for part in parts)
    drops = sum(isinstance(part, _DropoutNd) and part.p > 0 for part in parts)
    if not norms + drops:
        return []
    before = _call(subject, batch)
    with evaluation_mode(module):  # puts the running statistics back
        for part in parts:
            part.training = True
        try:
            gap = _gap(before, _call(subject, batch), spread)
        finally:
            for part in parts:
                part.training = False
    kinds = " and ".join(
        f"{count} {name} layer{'s' * (count > 1)}"
        for count, name in ((norms, "BatchNorm"), (drops, "dropout"))
        if count
    )
    text = (
        f"{kinds}: in train mode the output differs by {gap:.0%} of its spread. Keep the model in eval mode."
    )
    return [Finding("mode", "ok", text)]


def _call(subject: Subject, batch: Tensor) -> Tensor:
    return subject.part(subject.module(batch.clone())).detach().clone()


def _spread(outputs: Tensor) -> float:
    """Return the root mean square distance of an output from their mean."""
    rows = outputs.flatten(1).double()
    return float((rows - rows.mean(0)).square().sum(1).mean().sqrt())


def _gap(first: Tensor, second: Tensor, spread: float) -> float:
    if first.shape != second.shape:
        return float("inf")
    gap = float((first - second).flatten(1).double().square().sum(1).mean().sqrt())
    # Of a constant output, which has a finding of its own, nothing is compared.
    return gap / spread if spread > 0 else 0.0


def _first_difference(subject: Subject, batch: Tensor, other: Tensor) -> str:
    """Name the first module whose output on the first image differs between two calls."""
    if not isinstance(subject.module, nn.Module):
        return ""
    first, second = (_traced(subject.module, images) for images in (batch, other))
    for (name, kind, one), (_, _, two) in zip(first, second):
        if one.shape == two.shape and not torch.allclose(one, two, rtol=1e-3, atol=1e-5):
            return f", first at {name!r} ({kind})"
    return ""


def _traced(module: nn.Module, images: Tensor) -> list[tuple[str, str, Tensor]]:
    """Return the first image's output of each leaf that puts out a tensor with images first, in order of their runs."""
    runs: list[tuple[str, str, Tensor]] = []

    def note(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(part: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.ndim and len(output) == len(images):
                runs.append((name, type(part).__name__, output[0].detach().clone()))

        return hook

    leaves = [
        (name, part) for name, part in module.named_modules() if name and next(part.children(), None) is None
    ]
    handles = [part.register_forward_hook(note(name)) for name, part in leaves]
    try:
        module(images.clone())
    finally:
        for handle in handles:
            handle.remove()
    return runs
