"""What an audit of a model says: one sentence per finding, with what to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from diffstab.errors import ArgumentError

Level = Literal["ok", "note", "alarm"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: What was looked at, in a word: "accuracy", "output", "input", ...
        level: "ok"; "note": worth knowing; "alarm": numbers measured so would mislead.
        text: One or two plain sentences: what was found, and what to do.
    """

    check: str
    level: Level
    text: str


@dataclass(frozen=True)
class AuditReport:
    """The findings of an audit.

    Attributes:
        findings: In the order of the checks.
        accuracy: Share of right images; None without labels.
        images: Number of images looked at.
    """

    findings: tuple[Finding, ...]
    accuracy: float | None
    images: int

    @property
    def alarms(self) -> tuple[Finding, ...]:
        """Those that must be mended first."""
        return tuple(finding for finding in self.findings if finding.level == "alarm")

    def __str__(self) -> str:
        """Say each finding in a line."""
        marks = {"ok": "ok   ", "note": "note ", "alarm": "ALARM"}
        return "\n".join(f"{marks[one.level]}  {one.check}: {one.text}" for one in self.findings)


@dataclass(frozen=True)
class Subject:
    """A model under audit, with the images that it is looked at on.

    Attributes:
        module: Takes preprocessed images.
        preprocessing: Of the images.
        part: Picks the measured tensor from an output.
        images: (n, C, H, W), as the data gave them.
        labels: (n,) class numbers; None where there are none.
        batch_size: Images at once.
        expected: Preprocessing that came with the weights, where it is known.
        train_size: Height and width of the images that it was trained on, where they are known.
    """

    module: Callable[[Tensor], Any]
    preprocessing: Callable[[Tensor], Tensor]
    part: Callable[[Any], Tensor]
    images: Tensor
    labels: Tensor | None = None
    batch_size: int = 100
    expected: Callable[[Tensor], Tensor] | None = None
    train_size: tuple[int, int] | None = None

    def like_model(self, images: Tensor) -> Tensor:
        """Return a copy of images where the model is, in its floating type."""
        parameters = self.module.parameters() if isinstance(self.module, nn.Module) else iter(())
        first = next((parameter for parameter in parameters if parameter.is_floating_point()), images)
        return images.to(first, copy=True)

    def outputs(self, preprocessing: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the outputs (n, ...) on all images under a preprocessing, on the CPU."""
        return torch.cat(
            [self._output(preprocessing, part) for part in torch.split(self.images, self.batch_size)]
        )

    def _output(self, preprocessing: Callable[[Tensor], Tensor], part: Tensor) -> Tensor:
        images = preprocessing(self.like_model(part))
        try:
            output = self.module(images)
        # Anybody's model may fail in any way.
        except (RuntimeError, TypeError, IndexError, AssertionError) as error:
            shape = " x ".join(map(str, images.shape[1:]))
            received = f"{type(error).__name__}: {' '.join(str(error).split())[:300].rstrip('.')}"
            way_out = "Look at the channels and the size of the images."
            raise ArgumentError("model", f"run on images of {shape}", received, way_out) from error
        return self.part(output).detach().cpu()
