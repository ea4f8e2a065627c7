"""The command line of an experiment: a config file, a flag for each of its fields, a results folder."""

from __future__ import annotations

import ast
import dataclasses
import json
import os
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import yaml

from diffstab.errors import ArgumentError
from diffstab.experiments.classes import class_at
from diffstab.experiments.unit import Experiment
from diffstab.results import flatten, parse_yaml
from diffstab.shipped import with_configs
from diffstab.training.config_files import read_arguments, strict_reading, told

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

E = TypeVar("E", bound=Experiment)


class Request(NamedTuple):
    """What the arguments of a command ask for.

    Attributes:
        experiment: Configuration.
        folder: Results folder.
        workers: Processes that run at once.
        wandb: Project of Weights & Biases that runs are logged to; None for none.
    """

    experiment: Experiment
    folder: Path
    workers: int = 1
    wandb: str | None = None


def parse(experiment: type[Experiment], args: Sequence[str]) -> Request:
    """Return what the arguments of an experiment's command ask for.

    The folder is `--results`, or `results/` and the name of the config file. Under `wandb agent` it is
    `results/wandb_sweep_<sweep>/<run>`. An experiment with a method `from_arguments` reads its arguments itself.

    Args:
        experiment: Kind of experiment.
        args: Arguments after the command's name.

    Raises:
        ArgumentError: If an option or a value is wrong.
    """
    from jsonargparse import ArgumentError as ParseError

    args = split_zipped(args)
    if hasattr(experiment, "from_arguments"):
        return Request(experiment.from_arguments(args), Path(_default_folder(experiment, [])))
    parser = _parser(experiment)
    try:
        args = read_arguments(with_configs(args))
        options = parser.parse_args(args)
        _refuse_new_labels(parser, args, options)
        made = _made(experiment, parser, options)
    except (ParseError, UnicodeError) as error:
        condition = f"fit the options of diffstab {experiment.name}"
        raise ArgumentError("configuration", condition, told(error)) from error
    if options.workers < 1:
        raise ArgumentError("workers", "be at least 1", options.workers)
    _refuse_large(made.resolved())
    folder = options.results or _default_folder(experiment, options.config or [])
    return Request(made, Path(folder), options.workers, options.wandb)


def _parser(experiment: type[Experiment]) -> ArgumentParser:
    from jsonargparse import ArgumentParser

    about = f"{(experiment.__doc__ or '').partition(chr(10))[0]} Recorded runs are skipped."
    prog = f"diffstab {experiment.name}"
    parser = ArgumentParser(exit_on_error=False, parser_mode=strict_reading(), prog=prog, description=about)
    parser.add_argument("--config", action="config", help="YAML file of the experiment")
    parser.add_argument("--results", "--output", type=str, default=None, help="results folder")
    parser.add_argument("--workers", type=int, default=1, help="processes that run at once")
    parser.add_argument("--wandb", type=str, default=None, metavar="PROJECT", help="log the runs to W&B")
    choice = experiment.class_option
    if choice is not None:
        base, default = class_at(choice.base, argument=choice.option), getattr(experiment(), choice.option)
        if isinstance(default, list):
            listed, about = types.GenericAlias(list, (base,)), "class_path and init_args of each"
            parser.add_argument(f"--{choice.option}", type=listed, default=default, help=about)
        else:
            parser.add_subclass_arguments(base, choice.option, skip=set(choice.given))
            parser.set_defaults({choice.option: default})
    skip = {choice.option} if choice is not None else set()
    for name, settings in experiment.open_options.items():
        # Not as their class: jsonargparse would take a class_path for one of its subclasses.
        parser.add_method_arguments(settings, "__init__", name)
        parser.groups[name].title = (settings.__doc__ or name).partition("\n")[0].rstrip(".")
        skip.add(name)
    parser.add_class_arguments(experiment, nested_key=None, as_group=False, skip=skip)
    return parser


def _made(experiment: type[E], parser: ArgumentParser, options: Any) -> E:
    """Return the experiment of parsed options, whose class descriptions stay descriptions."""
    described: dict[str, Any] = {}
    if (choice := experiment.class_option) is not None:
        found = options.pop(choice.option)
        if found is None:
            raise ArgumentError(choice.option, "name a class by class_path", "null")
        plain = [part.as_dict() for part in found] if isinstance(found, list) else found.as_dict()
        described[choice.option] = plain
    for name, settings in experiment.open_options.items():
        described[name] = settings(**options.pop(name).as_dict())
    values = parser.instantiate(options)
    names = [field.name for field in dataclasses.fields(experiment) if field.name not in described]
    return experiment(**described, **{name: getattr(values, name) for name in names})


def _refuse_large(config: Mapping[str, Any]) -> None:
    """Refuse whole numbers that no column of a record holds, before anything is run."""
    for name, value in flatten(config).items():
        for number in value if isinstance(value, list | tuple) else [value]:
            if isinstance(number, int) and abs(number) >= 2**63:
                raise ArgumentError(name, "lie below 2^63 in size", number)


def _refuse_new_labels(parser: ArgumentParser, args: Sequence[str], options: Any) -> None:
    """Refuse an option of a method, say, that the config files do not have: a typing error, not a new method."""
    flags = [argument.removeprefix("--").partition("=")[0] for argument in args if argument.startswith("--")]
    parts = [flag.split(".") for flag in flags if flag.count(".") > 1]
    is_mapping = {name: isinstance(options.get(name), dict) and name not in flags for name, *_ in parts}
    labels = [(name, label) for name, label, *_ in parts if is_mapping[name]]
    if not labels:
        return
    rest = iter(args)
    configs = [word if "=" in word else f"{word}={next(rest)}" for word in rest if _is_config(word)]
    configured = parser.parse_args(configs)
    for name, label in labels:
        if label not in (known := configured[name]):
            way_out = f"There are {', '.join(known)}. New ones need a file, or --{name} as a whole."
            condition = "name an entry of the configuration"
            raise ArgumentError(f"--{name}.{label}", condition, repr(label), way_out)


def _is_config(word: str) -> bool:
    return word.partition("=")[0] == "--config"


def _default_folder(experiment: type[Experiment], configs: Sequence[Any]) -> str:
    """Return the results folder of a command that is given none: named after its last config file, if any."""
    if sweep := os.environ.get("WANDB_SWEEP_ID"):
        # Its agent starts a process per combination, of which any option may differ.
        return f"results/wandb_sweep_{sweep}/{os.environ.get('WANDB_RUN_ID', 'run')}"
    files = [str(config) for config in configs if config is not None and Path(str(config)).is_file()]
    name = Path(files[-1]).stem if files else experiment.name.split(":")[-1].replace(" ", "_")
    return f"results/{experiment.folder_prefix if files else ''}{name}"


def split_zipped(args: Sequence[str]) -> list[str]:
    """Return command-line arguments with every flag of several names as one flag for each name, and `=None` as null.

    Such flags, `--n_train,penalty=[[64], 0.1]`, are those of a zipped grid. The agent of `wandb sweep` writes values in
    Python's notation, which differs from YAML's in None.

    Args:
        args: Arguments; a flag of several names has one value for each, in a list, after `=`, in YAML or as that agent
            writes it.

    Raises:
        ArgumentError: If the value of such a flag is no list of that many values.
    """
    return [part for argument in args for part in _split(argument)]


def flag(name: str, value: object) -> str:
    """Return a command-line flag that sets an option to a plain value.

    Raises:
        ArgumentError: If the value is not plain.
    """
    try:
        return f"--{name}={value if isinstance(value, str) else json.dumps(value)}"
    except TypeError as error:
        condition = "be a string, number, boolean, null, list or mapping"
        raise ArgumentError(name, condition, repr(value)) from error


def _split(argument: str) -> Iterator[str]:
    names, equals, text = argument.removeprefix("--").partition("=")
    if not argument.startswith("--") or "," not in names:
        yield f"--{names}=null" if text == "None" and argument.startswith("--") else argument
        return
    values = _plain(text) if equals else None
    parts = names.split(",")
    if not isinstance(values, list | tuple) or len(values) != len(parts):
        raise ArgumentError(f"--{names}", f"be followed by = and a list of {len(parts)} values", repr(text))
    yield from map(flag, parts, values)


def _plain(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        pass
    try:
        return parse_yaml(text)
    except yaml.YAMLError:
        return None
