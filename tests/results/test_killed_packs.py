"""Packed records when the process that packs or removes them is killed."""

import shutil
import subprocess
import sys

from diffstab.results import Records
from tests.results.conftest import ROWS, assert_same, files

KILLED = """
# Packs copies of a folder, each killed before another change of the disk: the first, the second, ...
import os, shutil, signal, sys
from pathlib import Path
from diffstab.results import Records

def die_at(step):
    done = []

    def counted(change):
        def changed(*arguments, **options):
            if len(done) == step:
                os.kill(os.getpid(), signal.SIGKILL)
            done.append(change)
            return change(*arguments, **options)
        return changed

    os.fsync = counted(os.fsync)
    Path.replace = counted(Path.replace)
    Path.unlink = counted(Path.unlink)

step, status = 0, 1
while status:
    folder = Path(sys.argv[2]) / str(step)
    shutil.copytree(sys.argv[1], folder)
    child = os.fork()
    if not child:
        die_at(step)
        getattr(Records(folder), sys.argv[3])(*sys.argv[4:])
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    step += 1
print(step)
"""


def killed(records, place, *work):
    command = [sys.executable, "-c", KILLED, str(records.folder), str(place), *work]
    steps = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return [Records(place / str(step)) for step in range(steps)]


def test_a_killed_packer_loses_and_doubles_nothing(records, tmp_path):
    """Killed before each change it makes to the disk: an open pack, one newer record of it, others that are loose."""
    records.remove(["d", "e"])
    records.pack()
    for key in "de":
        records.write(key, ROWS[key])
    records.write("b", {"method": "lazy", "D": 7.0})
    expected = records.read()
    left = killed(records, tmp_path / "killed", "pack")
    assert len(left) >= 8
    for survivor in left:
        assert_same(survivor.read(), expected)
        survivor.pack()
        assert_same(survivor.read(), expected)
        assert len(files(survivor, "packs")) == 1
        assert files(survivor, "records") == []
    shutil.rmtree(tmp_path / "killed")


def test_a_killed_removal_removes_no_other_record(records, tmp_path):
    records.pack()
    records.write("f", {"x": 1})
    for survivor in killed(records, tmp_path / "killed", "remove", "bf"):
        assert {"a", "c", "d", "e"} <= survivor.keys()
        survivor.remove(["b", "f"])
        assert survivor.keys() == {"a", "c", "d", "e"}
        assert list(survivor.read()["key"]) == ["a", "c", "d", "e"]
