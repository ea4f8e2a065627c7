"""Who may talk to a cluster: the holders of a certificate that is made for it and ends with it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from diffstab.errors import ResultsError
from diffstab.extras import require

_LOG = logging.getLogger("diffstab.grid")

TLS_OPTIONS = (
    "distributed.comm.tls in Dask's configuration, or DASK_DISTRIBUTED__COMM__TLS__CA_FILE and others"
)
"""Where the certificates of a scheduler of one's own are named."""


def own_security() -> Any:
    """Return distributed's `Security` with a fresh key, the only one that its scheduler and workers take.

    Raises:
        ArgumentError: If `cryptography` is not installed.
    """
    require("cryptography", "to keep others out of the workers of a grid")
    from distributed import Security

    return Security.temporary()


@contextmanager
def shared_security(near: Path) -> Iterator[Any]:
    """Hold such a `Security` whose key lies in files, which jobs on other machines see and other users cannot read.

    Args:
        near: A place on the file system that all see; it need not exist.

    Raises:
        ArgumentError: If `cryptography` is not installed.
        ResultsError: If the files cannot be written.
    """
    secret = own_security()
    place = next(parent for parent in (near.absolute(), *near.absolute().parents) if parent.is_dir())
    try:
        # For its owner alone, of mode 700.
        folder = TemporaryDirectory(prefix=".diffstab-tls-", dir=place, ignore_cleanup_errors=True)
    except OSError as error:
        message = f"No folder for the certificates of the jobs can be made in {place} ({error})."
        raise ResultsError(f"{message} Name one by shared_temp_directory in the profile.") from error
    with folder as path:
        yield _in_files(secret, Path(path))


def _in_files(secret: Any, folder: Path) -> Any:
    from distributed import Security

    paths: dict[str, str] = {}
    for part, text in (("cert", secret.tls_client_cert), ("key", secret.tls_client_key)):
        (folder / part).touch(mode=0o600)
        (folder / part).write_text(text)
        paths |= {f"tls_{role}_{part}": str(folder / part) for role in ("client", "scheduler", "worker")}
    return Security(require_encryption=True, tls_ca_file=str(folder / "cert"), **paths)


def warn_of_plain(scheduler: str) -> None:
    """Say that a scheduler without TLS, and its workers, take whoever reaches their ports."""
    if not scheduler.startswith("tls://"):
        message = (
            "%s is not encrypted: whoever reaches its ports runs code as its workers. See docs/clusters.md."
        )
        _LOG.warning(message, scheduler)
