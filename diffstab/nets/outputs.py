"""The tensor in what a model returns: the whole output, or a part of a tuple, dictionary or object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from torch import Tensor

from diffstab.errors import ArgumentError


@dataclass(frozen=True)
class OutputPart:
    """Picks a tensor out of what a model returns.

    Args:
        path: Keys, numbers of entries and attributes with dots between them, "logits" or "0.features"; "" is the whole.

    Raises:
        ArgumentError: On a call, if there is no such part, or it is no tensor; the message says what there is.
    """

    path: str = ""

    def __call__(self, output: Any) -> Tensor:
        """Return the part of an output."""
        part, done = output, ""
        for step in self.path.split(".") if self.path else []:
            part = _step(part, step, argument=f"output{done}")
            done += f".{step}"
        if isinstance(part, Tensor):
            return part
        way_out = (
            f"Name one of them: {', '.join(_names(part, self.path))}." if _names(part, self.path) else ""
        )
        raise ArgumentError(f"output{done}", "be a tensor", _described(part), way_out)


def output_part(path: str | None) -> OutputPart:
    """Return what picks a part of a model's output: by index, key or attribute, with dots between several."""
    return OutputPart(path or "")


def _step(part: Any, step: str, *, argument: str) -> Any:
    if isinstance(part, Mapping) and step in part:
        return part[step]
    if isinstance(part, Sequence) and not isinstance(part, str) and step.lstrip("-").isdigit():
        if -len(part) <= int(step) < len(part):
            return part[int(step)]
    elif not step.startswith("_") and not isinstance(part, Tensor) and hasattr(part, step):
        return getattr(part, step)
    raise ArgumentError(argument, f"have the part {step!r}", _described(part))


def _names(part: Any, before: str) -> list[str]:
    """Return the paths of the parts of an output that are tensors, or hold some."""
    names: list[str] = []
    if isinstance(part, Mapping):
        names = [str(name) for name in part]
    elif is_dataclass(part):
        names = [field.name for field in fields(part)]
    elif isinstance(part, Sequence) and not isinstance(part, str):
        names = [*getattr(part, "_fields", map(str, range(len(part))))]
    return [f"{before}.{name}" if before else name for name in names]


def _described(part: Any) -> str:
    kind = type(part).__name__
    if isinstance(part, Tensor):
        return f"a tensor of shape {tuple(part.shape)}"
    if isinstance(part, Mapping):
        return f"{kind} with keys {', '.join(map(str, part)) or '(none)'}"
    if isinstance(part, Sequence) and not isinstance(part, str):
        return f"{kind} of {', '.join(type(one).__name__ for one in part) or 'nothing'}"
    return kind
