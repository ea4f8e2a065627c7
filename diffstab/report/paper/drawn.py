"""What a figure of the sources consists of, and the records it is drawn from."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from diffstab.report.document import Picture, Table
from diffstab.report.rendering import renamed
from diffstab.report.tables import tidy_records
from diffstab.results import Records, read_records

Folders = Mapping[str, Path]
"""Results folders by stage; each holds records."""


class Drawn(NamedTuple):
    """The pictures and tables of a figure of the sources."""

    pictures: list[Picture]
    tables: list[Table] = []  # noqa: RUF012


def has_records(folder: Path) -> bool:
    """Whether a results folder holds a record at least."""
    return bool(Records(folder).keys())


def renamed_picture(picture: Picture, stem: str) -> Picture:
    """The same picture under another file name, which also makes its identifiers unique within a page."""
    return picture._replace(stem=stem, rendered=renamed(picture.rendered, picture.stem, stem))


def records_of(folders: Folders) -> pd.DataFrame:
    """The records of all folders in one tidy frame; of several rows of one cell the last started is kept.

    Args:
        folders: By stage.

    Returns:
        The frame.

    Raises:
        ResultsError: No record names its cell, or a record is damaged.
    """
    return tidy_records(pd.concat([read_records(folder) for folder in folders.values()], ignore_index=True))
