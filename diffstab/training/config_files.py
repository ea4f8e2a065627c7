"""Configuration files on the command line: read strictly, and refused in one line that names the file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from diffstab.errors import ArgumentError
from diffstab.results import INCLUDE, parse_yaml, read_config

_LONGEST = 200
"""Letters of a word from which on its middle is left out of a message."""

_CONFIGS = ("--config", "-c")

_NOISE = re.compile(
    r"Subtypes:|Given value type:|Does not validate against|Errors:|(?:- )?Expected a (?:<class 'NoneType'>|path but)"
)
"""Lines of jsonargparse that tell of its types, not of the user's value."""


def strict_reading() -> str:
    """Return the name of a `parser_mode` of jsonargparse: its own reading of YAML, but files may include others.

    A key may not be twice in a mapping.
    """
    import jsonargparse

    as_usual = jsonargparse.get_loader("yaml")

    def load(text: str, path: object = "") -> Any:
        content = parse_yaml(text, name=path or "")
        if isinstance(content, dict) and INCLUDE in content:
            if not Path(str(path)).is_file():
                way_out = "A file that another one names cannot include a third."
                raise ArgumentError(
                    INCLUDE, "stand in a file of the command line", repr(content[INCLUDE]), way_out
                )
            return read_config(Path(str(path)))
        return as_usual(text)

    jsonargparse.set_loader("diffstab", load, exceptions=(yaml.YAMLError,))
    return "diffstab"


def read_arguments(args: Sequence[str]) -> list[str]:
    """Return arguments in which a file that includes another is replaced by its content, but for `--config`.

    Args:
        args: Arguments of a command.

    Raises:
        ArgumentError: If an argument names a YAML file which cannot be read, or a configuration that sets nothing; with
            the file and, where there is one, the place in it.
    """
    words: list[str] = []
    option = ""
    for word in args:
        flag, equals, value = word.partition("=") if word.startswith("-") else (option, "", word)
        content = _content(flag, value)
        # The parser reads `--config` itself, and its name is that of the results folder.
        if flag in _CONFIGS or not isinstance(content, dict) or not _includes(value):
            words.append(word)
        else:
            words.append((f"{flag}=" if equals else "") + json.dumps(content))
        option = word if word.startswith("-") and not equals else ""
    return words


def _content(flag: str, value: str) -> Any:
    option, is_config = flag.lstrip("-"), flag in _CONFIGS
    if not (is_config or value.endswith((".yaml", ".yml"))) or not _is_file(value):
        return None
    try:
        content = read_config(value)
    except OSError as error:
        raise ArgumentError(option, "be a readable file", f"{value} ({error.strerror})") from error
    except yaml.YAMLError as error:
        raise ArgumentError(option, "be YAML", error) from error
    if is_config and not (isinstance(content, Mapping) and content):
        kind = "an empty file" if content is None else type(content).__name__
        raise ArgumentError(option, "be a file of options by name", f"{value} ({kind})")
    return content


def _includes(value: str) -> bool:
    return INCLUDE in parse_yaml(Path(value).read_bytes())


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except (OSError, ValueError):  # no name of a file: too long, or YAML itself
        return False


def told(error: Exception) -> str:
    """Return what a parser refused, in a line, without what is of use to its developers only."""
    lines = [line.strip() for line in str(error).splitlines()]
    kept = [line.removeprefix("- ") for line in lines if line and not _NOISE.match(line)]
    text = " ".join(line if line.endswith((":", ".", ",")) else f"{line};" for line in kept).rstrip(";.")
    text = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", text)
    text = re.sub(r"NestedArg\(key='\w+', val=(.*?)\)", r"\1", text)
    return re.sub(rf"\S{{{_LONGEST},}}", lambda found: f"{found[0][:60]}...{found[0][-20:]}", text)
