"""Runs of Weights & Biases without surprises: no key means offline, names are harmless, and failures are told once."""

from __future__ import annotations

import logging
import netrc
import os
import re
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from diffstab.errors import ArgumentError

Mode = Literal["online", "offline", "disabled"]
MODES: dict[str, Mode] = {
    "online": "online",
    "run": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "disabled",
}
"""What WANDB_MODE may say, older words of W&B among them."""

LONGEST_NAME = 128

_LOG = logging.getLogger("diffstab.tracking")
_NOT_IN_PROJECTS = re.compile(r"[/\\#?%:\x00-\x1f]")
_NOT_IN_NAMES = re.compile(r"[^\w .,;:=+()\[\]-]")
_told: set[str] = set()


def choose_mode() -> Mode:
    """Return the mode of runs: WANDB_MODE, else offline where there is no key; a process says so once.

    Raises:
        ArgumentError: If WANDB_MODE says something else than W&B knows.
    """
    asked = os.environ.get("WANDB_MODE", "")
    if asked:
        if asked not in MODES:
            raise ArgumentError("WANDB_MODE", f"be one of {', '.join(MODES)}", repr(asked))
        return MODES[asked]
    if has_key():
        return "online"
    _say_once("offline", "W&B: no key found, so runs are kept offline; `wandb sync` uploads them.")
    return "offline"


def has_key() -> bool:
    """Whether the environment or `wandb login` holds a key for the server."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        stored = netrc.netrc(os.environ.get("NETRC") or Path.home() / ".netrc")
    except (OSError, netrc.NetrcParseError):
        return False
    return stored.authenticators(host) is not None


def check_project(project: str) -> None:
    """Refuse a name that W&B takes for no project.

    Raises:
        ArgumentError: If the name is empty, too long, or holds a character of paths and addresses.
    """
    if not project.strip() or len(project) > LONGEST_NAME or _NOT_IN_PROJECTS.search(project):
        condition = f"have 1 to {LONGEST_NAME} characters, none of / \\ # ? % and :"
        raise ArgumentError("wandb", condition, repr(project), "It is the name of a W&B project.")


def harmless(name: str) -> str:
    """Return a name for W&B's pages without what HTML, Markdown or a path could take for more than a letter."""
    return _NOT_IN_NAMES.sub("_", name)[:LONGEST_NAME] or "_"


def run_settings() -> Any:
    """Return the settings of a run: it leaves the terminal and the checkout alone, as records say what they are of."""
    import wandb

    return wandb.Settings(
        silent=True, console="off", disable_git=True, disable_code=True, x_save_requirements=False
    )


def tell_once(project: str, error: Exception, consequence: str) -> None:
    """Say once in a process that W&B failed, and what is not logged therefore."""
    message = f"W&B failed ({type(error).__name__}: {error}); {consequence}. Records are not touched by it."
    _say_once(f"failure {project}", message)


def _say_once(what: str, message: str) -> None:
    if what not in _told:
        _told.add(what)
        _LOG.warning(message)


def log_files(run: Any, path: Path, *, kind: str) -> None:
    """Log a file, or all files of a folder, if it is there, as an artifact, which need not be copied first."""
    import wandb

    if path.exists():
        artifact = wandb.Artifact(f"{kind}-{run.id}", type=kind)
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                name = file.relative_to(path if path.is_dir() else path.parent).as_posix()
                artifact.add_file(str(file.absolute()), name=name, policy="immutable")
        run.log_artifact(artifact)
