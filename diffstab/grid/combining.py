"""The experiments of a grid: each value of a parameter is parsed once, and the combinations are put together."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from diffstab.errors import ArgumentError
from diffstab.experiments.unit import Experiment
from diffstab.grid.options import parse
from diffstab.grid.sweep_file import SweepFile, coordinates
from diffstab.results import canonical_json

Path = tuple[str, ...]

_FEW = 4
"""Combinations that are parsed one by one: putting them together would take as long."""


def experiments(sweep: SweepFile, base: Experiment) -> Iterator[Experiment]:
    """Yield the experiment of each combination of a sweep, in the order of `SweepFile.combinations`.

    A combination is the base with what each of its parameters changes in it. Where that is not what the command makes
    of its arguments (one option hangs on another, as those of a class do), each combination is parsed by itself.

    Args:
        sweep: The sweep.
        base: Its experiment without the swept parameters.

    Raises:
        ArgumentError: If a combination is wrong, with the combination in the message.
    """
    combinations = list(sweep.combinations())
    changes = _changes(sweep, base) if len(combinations) > _FEW else None
    if changes is not None and not _is_exact(sweep, base, changes, [combinations[0], combinations[-1]]):
        changes = None
    for combination in combinations:
        try:
            if changes is None:
                yield _parsed(sweep, combination)
            else:
                yield _combined(base, combination, changes)
        except ArgumentError as error:
            described = canonical_json(coordinates(combination))
            raise ArgumentError(f"the combination {described}", "be accepted", error) from error


def _parsed(sweep: SweepFile, combination: Mapping[str, Any]) -> Experiment:
    return parse(sweep.experiment, sweep.arguments(combination)).experiment


def _changes(sweep: SweepFile, base: Experiment) -> dict[tuple[str, str], dict[Path, Any]] | None:
    """Return what each value of each parameter changes in the base; None where values cannot be told apart so."""
    if any(_hangs_together(name) for name in sweep.swept):
        return None
    found: dict[tuple[str, str], dict[Path, Any]] = {}
    owners: dict[Path, str] = {}
    for name, values in sweep.swept.items():
        for value in values:
            try:
                alone = _parsed(sweep, {name: value})
            except ArgumentError:
                return None  # wrong, or right only beside others: parsed with them
            found[name, repr(value)] = dict(_differences(base, alone))
            if any(owners.setdefault(path, name) != name for path in found[name, repr(value)]):
                return None
    clash = any(owners.get(start, name) != name for path, name in owners.items() for start in _starts(path))
    return None if clash else found


def _hangs_together(name: str) -> bool:
    """Whether a parameter may change what others mean: it chooses a class, or reads a file of any options."""
    options = name.split(",")
    return "config" in options or any(option.split(".")[-1] == "class_path" for option in options)


def _starts(path: Path) -> Iterator[Path]:
    return (path[:length] for length in range(len(path)))


def _differences(base: Any, other: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield the least parts of `other` that are not those of `base`, with their places."""
    if dataclasses.is_dataclass(base) and type(base) is type(other):
        for field in dataclasses.fields(base):
            yield from _differences(
                getattr(base, field.name), getattr(other, field.name), (*path, field.name)
            )
    elif isinstance(base, dict) and isinstance(other, dict) and base.keys() <= other.keys():
        for name, value in other.items():
            if name in base:
                yield from _differences(base[name], value, (*path, name))
            else:
                yield (*path, name), value
    elif base != other or type(base) is not type(other):
        yield path, other


def _combined(
    base: Any, combination: Mapping[str, Any], changes: Mapping[tuple[str, str], Mapping[Path, Any]]
) -> Any:
    """Return the base with all that the values of a combination change; checks of the experiment run anew."""
    parts = [changes[name, repr(value)] for name, value in combination.items()]
    return _laid(base, [change for part in parts for change in part.items()])


def _laid(base: Any, changes: Sequence[tuple[Path, Any]]) -> Any:
    if not changes:
        return base
    if changes[0][0] == ():
        return changes[0][1]
    inside: dict[str, list[tuple[Path, Any]]] = {}
    for (name, *rest), value in changes:
        inside.setdefault(name, []).append((tuple(rest), value))
    if isinstance(base, dict):
        return base | {name: _laid(base.get(name), parts) for name, parts in inside.items()}
    return dataclasses.replace(
        base, **{name: _laid(getattr(base, name), parts) for name, parts in inside.items()}
    )


def _is_exact(
    sweep: SweepFile,
    base: Experiment,
    changes: Mapping[tuple[str, str], Mapping[Path, Any]],
    ends: Sequence[Mapping[str, Any]],
) -> bool:
    """Whether combinations come out as they are parsed by themselves."""
    try:
        pairs = [(_combined(base, one, changes), _parsed(sweep, one)) for one in ends]
    except ArgumentError:
        return False
    return all(canonical_json(put.resolved()) == canonical_json(parsed.resolved()) for put, parsed in pairs)
