"""The help that commands make themselves; run as a module it replaces the kept texts."""

import io
import os
import sys
from contextlib import redirect_stdout, suppress
from pathlib import Path

from diffstab.cli import commands
from diffstab.helptext import FOLDER, help_path, made_with

KEPT = ("compare", "fit", "forces", "plateau", "sphere curve", "sphere fit")
WIDTH = "100"


def made_help(command):
    """What a command prints for --help."""
    group, _, name = command.partition(" ")
    shown = io.StringIO()
    with redirect_stdout(shown), suppress(SystemExit):
        (commands(group)[name] if name else commands()[group]).run(command, ["--help"])
    return shown.getvalue()


def write_all(folder):
    folder.mkdir(exist_ok=True)
    for command in KEPT:
        text = f"{made_with()}\n{made_help(command)}"
        (folder / help_path(command).name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    os.environ["COLUMNS"] = WIDTH
    write_all(Path(sys.argv[1]) if sys.argv[1:] else FOLDER)
