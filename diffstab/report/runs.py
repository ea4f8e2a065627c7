"""The records of one kind of experiment, with what lies beside them in their folders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from diffstab.errors import ResultsError
from diffstab.report.swept import told_apart
from diffstab.report.writing import read_config
from diffstab.results import read_records

Prepare = Callable[[pd.DataFrame, Mapping[str, Any]], pd.DataFrame]
"""Makes of the records of a folder, and its configuration, the rows that a page of their kind reads."""


class Runs(NamedTuple):
    """Records of one kind, ready for figures and tables.

    Attributes:
        kind: Of the experiment.
        frame: A row per run.
        folders: Results folders that they come from.
        names: Data set of each folder, as it is recorded.
        settings: Configuration of the first folder.
        source: Its text; "" where there is none.
        recorded: Number of records, those left out of the frame too.
        records: The records of the first folder as they were read.
    """

    kind: str
    frame: pd.DataFrame
    folders: tuple[Path, ...] = ()
    names: Mapping[Path, str] = {}
    settings: Mapping[str, Any] = {}
    source: str = ""
    recorded: int = 0
    records: pd.DataFrame | None = None

    def where(self, kept: pd.Series) -> Runs:
        """The same runs with the chosen rows alone."""
        return self._replace(frame=self.frame[kept].reset_index(drop=True))


def kind_of(records: pd.DataFrame) -> str:
    """Return which experiment made the records.

    Raises:
        ResultsError: They are of several kinds.
    """
    # Records from before the column: those of the sphere alone have a dimension.
    kinds = set(records["kind"].dropna()) if "kind" in records else set()
    kinds = kinds or {"sphere" if "dimension" in records else "images"}
    if len(kinds) > 1:
        raise ResultsError(
            f"The records are of several experiments ({', '.join(sorted(kinds))}). Part their folders."
        )
    return str(kinds.pop())


def read_runs(folders: Sequence[Path], prepare: Callable[[str], Prepare]) -> Runs:
    """Read the records of folders of one kind.

    Args:
        folders: Results folders, at least one.
        prepare: Gives, for a kind, what makes its rows of its records.

    Returns:
        The runs; swept options are part of the names of methods and data sets.

    Raises:
        ResultsError: A folder has no readable records, or they are of several kinds.
    """
    frames, names, configs, recorded = [], {}, [], 0
    kinds, first = {}, None
    for folder in folders:
        records = read_records(folder)
        kinds[folder] = kind_of(records)
        records = told_apart(records, folder)
        first = records if first is None else first
        source, config = read_config(folder / "config.yaml")
        frames.append(prepare(kinds[folder])(records, config))
        names[folder] = str(records["dataset"].iloc[0]) if "dataset" in records else folder.name
        configs.append((source, config))
        recorded += len(records)
    if len(set(kinds.values())) > 1:
        listed = ", ".join(f"{folder.name}: {kind}" for folder, kind in kinds.items())
        raise ResultsError(f"The folders hold records of several experiments ({listed}). Give those of one.")
    frame = frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)
    source, config = configs[0]
    return Runs(kinds[folders[0]], frame, tuple(folders), names, config, source, recorded, first)
