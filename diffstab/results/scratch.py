"""Folders for the time of a process, which the next one removes if it was killed."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diffstab.results.claims import held, is_held

_PREFIX = "diffstab-"
_LOCK = ".in-use.lock"
_YOUNG_SECONDS = 60
"""A younger folder may be one whose process is just about to lock it."""


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make a folder among the system's temporary ones and remove it at the end.

    It is locked meanwhile. What killed processes of the same user have left is removed first.

    Yields:
        The folder.
    """
    _remove_left()
    with (
        tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as name,
        held(Path(name) / _LOCK),
    ):
        yield Path(name)


def _remove_left() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            if _is_left(folder):
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # somebody else's, or gone meanwhile
            continue


def _is_left(folder: Path) -> bool:
    found, lock = folder.lstat(), folder / _LOCK
    is_ours = not folder.is_symlink() and found.st_uid == getattr(os, "getuid", lambda: found.st_uid)()
    is_old = time.time() - found.st_mtime > _YOUNG_SECONDS
    # One without a lock file is none of these.
    return is_ours and is_old and lock.is_file() and not is_held(lock)
