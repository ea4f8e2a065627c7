"""How the commands that run a grid read their options: a config file, the fields of an experiment, a results folder."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from diffstab.errors import ArgumentError
from diffstab.results import flatten
from diffstab.shipped import with_configs
from diffstab.training.config_files import read_arguments, strict_reading, told
from diffstab.training.grid import Asked, GridExperiment
from diffstab.training.zipped import split_zipped

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

Experiment = TypeVar("Experiment", bound=GridExperiment)


def parse_experiment(
    args: Sequence[str],
    experiment: type[Experiment],
    *,
    program: str,
    about: str,
    part: str,
    add_part: Callable[[ArgumentParser], object],
    prefix: str = "",
) -> Asked[Experiment]:
    """Return what the arguments of a command that runs a grid ask for.

    The folder is `--results`, or `results/`, the prefix and the name of the config file. Under `wandb agent` it is
    `results/wandb_sweep_<sweep>/<run>`.

    Args:
        args: Arguments after the command's name.
        experiment: Class of the experiment, a dataclass with a default for every field.
        program: Name of the command.
        about: What it does, for its help.
        part: Field that stays a description (class_path and init_args) because it is made run by run.
        add_part: Adds the argument of that field to a parser.
        prefix: Put before the config's name in the default folder.

    Raises:
        ArgumentError: If an option or a value is wrong.
    """
    from jsonargparse import ArgumentError as ParseError
    from jsonargparse import ArgumentParser

    mode = strict_reading()
    parser = ArgumentParser(prog=program, description=about, exit_on_error=False, parser_mode=mode)
    parser.add_argument("--config", action="config", help="YAML file of the experiment")
    parser.add_argument("--results", "--output", type=str, default=None, help="results folder")
    parser.add_argument("--workers", type=int, default=1, help="processes that run at once")
    parser.add_argument("--wandb", type=str, default=None, metavar="PROJECT", help="log the runs to W&B")
    add_part(parser)
    parser.add_class_arguments(experiment, nested_key=None, as_group=False, skip={part})
    try:
        args = read_arguments(with_configs(split_zipped(args)))
        options = parser.parse_args(args)
        _refuse_new_labels(parser, args, options)
        described = _described(options.pop(part), part)
        values = parser.instantiate(options)
    except (ParseError, UnicodeError) as error:
        raise ArgumentError("configuration", f"fit the options of {program}", told(error)) from error
    folder = options.results or _default_folder(options.config or [], program=program, prefix=prefix)
    names = [field.name for field in dataclasses.fields(experiment) if field.name != part]  # type: ignore[arg-type]
    made = experiment(**{part: described}, **{name: getattr(values, name) for name in names})
    if options.workers < 1:
        raise ArgumentError("workers", "be at least 1", options.workers)
    _refuse_large(made.resolved())
    return Asked(made, Path(folder), options.workers, options.wandb)


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
    labels = [
        (name, label)
        for name, label, *_ in parts
        if isinstance(options.get(name), dict) and name not in flags
    ]
    if labels:
        configured = parser.parse_args(_configs(args))
        for name, label in labels:
            if label not in configured[name]:
                way_out = (
                    f"There are {', '.join(configured[name])}. New ones need a file, or --{name} as a whole."
                )
                raise ArgumentError(
                    f"--{name}.{label}", "name an entry of the configuration", repr(label), way_out
                )


def _configs(args: Sequence[str]) -> list[str]:
    """Return the arguments that name config files."""
    rest = iter(args)
    return [
        f"{one}={next(rest)}" if one == "--config" else one
        for one in rest
        if one.partition("=")[0] == "--config"
    ]


def _default_folder(configs: Sequence[Any], *, program: str, prefix: str) -> str:
    """Return the results folder of a command that is given none: named after its last config file, if any."""
    if sweep := os.environ.get("WANDB_SWEEP_ID"):
        # Its agent starts a process per combination, of which any option may differ.
        return f"results/wandb_sweep_{sweep}/{os.environ.get('WANDB_RUN_ID', 'run')}"
    files = [str(config) for config in configs if config is not None and Path(str(config)).is_file()]
    name = Path(files[-1]).stem if files else program.split(maxsplit=1)[1].replace(" ", "_")
    return f"results/{prefix if files else ''}{name}"


def add_data_module(parser: ArgumentParser, default: dict[str, Any]) -> None:
    """Add `data`, a LightningDataModule that is made run by run from a size and a seed."""
    from pytorch_lightning import LightningDataModule

    parser.add_subclass_arguments(LightningDataModule, "data", skip={"n_train", "seed"})
    parser.set_defaults({"data": default})


def _described(choice: Any, name: str) -> Any:
    """Return parsed class choices as plain dictionaries."""
    if choice is None:
        raise ArgumentError(name, "name a class by class_path", "null")
    return [part.as_dict() for part in choice] if isinstance(choice, list) else choice.as_dict()
