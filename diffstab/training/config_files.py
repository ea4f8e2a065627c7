"""Configuration files on the command line: read strictly, and refused in one line that names the file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from diffstab.errors import ArgumentError
from diffstab.results import parse_yaml

_LONGEST = 200
"""Letters of a word from which on its middle is left out of a message."""

_NOISE = re.compile(
    r"Subtypes:|Given value type:|Does not validate against|Errors:|(?:- )?Expected a (?:<class 'NoneType'>|path but)"
)
"""Lines of jsonargparse that tell of its types, not of the user's value."""


def strict_reading() -> str:
    """Return the name of a `parser_mode` of jsonargparse: its own reading of YAML, but a key may not be twice."""
    import jsonargparse

    as_usual = jsonargparse.get_loader("yaml")

    def load(text: str, path: object = "") -> Any:
        parse_yaml(text, name=path or "")
        return as_usual(text)

    jsonargparse.set_loader("diffstab", load, exceptions=(yaml.YAMLError,))
    return "diffstab"


def check_configs(args: Sequence[str]) -> None:
    """Refuse arguments that name a YAML file which cannot be read, or a configuration that sets nothing.

    Args:
        args: Arguments of a command.

    Raises:
        ArgumentError: With the file and, where there is one, the place in it.
    """
    for option, value in _pairs(args):
        is_config = option in ("config", "c")
        if (is_config or value.endswith((".yaml", ".yml"))) and _is_file(value):
            try:
                content = parse_yaml(Path(value).read_bytes(), name=value)
            except OSError as error:
                raise ArgumentError(option, "be a readable file", f"{value} ({error.strerror})") from error
            except yaml.YAMLError as error:
                raise ArgumentError(option, "be YAML", error) from error
            if is_config and not (isinstance(content, Mapping) and content):
                kind = "an empty file" if content is None else type(content).__name__
                raise ArgumentError(option, "be a file of options by name", f"{value} ({kind})")


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except (OSError, ValueError):  # no name of a file: too long, or YAML itself
        return False


def _pairs(args: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield options with their values, "" before words that are none's."""
    option = ""
    for word in args:
        if word.startswith("-"):
            option, _, value = word.lstrip("-").partition("=")
            yield option, value
        else:
            yield option, word
            option = ""


def told(error: Exception) -> str:
    """Return what a parser refused, in a line, without what is of use to its developers only."""
    lines = [line.strip() for line in str(error).splitlines()]
    kept = [line.removeprefix("- ") for line in lines if line and not _NOISE.match(line)]
    text = " ".join(line if line.endswith((":", ".", ",")) else f"{line};" for line in kept).rstrip(";.")
    text = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", text)
    text = re.sub(r"NestedArg\(key='\w+', val=(.*?)\)", r"\1", text)
    return re.sub(rf"\S{{{_LONGEST},}}", lambda found: f"{found[0][:60]}...{found[0][-20:]}", text)
