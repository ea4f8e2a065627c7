"""The file of a sweep, which `wandb sweep` reads too: a command, its base configuration and a grid of parameters."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from diffstab.errors import ArgumentError
from diffstab.experiments import experiment_class, listed
from diffstab.experiments.unit import Experiment
from diffstab.grid.options import flag
from diffstab.results import flatten, read_config
from diffstab.shipped import config_path

_READ = {"command", "method", "parameters", "program", "project"}
_TOLD = {"description", "entity", "metric", "name"}
"""Keys of W&B that do not change which runs there are."""
_ARGUMENTS = "${args}"
_OWN_OPTIONS = ("--results", "--output", "--workers")


class SweepFile(NamedTuple):
    """A sweep as written.

    Attributes:
        name: Stem of the file's name.
        command: Name of the command that runs.
        before: Its arguments before those of the grid.
        after: Its arguments after them.
        fixed: Flags of the parameters that have one `value`.
        swept: Parameters by name, each with its values.
        project: W&B project, if the file names one.
    """

    name: str
    command: str
    before: list[str]
    after: list[str]
    fixed: dict[str, Any]
    swept: dict[str, list[Any]]
    project: str | None

    @property
    def experiment(self) -> type[Experiment]:
        """The kind of experiment that runs."""
        return experiment_class(self.command.removeprefix("run "))

    def combinations(self) -> Iterator[dict[str, Any]]:
        """Yield a value for each swept parameter; the last one varies fastest."""
        return _products(self.swept)

    def arguments(self, combination: Mapping[str, Any]) -> list[str]:
        """Return the command-line arguments of a combination, those that the agent of `wandb sweep` passes too."""
        flags = [flag(name, value) for name, value in {**self.fixed, **combination}.items()]
        return [*self.before, *flags, *self.after]


def _products(swept: Mapping[str, list[Any]]) -> Iterator[dict[str, Any]]:
    return (dict(zip(swept, values, strict=True)) for values in product(*swept.values()))


def coordinates(combination: Mapping[str, Any]) -> dict[str, Any]:
    """Return a value for each option that a combination sets, under the dotted name of its flag."""
    found: dict[str, Any] = {}
    for name, value in combination.items():
        parts = name.split(",")
        for part, single in zip(parts, value if len(parts) > 1 else [value], strict=True):
            if isinstance(single, Mapping):
                found |= flatten(single, "" if part == "config" else part)
            else:
                found[part] = single
    return found


def read_sweep(path: str | Path) -> SweepFile:
    """Read the file of a sweep.

    Args:
        path: YAML file: `command` (a list with `${args}` where the grid's flags go), `method: grid` and `parameters`,
            each a `value` or `values`. A parameter named by several options joined by commas has a tuple of values for
            them in each entry; one named `config` has mappings, each laid over the base configuration.

    Raises:
        ArgumentError: If the file cannot be read or breaks a rule, naming the key.
    """
    path = config_path(path)
    content = _content(path)
    if unknown := sorted(set(content) - _READ - _TOLD):
        known = ", ".join(sorted(_READ | _TOLD))
        raise ArgumentError(f"{path}: {unknown[0]}", f"be among the keys {known}", "a key that is unknown")
    if content.get("method") != "grid":
        way_out = "Every combination is run; random and bayes need W&B's server."
        raise ArgumentError("method", "be grid", repr(content.get("method")), way_out)
    command, before, after = _command(content)
    fixed, swept = _parameters(content.get("parameters"))
    if not isinstance(content.get("project"), str | None):
        raise ArgumentError("project", "be the name of a W&B project", repr(content["project"]))
    return SweepFile(path.stem, command, before, after, fixed, swept, content.get("project"))


def _content(path: Path) -> Mapping[str, Any]:
    try:
        content = read_config(path)
    except OSError as error:
        raise ArgumentError("sweep file", "be readable", f"{path} ({error.strerror})") from error
    except yaml.YAMLError as error:
        raise ArgumentError("sweep file", "be YAML", error) from error
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        raise ArgumentError("sweep file", "be a mapping with command, method and parameters", str(path))
    return content


def _command(content: Mapping[str, Any]) -> tuple[str, list[str], list[str]]:
    """Return the command's name and its arguments before and after the grid's flags."""
    written = content.get("command") or ["${env}", "${interpreter}", "${program}", _ARGUMENTS]
    if not isinstance(written, list):
        raise ArgumentError("command", "be a list of words", repr(written))
    words = [word for entry in written for word in _word(str(entry), content.get("program"))]
    programs = [Path(word).name == "diffstab" or word.endswith("diffstab/__main__.py") for word in words]
    if True not in programs:
        way_out = "As in: command: [diffstab, compare, --config, FILE, ${args}]."
        raise ArgumentError("command", "run diffstab", " ".join(words), way_out)
    words = words[programs.index(True) + 1 :]
    if words.count(_ARGUMENTS) != 1:
        raise ArgumentError("command", f"hold {_ARGUMENTS} once, after the command's name", " ".join(words))
    name = _name(words)
    words = words[len(name.split()) :]
    if own := [word for word in words if word.partition("=")[0] in _OWN_OPTIONS]:
        raise ArgumentError("command", "leave folder and workers to the sweep", own[0])
    place = words.index(_ARGUMENTS)
    return name, words[:place], words[place + 1 :]


def _word(entry: str, program: Any) -> list[str]:
    """Return what an entry of the command stands for."""
    if entry in ("${env}", "${interpreter}"):
        return []
    if entry == "${program}":
        if not isinstance(program, str):
            raise ArgumentError("program", "be named, as command holds ${program}", repr(program))
        return [program]
    if entry != _ARGUMENTS and re.match(r"\$\{(?!envvar:)", entry):
        known = f"${{env}}, ${{interpreter}}, ${{program}}, ${{envvar:NAME}} and {_ARGUMENTS}"
        raise ArgumentError("command", f"hold no macros but {known}", entry)
    return [re.sub(r"\$\{envvar:(\w+)\}", lambda found: os.environ.get(found[1], found[1]), entry)]


def _name(words: list[str]) -> str:
    """Return the words that name an experiment: its command, or `run` and the place of its class."""
    if words[0] == "run" and len(words) > 1:
        experiment_class(words[1])
        return " ".join(words[:2])
    for length in (2, 1):
        if (name := " ".join(words[:length])) in listed():
            return name
    raise ArgumentError("command", f"be one of {', '.join(listed())}", repr(words[0]))


def _parameters(content: Any) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Return the parameters with one value and those with several."""
    if not isinstance(content, Mapping) or not content:
        raise ArgumentError("parameters", "be a mapping of names to values", repr(content))
    found = {str(name): _values(str(name), description) for name, description in content.items()}
    for name, (values, _) in found.items():
        for value in values:
            _check_value(name, value)
    _refuse_twice({name: values for name, (values, _) in found.items()})
    fixed = {name: values[0] for name, (values, is_single) in found.items() if is_single}
    return fixed, {name: values for name, (values, is_single) in found.items() if not is_single}


def _values(name: str, description: Any) -> tuple[list[Any], bool]:
    """Return the values of a parameter, and whether it has just a `value`."""
    keys = sorted(map(str, description)) if isinstance(description, Mapping) else repr(description)
    if keys == ["value"]:
        return [description["value"]], True
    if keys == ["values"]:
        values = description["values"]
        if not isinstance(values, list) or not values:
            raise ArgumentError(f"parameters.{name}.values", "be a list of values", repr(values))
        return values, False
    if keys == ["parameters"]:
        fixed, swept = _parameters(description["parameters"])
        return [{**fixed, **combination} for combination in _products(swept)], not swept
    way_out = "A grid has no distributions."
    raise ArgumentError(f"parameters.{name}", "have value, values or parameters, one of them", keys, way_out)


def _check_value(name: str, value: Any) -> None:
    parts = name.split(",")
    if len(parts) > 1 and not (isinstance(value, list) and len(value) == len(parts)):
        condition = f"hold lists of {len(parts)} values, one for each of its names"
        raise ArgumentError(f"parameters.{name}", condition, repr(value))
    if name == "config" and not isinstance(value, Mapping | str):
        raise ArgumentError("parameters.config", "hold mappings of options, or files", repr(value))


def _refuse_twice(parameters: Mapping[str, list[Any]]) -> None:
    """Refuse two parameters that set one option: which of them wins would hang on their order."""
    taken: dict[str, str] = {}
    for name, values in parameters.items():
        if len(set(name.split(","))) < len(name.split(",")):
            raise ArgumentError("parameters", "set each option once", name)
        for option in {option for value in values for option in coordinates({name: value})}:
            starts = [option[: found.start()] for found in re.finditer(r"\.|$", option)]
            clash = [other for other in taken if other in starts or other.startswith(f"{option}.")]
            if any(taken[other] != name for other in clash):
                received = f"{option} in {taken[clash[0]]} and {name}"
                raise ArgumentError("parameters", "set each option once", received)
            taken[option] = name
