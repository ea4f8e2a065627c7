"""Scratch folders: gone at the end, and those of killed processes at the next start."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from diffstab.results.scratch import scratch_folder


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def aged(folder):
    os.utime(folder, (0, 0))
    return folder


def test_it_is_there_for_the_time_of_the_context(place):
    with scratch_folder() as folder:
        (folder / "inside").mkdir()
        assert folder.parent == place
        with scratch_folder() as other:
            assert other != folder
    assert not list(place.iterdir())


def test_what_a_killed_process_left_is_removed_by_the_next(place):
    script = """
import sys, time
from diffstab.results.scratch import scratch_folder
with scratch_folder() as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", script]
    environment = {**os.environ, "TMPDIR": str(place)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        left = aged(Path(process.stdout.readline().strip()))
        with scratch_folder():
            assert left.is_dir()
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert left.is_dir()
    with scratch_folder():
        assert not left.exists()


def test_what_is_not_its_own_stays(place):
    for name in ("diffstab-notes", "diffstab-new", "other"):
        (place / name).mkdir()
    (place / "diffstab-new" / ".in-use.lock").touch()
    (place / "diffstab-file").touch()
    (place / "diffstab-link").symlink_to("other")
    (place / "other" / ".in-use.lock").touch()
    aged(place / "other")
    aged(place / "diffstab-notes")
    before = set(place.iterdir())
    with scratch_folder():
        pass
    assert set(place.iterdir()) == before
