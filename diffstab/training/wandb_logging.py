"""Weights & Biases without surprises: no key means offline, and every run is closed."""

from __future__ import annotations

import netrc
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


def wants_wandb(loggers: Any) -> bool:
    """Whether the trainer's `logger` option holds a WandbLogger that is not offline by its own setting.

    Args:
        loggers: The parsed option: a boolean, None, an entry with a class path, or a list of such entries.
    """
    entries = loggers if isinstance(loggers, list) else [loggers]
    return any(
        str(getattr(entry, "class_path", "")).endswith("WandbLogger") and not entry.init_args.get("offline")
        for entry in entries
    )


def offline_without_key() -> bool:
    """Set WANDB_MODE=offline, with a line saying so, when there is neither a mode nor a key.

    Returns:
        Whether it was set.
    """
    if os.environ.get("WANDB_MODE") or os.environ.get("WANDB_API_KEY") or _netrc_has_key():
        return False
    os.environ["WANDB_MODE"] = "offline"
    message = "W&B: no key found, so the run is kept offline (WANDB_MODE=offline); `wandb sync` uploads it."
    print(message, file=sys.stderr)
    return True


def finish_wandb(exit_code: int) -> None:
    """Close the W&B run of this process, if any: a later run would otherwise write into it."""
    if "wandb" in sys.modules:
        sys.modules["wandb"].finish(exit_code=exit_code)


def _netrc_has_key() -> bool:
    """Whether `wandb login` has stored a key for the server."""
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    path = os.environ.get("NETRC") or Path.home() / ".netrc"
    try:
        return netrc.netrc(path).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
