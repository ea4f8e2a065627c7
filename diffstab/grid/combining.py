"""The experiments of a grid: each value of a parameter is parsed once, and the combinations are put together."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from diffstab.errors import ArgumentError
from diffstab.experiments.unit import Experiment
from diffstab.grid.options import parse
from diffstab.grid.sweep_file import SweepFile, coordinates
from diffstab.results import canonical_json

Changes = dict[tuple[str, ...], Any]
"""New values by their places in an experiment: names of fields, or keys of mappings."""
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
    ends = [combinations[0], combinations[-1]]
    if changes is not None and not all(_is_exact(sweep, base, changes, one) for one in ends):
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


def _changes(sweep: SweepFile, base: Experiment) -> dict[tuple[str, str], Changes] | None:
    """Return what each value of each parameter changes in the base; None where values cannot be told apart so."""
    if any(_hangs_together(name) for name in sweep.swept):
        return None
    found: dict[tuple[str, str], Changes] = {}
    owners: dict[tuple[str, ...], str] = {}
    for name, value in [(name, value) for name, values in sweep.swept.items() for value in values]:
        try:
            alone = _parsed(sweep, {name: value})
        except ArgumentError:
            return None  # wrong, or right only beside others: parsed with them
        found[name, repr(value)] = dict(_differences(base, alone))
        if any(owners.setdefault(path, name) != name for path in found[name, repr(value)]):
            return None
    starts = {path: [path[:length] for length in range(len(path))] for path in owners}
    clash = any(owners.get(one, name) != name for path, name in owners.items() for one in starts[path])
    return None if clash else found


def _hangs_together(name: str) -> bool:
    """Whether a parameter may change what others mean: it chooses a class, or reads a file of any options."""
    options = name.split(",")
    return "config" in options or any(option.split(".")[-1] == "class_path" for option in options)


def _differences(base: Any, other: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the least parts of `other` that are not those of `base`, with their places."""
    before, after = base, other
    if dataclasses.is_dataclass(base) and type(base) is type(other):
        names = [field.name for field in dataclasses.fields(base)]
        before, after = ({name: getattr(one, name) for name in names} for one in (base, other))
    if isinstance(before, dict) and isinstance(after, dict) and before.keys() <= after.keys():
        for name, value in after.items():
            if name in before:
                yield from _differences(before[name], value, (*path, name))
            else:
                yield (*path, name), value
    elif base != other or type(base) is not type(other):
        yield path, other


def _combined(base: Any, combination: Mapping[str, Any], changes: Mapping[tuple[str, str], Changes]) -> Any:
    """Return the base with all that the values of a combination change; checks of the experiment run anew."""
    together: Changes = {}
    for name, value in combination.items():
        together |= changes[name, repr(value)]
    return _laid(base, together)


def _laid(base: Any, changes: Changes) -> Any:
    if () in changes:
        return changes[()]
    inside: dict[str, Changes] = {}
    for (name, *rest), value in changes.items():
        inside.setdefault(name, {})[tuple(rest)] = value
    if isinstance(base, dict):
        return base | {name: _laid(base.get(name), parts) for name, parts in inside.items()}
    new = {name: _laid(getattr(base, name), parts) for name, parts in inside.items()}
    return dataclasses.replace(base, **new) if new else base


def _is_exact(
    sweep: SweepFile, base: Experiment, changes: Mapping[tuple[str, str], Changes], one: Mapping[str, Any]
) -> bool:
    """Whether a combination comes out as it is parsed by itself."""
    try:
        pair = _combined(base, one, changes), _parsed(sweep, one)
    except ArgumentError:
        return False
    return len({canonical_json(experiment.resolved()) for experiment in pair}) == 1
