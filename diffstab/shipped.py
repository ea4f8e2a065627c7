"""Files that come with the package: the configurations, found from any folder, and the data modules beside it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from diffstab.errors import ArgumentError

_PACKAGE = Path(__file__).resolve().parent
CONFIGS = next(
    (folder for folder in (_PACKAGE / "configs", _PACKAGE.parent / "configs") if folder.is_dir()),
    _PACKAGE / "configs",
)
"""Folder of the configurations: in an installed package, or else in the checkout."""

_NAMING = ("--config", "-c", "--data", "--model")
"""Options whose values may be configuration files."""

_ENDINGS = (".yaml", ".yml")


def config_path(name: str | Path) -> Path:
    """Return the path of a configuration: a file of that name as seen from here, or else the one that is shipped.

    Args:
        name: Path of a file, or its name below the shipped folder, with or without `configs/` before it.

    Raises:
        ArgumentError: If neither is there; the message names both.
    """
    path = Path(name)
    if path.exists() or path.is_absolute():
        return path
    below = path.relative_to("configs") if path.parts[:1] == ("configs",) else path
    shipped = CONFIGS / below
    if shipped.is_file() and shipped.resolve().is_relative_to(CONFIGS.resolve()):
        return shipped
    way_out = "Look at the name, and at the folder that the command is run in."
    raise ArgumentError(
        "config", "name a file", f"{path}: neither {path.absolute()} nor {shipped} is one", way_out
    )


def with_configs(args: Sequence[str]) -> list[str]:
    """Return arguments whose configuration files are paths that exist; anything else stays as it is.

    Raises:
        ArgumentError: If a file that `--config` names is not there.
    """
    found: list[str] = []
    option = ""
    for word in args:
        flag, equals, value = word.partition("=")
        if equals and flag in _NAMING:
            found.append(f"{flag}={_resolved(flag, value)}")
        else:
            found.append(_resolved(option, word) if option in _NAMING else word)
        option = word
    return found


def _resolved(option: str, value: str) -> str:
    # Anything else is a class, or YAML in place of a file.
    if not value.endswith(_ENDINGS) or "\n" in value:
        return value
    return str(config_path(value))


def check_data_modules() -> None:
    """Refuse to go on where another package hides the data modules that came with this one.

    Raises:
        ArgumentError: If `import datamodules` finds a folder of the user's.
    """
    found = find_spec("datamodules")
    place = Path(found.origin).resolve().parent if found and found.origin else None
    if place is None or place.parent != _PACKAGE.parent:
        way_out = "Run the command elsewhere, or rename that folder."
        where = place or "no file on the path of Python"
        raise ArgumentError("datamodules", f"be the package beside {_PACKAGE}", where, way_out)
