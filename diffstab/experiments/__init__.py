"""The kinds of experiment, one file each, and how they are found by their names.

Every file of this folder with a class that has a `name` is a command. So is every entry point of the group
`diffstab.experiments` of an installed package, `name = "package.module:Class"`; and `diffstab run package.module:Class`
runs a class that is registered nowhere.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from diffstab.errors import ArgumentError

if TYPE_CHECKING:
    from diffstab.experiments.unit import Experiment

GROUP = "diffstab.experiments"
"""Entry points of other packages."""


class Listed(NamedTuple):
    """An experiment as it is listed, before it is imported.

    Attributes:
        path: Where its class is, as package.module:Class.
        summary: What it is, in a line.
    """

    path: str
    summary: str


@lru_cache(maxsize=1)
def listed() -> dict[str, Listed]:
    """Return the experiments by the names of their commands; none is imported for it."""
    found: dict[str, Listed] = {}
    for file in sorted(Path(__file__).parent.glob("*.py")):
        found |= dict(_declared(file))
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        found.setdefault(point.name, Listed(point.value, f"the experiment {point.value}"))
    return found


def _declared(file: Path) -> Iterator[tuple[str, Listed]]:
    """Yield the experiments of a file, read and not run: to import them takes seconds."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        words = _words(node.body) if isinstance(node, ast.ClassDef) else {}
        if isinstance(node, ast.ClassDef) and "name" in words:
            summary = (ast.get_docstring(node) or "").partition("\n")[0].rstrip(".")
            path = f"{__name__}.{file.stem}:{node.name}"
            yield words["name"], Listed(path, summary)


def _words(body: list[ast.stmt]) -> dict[str, str]:
    """Return the words that a class gives to names of its own."""
    return {
        ast.unparse(line.targets[0]): line.value.value
        for line in body
        if isinstance(line, ast.Assign)
        and isinstance(line.value, ast.Constant)
        and isinstance(line.value.value, str)
    }


def experiment_class(name: str) -> type[Experiment]:
    """Return a kind of experiment by its command's name, or by package.module:Class.

    Raises:
        ArgumentError: If there is none of that name.
    """
    if name not in listed() and ":" not in name:
        raise ArgumentError(
            "experiment", f"be one of {', '.join(listed())}, or package.module:Class", repr(name)
        )
    return imported(listed()[name].path if name in listed() else name)


def import_others() -> None:
    """Import the experiments of other packages: what their columns mean is known from then on."""
    for name, one in listed().items():
        if not one.path.startswith(__name__):
            experiment_class(name)


def imported(path: str) -> type[Experiment]:
    """Return the class at package.module:Class; what its columns mean is known from then on.

    Raises:
        ArgumentError: If it cannot be imported, or is no experiment.
    """
    from diffstab.experiments.unit import Experiment
    from diffstab.results import schema

    module, _, attribute = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ArgumentError(
            "experiment", "be importable as package.module:Class", f"{path} ({error})"
        ) from error
    if not (isinstance(found, type) and issubclass(found, Experiment)):
        raise ArgumentError(
            "experiment", "be a class that inherits from diffstab.experiments.unit.Experiment", path
        )
    axes = {axis.name: schema.Column(axis.option, axis.name, axis.name, role="axis") for axis in found.axes}
    schema.declare({**found.columns, **axes})
    return found
