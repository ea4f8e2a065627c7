"""Files that are either wholly there or not at all, whatever dies in between."""

import io
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from diffstab.errors import ResultsError


def write_atomically(path: str | Path, data: bytes) -> Path:
    """Write the file so that a reader sees the old content or the new one, never a part of it.

    The data go to a hidden file in the same folder, onto the disk (fsync), and then take the name in one step.
    A process killed in between leaves at most the hidden file, which no reader of results looks at.

    Args:
        path: File to write or replace; its folder must exist.
        data: The whole content.

    Returns:
        The path.

    Raises:
        ResultsError: If the system refuses (disk full, no permission, no such folder); an earlier file of that
            name is then untouched, and the hidden file is removed.
    """
    path = Path(path)
    draft = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        _write_through(draft, data)
        draft.replace(path)
        _flush_folder(path.parent)
    except OSError as error:
        _remove(draft)
        message = f"Cannot write {path}: {error.strerror or error}. What was there before is untouched."
        raise ResultsError(f"{message} Free space or permissions, then start again.") from error
    except BaseException:
        _remove(draft)
        raise
    return path


def write_arrays(path: str | Path, **arrays: Any) -> Path:
    """Write arrays by name, compressed, as `numpy.load` reads them; see `write_atomically`."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return write_atomically(path, buffer.getvalue())


def _remove(draft: Path) -> None:
    # A read-only disk refuses even to remove what is not there; it is the first error that is told.
    with suppress(OSError):
        draft.unlink()


def _write_through(path: Path, data: bytes) -> None:
    with path.open("xb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _flush_folder(folder: Path) -> None:
    """Put the new name itself onto the disk: it lives in the folder, not in the file."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
