"""Flags that set several options at once, as a zipped grid names them: `--n_train,penalty=[[64], 0.1]`."""

import ast
import json
from collections.abc import Iterator, Sequence

import yaml

from diffstab.errors import ArgumentError
from diffstab.results import parse_yaml


def split_zipped(args: Sequence[str]) -> list[str]:
    """Return command-line arguments with every flag of several names as one flag for each name, and `=None` as null.

    The agent of `wandb sweep` writes values in Python's notation, which differs from YAML's in None.

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
        raise ArgumentError(
            name, "be a string, number, boolean, null, list or mapping", repr(value)
        ) from error


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
