"""Marks that no plot of columns can show: neurons, example images, predictors on the circle, fields, forces."""

import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar
from zipfile import BadZipFile

import numpy as np

from diffstab.errors import ResultsError

_T = TypeVar("_T")


def read_arrays(path: Path, read: Callable[[Mapping[str, np.ndarray]], _T], *, what: str, way_out: str) -> _T:
    """Return what is read of the arrays of a file beside the records.

    Args:
        path: File of numpy's arrays by name.
        read: Makes something of them; raises a ValueError or KeyError where they are not what they should be.
        what: What they should be, for the message.
        way_out: Its last sentence.

    Raises:
        ResultsError: The file is missing or damaged.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return read({name: stored[name] for name in stored.files})
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
        raise ResultsError(f"{path} does not hold {what} ({error}). {way_out}") from error
