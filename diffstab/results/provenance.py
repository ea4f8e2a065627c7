"""What a number came from: code, package versions and hardware."""

import json
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypedDict

from diffstab.streams import SCHEME

PACKAGES = (
    "diffstab",
    "torch",
    "torchvision",
    "pytorch-lightning",
    "torchmetrics",
    "kornia",
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
    "pyarrow",
)


class Provenance(TypedDict):
    """Columns of a record that say where it came from.

    `git_commit` and `git_dirty` are None outside a checkout; `versions` is JSON; `streams` is the version of the
    random streams, see `diffstab.streams`.
    """

    git_commit: str | None
    git_dirty: bool | None
    versions: str
    hardware: str
    streams: int


def provenance() -> Provenance:
    """Return commit, dirty flag, versions (with Python's), hardware and streams of this process, as record columns."""
    commit, dirty = _checkout(Path(__file__).resolve().parents[2])
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "git_commit": commit,
        "git_dirty": dirty,
        "versions": json.dumps(versions),
        "hardware": _hardware(),
        "streams": SCHEME,
    }


def _checkout(root: Path) -> tuple[str | None, bool | None]:
    """Commit and dirty flag of the checkout that this code runs from; None for an installed wheel.

    A wheel may lie in an environment inside some other repository, so the code itself must be tracked.
    """
    if _git(root, "ls-files", "--error-unmatch", "diffstab/__init__.py") is None:
        return None, None
    status = _git(root, "status", "--porcelain", "--untracked-files=normal")
    return _git(root, "rev-parse", "HEAD"), status != ""


def _git(root: Path, *arguments: str) -> str | None:
    # Status must not take the repository's lock: several workers ask at once.
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def _hardware() -> str:
    import torch

    parts = [platform.node(), _processor(), f"{os.cpu_count()} cores", _threads(torch.get_num_threads())]
    parts += [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return ", ".join(parts)


def _threads(count: int) -> str:
    return f"{count} thread{'' if count == 1 else 's'}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
