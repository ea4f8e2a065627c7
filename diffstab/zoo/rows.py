"""Rows of measured models in a table of comma-separated values."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pandas as pd

from diffstab.errors import ResultsError
from diffstab.experiments.measure import MeasureExperiment
from diffstab.measuring.rows import OUTPUT
from diffstab.results import read_records, write_atomically

_ENDS = ("", "_low", "_high")
NUMBERS = tuple(f"{name}{end}" for name in ("accuracy", "D", "G", "R") for end in _ENDS)
"""What is measured of a model, and made again."""

MEASURED = (
    *NUMBERS,
    *("floor", "delta_px", "cutoff", "images", "dataset", "protocol", "statistic", "weights_hash"),
)
"""Columns of a row that a measurement gives."""
ORIGIN = ("git_commit", "git_dirty", "versions", "hardware")
"""Columns of where its numbers come from."""

_FLOATS = (*NUMBERS, "floor", "delta_px", "published_error", "test_error")


def zoo_rows(folder: Path) -> pd.DataFrame:
    """Return a row for the output of each model of a results folder of `diffstab measure`.

    Places of files are left out, so that the rows say nothing about the machine's folders.

    Raises:
        ResultsError: The folder has no such records, or several deformations of a model.
    """
    records = read_records(folder)
    if "kind" not in records or not (records["kind"] == "measure").all():
        raise ResultsError(f"{folder} holds no models: make it by `diffstab measure`.")
    outputs = records[records["layer"] == OUTPUT]
    if outputs["model"].duplicated().any():
        raise ResultsError(f"{folder} holds several deformations of a model. A row of a zoo is one of them.")
    rows = outputs[["model", *MEASURED, *ORIGIN]].copy()
    rows["config"] = [without_places(text) for text in outputs["config"]]
    return rows.reset_index(drop=True)


def add_rows(rows: pd.DataFrame, table: Path) -> pd.DataFrame:
    """Put rows into a table; one of the same model, protocol and data is replaced.

    Columns that somebody added to the table, a published error say, are kept.

    Returns:
        The table, as it is written.
    """
    if table.exists():
        before = read_table(table)
        names = ["model", "protocol", "dataset"]
        own = [name for name in before.columns if name not in rows.columns]
        rows = rows.merge(before[[*names, *own]], on=names, how="left") if own else rows
        known = set(rows[names].itertuples(index=False, name=None))
        others = [row not in known for row in before[names].itertuples(index=False, name=None)]
        rows = pd.concat([before[others], rows], ignore_index=True)
    rows = rows.sort_values(["dataset", "protocol", "model"], ignore_index=True)
    write_atomically(table, rows.to_csv(index=False).encode())
    return rows


def read_table(table: Path) -> pd.DataFrame:
    """Read a table of models; numbers come back to the bit.

    Raises:
        ResultsError: It cannot be read, or lacks columns.
    """
    try:
        frame = pd.read_csv(table, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise ResultsError(f"{table} cannot be read as comma-separated values ({error}).") from error
    missing = {"model", "config", "protocol", "dataset", *NUMBERS} - set(frame.columns)
    if missing:
        raise ResultsError(f"{table} has no column {', '.join(sorted(missing))}: write it by `diffstab zoo`.")
    # Python reads a float to the bit; what pandas does hangs on its version.
    numbers = {name: [float(text or "nan") for text in frame[name]] for name in _FLOATS if name in frame}
    return frame.assign(**numbers)


def without_places(text: str) -> str:
    """Return of a record's configuration what says how its model was measured, without the folders of this machine."""
    config = json.loads(text)
    told = config["cell"]["model"]
    choice = {name: value for name, value in told.items() if name not in ("label", "weights_hash")}
    for name in ("model", "weights"):
        if isinstance(choice[name], str) and Path(choice[name]).is_file():
            choice[name] = f"file {Path(choice[name]).name}"
    names = {one.name for one in fields(MeasureExperiment)} - {"models", "facts", "init", "layers", "readers"}
    kept = {name: config[name] for name in sorted(names & set(config))}
    if isinstance(kept["data"], str) and Path(kept["data"]).is_dir():
        kept["data"] = f"folder {Path(kept['data']).name}"
    return json.dumps({**kept, "model": choice}, sort_keys=True, separators=(",", ":"))
