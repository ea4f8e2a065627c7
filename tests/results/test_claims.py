"""A run is held by one caller at a time, and freed by the kernel when its process dies."""

import errno
import os
import signal
import subprocess
import sys
import threading

import pytest

import diffstab.results.claims as claims
from diffstab.errors import ArgumentError, ResultsError
from diffstab.results import Records


@pytest.fixture
def records(tmp_path):
    return Records(tmp_path / "results")


@pytest.fixture(params=["flock", "filelock"])
def kind(request, monkeypatch):
    """Locks of a system that has flock, and of one that has not."""
    if request.param == "filelock":
        monkeypatch.setattr(claims, "fcntl", None)


def locks(records):
    return [path.name for path in (records.folder / "claims").iterdir()]


def test_one_holds_it_and_the_other_does_not(records, kind):
    with records.claim("a") as first, records.claim("a") as second, records.claim("b") as other:
        assert (first, second, other) == (True, False, True)
        assert records.claimed() == {"a", "b"}
        assert sorted(locks(records)) == ["a.lock", "b.lock"]
    assert records.claimed() == set()
    assert locks(records) == []
    with records.claim("a") as again:
        assert again


def test_a_refused_claim_leaves_the_lock_to_its_holder(records, kind):
    with records.claim("a"):
        with records.claim("a") as second:
            assert not second
        assert records.claimed() == {"a"}


def test_an_error_inside_frees_the_run_and_is_not_changed(records):
    with pytest.raises(OSError, match="mine"), records.claim("a"):
        raise OSError("mine")
    assert locks(records) == []


def test_looking_keeps_nobody_from_taking(records, monkeypatch):
    """A caller that meets a look, not a holder, tries again instead of giving up."""
    path = records.folder / "claims" / "a.lock"
    looks = []

    def with_a_look(descriptor, kind, lock=claims._lock):
        if not looks:  # at the first attempt somebody looks, and goes on looking until the attempt has failed
            looks.append(os.open(path, os.O_RDONLY))
            assert lock(looks[0], claims.fcntl.LOCK_SH)
            taken = lock(descriptor, kind)
            assert not taken
            return False
        if len(looks) == 1:
            os.close(looks[0])
            looks.append(None)
        return lock(descriptor, kind)

    monkeypatch.setattr(claims, "_lock", with_a_look)
    with records.claim("a") as mine:
        assert mine


def test_threads_never_hold_a_run_together(records):
    inside, most, turns = [], [], []
    start = threading.Barrier(4)

    def work():
        start.wait()
        while len(turns) < 200:
            with records.claim("a") as mine:
                if mine:
                    inside.append(1)
                    most.append(len(inside))
                    turns.append(1)
                    inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert locks(records) == []


HOLDER = """
import sys
from diffstab.results import Records

with Records(sys.argv[1]).claim("a") as mine:
    print(mine, flush=True)
    sys.stdin.read()
"""


def holder(records):
    command = [sys.executable, "-c", HOLDER, str(records.folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "True\n"
    return process


def test_a_killed_process_frees_the_run(records, kind):
    with holder(records) as process:
        with records.claim("a") as mine:
            assert not mine
        assert records.claimed() == {"a"}
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert locks(records) == ["a.lock"]
        assert records.claimed() == set()
        with records.claim("a") as mine:
            assert mine
        assert locks(records) == []


COUNTER = """
import sys
from pathlib import Path
from diffstab.results import Records

path = Path(sys.argv[2])
done = 0
while done < 200:
    with Records(sys.argv[1]).claim("a") as mine:
        if mine:
            path.write_text(str(int(path.read_text()) + 1))
            done += 1
"""


def test_processes_never_hold_a_run_together(records, tmp_path):
    """Each adds to a number in a file, which loses additions if two do it at once."""
    count = tmp_path / "count"
    count.write_text("0")
    command = [sys.executable, "-c", COUNTER, str(records.folder), str(count)]
    workers = [subprocess.Popen(command) for _ in range(2)]
    assert [worker.wait() for worker in workers] == [0, 0]
    assert count.read_text() == "400"


def test_packing_removes_the_locks_of_the_killed(records):
    records.write("a", {"x": 1.0})
    (records.folder / "claims").mkdir()
    for key in ("a", "b"):
        (records.folder / "claims" / f"{key}.lock").touch()
    with records.claim("b"):
        records.pack()
        assert locks(records) == ["b.lock"]


def test_a_folder_that_cannot_be_written(records, monkeypatch):
    def refuse(path, flags, *mode):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    records.write("a", {"x": 1.0})
    monkeypatch.setattr(claims.os, "open", refuse)
    with pytest.raises(ResultsError, match=r"Cannot lock .*b\.lock: Read-only file system\. Free space or"):
        records.claim("b").__enter__()


def test_a_key_is_a_file_name(records):
    with pytest.raises(ArgumentError, match="key must be letters, digits"):
        records.claim("../a")
