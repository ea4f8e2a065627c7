"""Help of the commands whose options are those of large libraries: kept as text, as to make it imports them all.

`make help-texts` writes the texts anew. A text is shown only beside the libraries that it was made with; with
others, the command makes its own.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "help"
_LIBRARIES = ("jsonargparse", "pytorch-lightning")


def stored_help(command: str) -> str | None:
    """Return the kept help of a command; None where there is none, or other libraries are installed.

    Args:
        command: Its name, as on the command line.
    """
    try:
        head, text = help_path(command).read_text(encoding="utf-8").split("\n", 1)
    except (OSError, ValueError):
        return None
    return text if head == made_with() else None


def help_path(command: str) -> Path:
    """Return where the help of a command is kept, if it is."""
    return FOLDER / f"{command.replace(' ', '_')}.txt"


def made_with() -> str:
    """Return the versions of the libraries that the texts depend on; "" if one is missing."""
    try:
        return ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    except PackageNotFoundError:
        return ""
