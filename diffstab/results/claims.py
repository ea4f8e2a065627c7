"""Locks on files that the kernel drops when their process dies, however it dies."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

fcntl: Any
try:
    import fcntl
except ModuleNotFoundError:  # Windows has none
    fcntl = None

_LOOK_SECONDS = 0.2
"""So long may somebody look at a lock of the kind that has no readers."""


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Hold the lock of a file for a while, if nobody else does; the file is gone afterwards.

    Threads exclude each other as processes do. A killed process leaves the file but not its lock (a child that it
    forked keeps the lock until it ends too), and the next holder removes it.

    Args:
        path: The file, made when missing; its folder must exist.

    Yields:
        Whether this caller holds it; False if another one does.

    Raises:
        OSError: If the file cannot be made or its file system has no locks.
    """
    if fcntl is None:
        with _held_alone(path) as mine:
            yield mine
        return
    descriptor = _take(path)
    if descriptor is None:
        yield False
        return
    try:
        yield True
    finally:
        # While it is locked nobody else may remove the name, so it is this lock that goes.
        with suppress(OSError):
            path.unlink()
        # Unlocked by hand: a child forked meanwhile has the same descriptor, and closing one is not enough.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether somebody holds the lock of the file; looking at it keeps nobody from taking it."""
    if fcntl is None:
        return path.exists() and _is_held_alone(path)
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not _lock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _take(path: Path) -> int | None:
    """Return the descriptor of the locked file, None if another one holds it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if _lock(descriptor, fcntl.LOCK_EX):
                if _has_name(descriptor, path):
                    return descriptor
            elif not _lock(descriptor, fcntl.LOCK_SH):
                os.close(descriptor)
                return None
        except BaseException:
            os.close(descriptor)
            raise
        # Its last holder removed the file meanwhile, or somebody looks whether it is held: once more.
        os.close(descriptor)


def _lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _has_name(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


@contextmanager
def _held_alone(path: Path) -> Iterator[bool]:
    """Hold the lock where there are no shared ones to look with; the system drops it with its process too."""
    lock = FileLock(path, timeout=_LOOK_SECONDS, thread_local=False)
    try:
        lock.acquire(poll_interval=_LOOK_SECONDS / 20)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
        # Refused there while another process has it open, who removes it then.
        with suppress(OSError):
            path.unlink()


def _is_held_alone(path: Path) -> bool:
    lock = FileLock(path, timeout=0, thread_local=False)
    try:
        with lock:
            return False
    except Timeout:
        return True
