"""What a record says about where it came from."""

import json
import platform
import subprocess

import torch

from diffstab.results import provenance
from diffstab.results.provenance import _checkout


def _repository(folder, tracked):
    (folder / "diffstab").mkdir()
    (folder / "diffstab" / "__init__.py").write_text("")
    commands = [["init", "-q"]]
    if tracked:
        commands += [["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "first"]]
    for command in commands:
        subprocess.run(["git", "-C", str(folder), *command], check=True)


def test_columns():
    row = provenance()
    assert set(row) == {"git_commit", "git_dirty", "versions", "hardware", "streams"}
    versions = json.loads(row["versions"])
    assert versions["python"] == platform.python_version()
    assert versions["torch"] == torch.__version__.partition("+")[0]
    assert platform.node() in row["hardware"]


def test_commit_and_dirty_flag(tmp_path):
    _repository(tmp_path, tracked=True)
    head = (tmp_path / ".git" / "refs" / "heads").iterdir()
    commit = next(head).read_text().strip()
    assert _checkout(tmp_path) == (commit, False)
    (tmp_path / "diffstab" / "__init__.py").write_text("changed")
    assert _checkout(tmp_path) == (commit, True)


def test_code_installed_inside_another_repository_has_no_commit(tmp_path):
    _repository(tmp_path, tracked=False)
    assert _checkout(tmp_path) == (None, None)
