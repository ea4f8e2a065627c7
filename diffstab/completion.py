"""Shell completion: a script that shtab makes of the parsers that the commands make themselves."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any, NoReturn
from unittest.mock import patch

SHELLS = ("bash", "zsh", "tcsh")


def script(shell: str, commands: Mapping[str, Callable[[], object]]) -> str:
    """Return what a shell has to read to complete the command line.

    Args:
        shell: One of `SHELLS`.
        commands: What starts each command, by its words, as "sphere curve". It is run up to where it would parse
            its arguments; groups of commands, as "sphere", need no entry.
    """
    import shtab

    root = argparse.ArgumentParser(prog="diffstab")
    groups = {"": root.add_subparsers(dest="command")}
    for words, run in commands.items():
        group, _, name = words.rpartition(" ")
        if group not in groups:
            groups[group] = groups[""].add_parser(group, help=group).add_subparsers(dest=group)
        _copy(
            _own_parser(run, name), groups[group].add_parser(name, help=name)
        )  # shtab hides what has no help
    made: str = shtab.complete(root, shell)
    return made


class _StoppedError(Exception):
    """A command has come to where it parses its arguments."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


def _own_parser(run: Callable[[], object], name: str) -> argparse.ArgumentParser:
    """The parser that a command parses its arguments with; where that knows several commands, the one of the name."""
    from jsonargparse import capture_parser

    def stop(parser: argparse.ArgumentParser, *_: object, **__: object) -> NoReturn:
        raise _StoppedError(parser)

    try:
        with patch.object(argparse.ArgumentParser, "parse_args", stop):
            parser: argparse.ArgumentParser = capture_parser(run)
    except _StoppedError as stopped:
        parser = stopped.parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction) and name in action.choices:
            return action.choices[name]  # type: ignore[no-any-return]
    return parser


def _copy(parser: argparse.ArgumentParser, to: argparse.ArgumentParser) -> None:
    """Give a plain parser the same options; what takes a free value is completed by names of files."""
    import shtab

    for action in parser._actions:
        if action.help == argparse.SUPPRESS or "--help" in action.option_strings:
            continue
        settings: dict[str, Any] = {"action": "store_true"}
        if takes_value := action.nargs != 0:
            settings = {"nargs": None if action.option_strings else "*", "choices": action.choices}
        names = action.option_strings or [action.dest]
        copied = to.add_argument(*names, help=_line(action.help), **settings)
        if takes_value and action.choices is None:
            copied.complete = shtab.FILE  # type: ignore[attr-defined]


def _line(text: str | None) -> str:
    """The first sentence of a help text, with no marks that argparse would fill in."""
    return (text or "").partition("\n")[0].partition(". ")[0].replace("%", "%%")
