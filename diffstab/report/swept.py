"""Runs of a sweep told apart by the options that it sets, so that no page takes them for one another."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from diffstab.report.writing import read_config


def swept_options(records: pd.DataFrame, folder: Path) -> list[str]:
    """Return the options outside the axes of the experiment that a sweep gave several values, by dotted names.

    Args:
        records: Of the folder.
        folder: Results folder; one that no sweep wrote has none.
    """
    listed = read_config(folder / "sweep.yaml")[1].get("columns", [])
    named = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    return [name for name in named if name in records and records[name].nunique(dropna=False) > 1]


def told_apart(records: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Return the records with the swept options in the names of their methods and data sets.

    An option of one method (`methods.<label>....`) is part of that method's name; any other is part of the data set's.

    Args:
        records: Of the folder.
        folder: Results folder.
    """
    options = swept_options(records, folder)
    if not options:
        return records
    frame = records.copy()
    for name in options:
        parts, label = name.split("."), _short(name, options)
        suffix = records[name].map(lambda value, label=label: f", {label} = {_text(value)}")
        if parts[0] == "methods" and len(parts) > 2:
            own = records["method"] == parts[1]
            frame["method"] = frame["method"] + suffix.where(own, "")
        else:
            frame["dataset"] = frame["dataset"] + suffix
    return frame


def _short(name: str, options: Sequence[str]) -> str:
    """Return the last part of a dotted name, or all of it where another option ends alike."""
    last = name.rpartition(".")[2]
    return last if sum(other.rpartition(".")[2] == last for other in options) == 1 else name


def _text(value: object) -> str:
    return f"{value:.12g}" if isinstance(value, float) else str(value)
