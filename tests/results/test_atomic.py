"""A file is wholly there or not at all: full disk, killed writer, many writers."""

import errno
import os
import signal
import subprocess
import sys
import threading

import pytest

from diffstab.errors import ResultsError
from diffstab.results import write_atomically


def test_writes_and_replaces(tmp_path):
    path = write_atomically(tmp_path / "a.bin", b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]


def test_a_new_file_has_the_permissions_that_the_umask_gives(tmp_path):
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    assert write_atomically(tmp_path / "a", b"").stat().st_mode == plain.stat().st_mode


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_no_draft(tmp_path, monkeypatch, step):
    path = write_atomically(tmp_path / "a.bin", b"old")

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os if step == "fsync" else type(path), step, full)
    with pytest.raises(ResultsError, match=r"Cannot write .*a\.bin: No space left on device\. .*Free space"):
        write_atomically(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]


FULL_DISK = """
import sys
from pathlib import Path
from diffstab.errors import ResultsError
from diffstab.results import write_atomically

folder = Path(sys.argv[1])
write_atomically(folder / "small", b"kept")
try:
    write_atomically(folder / "big", bytes(10**6))
except ResultsError as error:
    print(error, [entry.name for entry in folder.iterdir()], (folder / "small").read_bytes())
"""


def test_a_really_full_disk(on_small_disk):
    answer = on_small_disk(FULL_DISK)
    assert "big: No space left on device." in answer
    assert answer.endswith("['small'] b'kept'\n")


WRITER = """
import sys
from diffstab.results.atomic import write_atomically

print("started", flush=True)
for number in range(10**9):
    write_atomically(sys.argv[1], bytes([number % 256]) * 100_000)
"""


def test_a_killed_writer_leaves_no_torn_file(tmp_path):
    path = write_atomically(tmp_path / "a.bin", b"\0" * 100_000)
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as writer:
            writer.stdout.readline()
            # Wait until it has replaced the file at least once more, whatever the machine's speed.
            before = path.stat().st_ino
            while path.stat().st_ino == before:
                assert writer.poll() is None
            writer.send_signal(signal.SIGKILL)
        content = path.read_bytes()
        assert content == content[:1] * 100_000


def test_many_writers_of_one_file(tmp_path):
    path = tmp_path / "a.bin"
    writers = [threading.Thread(target=write_atomically, args=(path, bytes([i]) * 10**5)) for i in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    content = path.read_bytes()
    assert content == content[:1] * 10**5
    assert len(list(tmp_path.iterdir())) == 1


def test_no_such_folder(tmp_path):
    with pytest.raises(ResultsError, match="No such file or directory"):
        write_atomically(tmp_path / "nowhere" / "a", b"")


def test_the_first_error_is_told_where_nothing_can_be_removed(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(type(tmp_path), "open", refuse)
    monkeypatch.setattr(type(tmp_path), "unlink", refuse)
    with pytest.raises(ResultsError, match=r"Cannot write .*a: Read-only file system"):
        write_atomically(tmp_path / "a", b"")
    monkeypatch.undo()


def test_an_interrupt_removes_the_draft(tmp_path, monkeypatch):
    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a", b"")
    assert not list(tmp_path.iterdir())
