"""The records of one kind of experiment, with what lies beside them in their folders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml

from diffstab.errors import ResultsError
from diffstab.report.words import capital, counted, listed, ordered, span, value_text
from diffstab.results import parse_yaml
from diffstab.results.schema import describe, is_axis

_COUNTED = {"seed": "draw", "restart": "restart"}
"""Axes of which the values mean nothing: how many there are of each is what counts."""
_REPEATED = {"target": "dataset", "optimiser": "method"}
"""Columns that say again what another one says."""
_SYMBOLS = {"n_train": "number of training points n", "dimension": "dimension d"}
_LONGEST = 8


class Runs(NamedTuple):
    """Records of one kind, ready for figures and tables.

    Attributes:
        kind: Of the experiment.
        frame: A row per run.
        folders: Results folders that they come from.
        names: Data set of each folder, as it is recorded.
        source: Text of the configuration of the first folder; "" where there is none.
        recorded: Number of records, those left out of the frame too.
    """

    kind: str
    frame: pd.DataFrame
    folders: tuple[Path, ...] = ()
    names: Mapping[Path, str] = {}
    source: str = ""
    recorded: int = 0

    def varied(self) -> str:
        """Name each axis with more than one value, its values, and the number of draws."""
        # A case says again what its data set, size and depth are.
        repeats = ["case", *(two for one, two in _REPEATED.items() if one in self.frame)]
        frame = self.frame.drop(columns=repeats, errors="ignore")
        several = [name for name in map(str, frame) if is_axis(name) and frame[name].nunique() > 1]
        axes = [name for name in several if name not in _COUNTED]
        texts = [f"{_SYMBOLS.get(name, describe(name).noun)} ({_values(frame, name)})" for name in axes]
        for name, noun in _COUNTED.items():
            if name in several:
                cells = [axis for axis in axes if axis not in ("width", "optimiser")]
                counts = frame.groupby(cells)[name].nunique() if cells else [frame[name].nunique()]
                texts.append(f"the {noun} ({span(list(counts), noun)})")
        what = capital(listed(texts)) if texts else "Nothing"
        return f"{what}; {counted(self.recorded or len(frame), 'run')} in all."


def _values(frame: pd.DataFrame, name: str) -> str:
    values = ordered(name, frame[name].dropna())
    if len(values) > _LONGEST and not isinstance(values[0], str):
        return f"{len(values)} values from {values[0]} to {values[-1]}"
    return listed([value_text(name, value) for value in values])


def data_sets(frame: pd.DataFrame) -> str:
    """The data sets of the records in words."""
    return listed([value_text("dataset", name) for name in ordered("dataset", frame["dataset"])])


def kind_of(records: pd.DataFrame) -> str:
    """Return which experiment made the records.

    Raises:
        ResultsError: They are of several kinds.
    """
    # Records from before the column: those of the sphere alone have a dimension.
    kinds = set(records["kind"].dropna()) if "kind" in records else set()
    kinds = kinds or {"sphere" if "dimension" in records else "images"}
    if len(kinds) > 1:
        names = ", ".join(sorted(kinds))
        raise ResultsError(f"The records are of several experiments ({names}). Part their folders.")
    return str(kinds.pop())


def read_config(path: Path) -> tuple[str, Mapping[str, Any]]:
    """The text of a configuration and its top level; empty where there is none."""
    if not path.exists():
        return "", {}
    try:
        data = path.read_bytes()
        config = parse_yaml(data)
    except (OSError, yaml.YAMLError) as error:
        raise ResultsError(
            f"{path} is not YAML ({error}). Restore it, or remove it to report without."
        ) from error
    return data.decode(), config if isinstance(config, Mapping) else {}


def swept_options(records: pd.DataFrame, folder: Path) -> list[str]:
    """Return the options outside the axes of the experiment that a sweep gave several values, by dotted names."""
    names = read_config(folder / "sweep.yaml")[1].get("columns", [])
    named = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    return [name for name in named if name in records and records[name].nunique(dropna=False) > 1]


def told_apart(records: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Return the records of a folder with the options that a sweep gave them in the names of methods and data sets.

    An option of one method (`methods.<label>....`) is part of that method's name; any other is part of the data set's.
    """
    options = swept_options(records, folder)
    lasts = [name.rpartition(".")[2] for name in options]
    frame = records.copy() if options else records
    for name, last in zip(options, lasts, strict=True):
        parts, label = name.split("."), last if lasts.count(last) == 1 else name
        suffix = records[name].map(lambda value, label=label: f", {label} = {_plain(value)}")
        if parts[0] == "methods" and len(parts) > 2:
            frame["method"] = frame["method"] + suffix.where(records["method"] == parts[1], "")
        else:
            frame["dataset"] = frame["dataset"] + suffix
    return frame


def _plain(value: object) -> str:
    return f"{value:.12g}" if isinstance(value, float) else str(value)
