"""What is remembered of a run that failed."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from diffstab.errors import ResultsError
from diffstab.results.atomic import write_atomically


class Failure(NamedTuple):
    """Why a run has no record.

    Attributes:
        reason: One line.
        detail: Traceback, or empty.
        attempts: How often it was tried.
        label: What the run is, in words; empty if unknown.
        when: Time in ISO 8601; empty if unknown.
    """

    reason: str
    detail: str = ""
    attempts: int = 1
    label: str = ""
    when: str = ""


def write_failure(path: Path, failure: Failure) -> Path:
    """Write a failure in one step, replacing an earlier one.

    Raises:
        ResultsError: If the disk refuses.
    """
    return write_atomically(path, json.dumps(failure._asdict(), indent=1).encode())


def read_failures(paths: Iterable[Path]) -> dict[str, Failure]:
    """Return the failures under the names of their runs; one removed meanwhile is left out.

    Raises:
        ResultsError: If a file is damaged.
    """
    found = {}
    for path in paths:
        try:
            found[path.stem] = Failure(**json.loads(path.read_bytes()))
        except FileNotFoundError:
            continue
        except (OSError, ValueError, TypeError) as error:
            message = f"The note of a failure {path} is damaged ({error})."
            raise ResultsError(f"{message} Remove this file: the run then counts as not tried.") from error
    return found
