"""Folders that are written whole or not at all."""

import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from diffstab.errors import ResultsError


def replace_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a new folder and put it in the place of an old one.

    The new folder is complete before the old one moves; if writing fails, the old one stays.

    Args:
        folder: The folder to make or replace; its parent exists.
        files: Contents by path below the folder.

    Raises:
        ResultsError: The files cannot be written.
    """
    mark = uuid.uuid4().hex[:8]
    new, old = (folder.with_name(f".{folder.name}-{mark}.{state}") for state in ("new", "old"))
    try:
        for name, content in files.items():
            path = new / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        _swap(new, folder, old)
    except OSError as error:
        shutil.rmtree(new, ignore_errors=True)
        raise ResultsError(
            f"{folder} cannot be written ({error}). Free space there, or copy the results to a folder of your own."
        ) from error
    shutil.rmtree(old, ignore_errors=True)


def _swap(new: Path, folder: Path, old: Path) -> None:
    """Move a folder to `old` and a new one to its place; move it back if the second step fails."""
    if not folder.exists():
        new.replace(folder)
        return
    folder.replace(old)
    try:
        new.replace(folder)
    except OSError:
        old.replace(folder)
        raise
