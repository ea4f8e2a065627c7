"""A zoo of measured models: one row of a table per model, which anybody can make again."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from diffstab.errors import ArgumentError, ResultsError
from diffstab.experiments.measure import MeasureExperiment
from diffstab.measuring.measurement import Measurement
from diffstab.measuring.one_call import finish, state_path
from diffstab.measuring.rows import OUTPUT
from diffstab.results import read_records, write_atomically

_ENDS = ("", "_low", "_high")
NUMBERS = tuple(f"{name}{end}" for name in ("accuracy", "D", "G", "R") for end in _ENDS)
"""What is measured of a model, and made again."""

_TOLD = (
    *("floor", "delta_px", "cutoff", "images", "dataset", "protocol", "statistic", "weights_hash"),
    *("git_commit", "git_dirty", "versions", "hardware"),
)
_FLOATS = (*NUMBERS, "floor", "delta_px", "published_error")
TOLERANCE = 1e-5
"""Relative difference of numbers that are made again elsewhere."""

_MARKED = re.compile(r"(<!-- zoo ([\w.-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


class Replay(NamedTuple):
    """A row of a table that was made again.

    Attributes:
        model: Its label.
        is_same_machine: Whether versions, machine and size of batches are those of the row, so that bits must agree.
        differences: Relative difference of each number, those that agree to the bit at 0.
    """

    model: str
    is_same_machine: bool
    differences: dict[str, float]

    @property
    def agrees(self) -> bool:
        """Whether all numbers are those of the row: to the bit on the same machine, else within the tolerance."""
        return max(self.differences.values()) <= (0 if self.is_same_machine else TOLERANCE)


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
    rows = outputs[["model", *NUMBERS, *_TOLD]].copy()
    rows["config"] = [_without_places(text) for text in outputs["config"]]
    return rows.reset_index(drop=True)


def add_rows(folder: Path, table: Path) -> pd.DataFrame:
    """Put the models of a results folder into a table; a row of the same model and protocol is replaced.

    Columns that somebody added to the table, a published error say, are kept.

    Returns:
        The table, as it is written.
    """
    rows = zoo_rows(folder)
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


def replay(row: Mapping[str, Any], *, data: str = "", weights: Path | None = None) -> Replay:
    """Measure the model of a row again.

    Args:
        row: Of a table.
        data: Images, where the row names a folder.
        weights: Folder of the files of weights that rows name.

    Returns:
        How far the numbers are from those of the row.

    Raises:
        ArgumentError: Images or weights are missing, or the weights are others.
    """
    experiment, label = _experiment(row, data=data, weights=weights)
    ready = experiment.ready(label)
    if ready.subject.weights_hash != row["weights_hash"]:
        received = f"weights of hash {ready.subject.weights_hash}"
        raise ArgumentError("weights", f"be those of the row, of hash {row['weights_hash']}", received)
    path = state_path(Path("results") / "replay", ready)
    found = finish(ready, devices=experiment.device_settings, path=path)
    return _compared(row, found, is_fixed=experiment.batch_size is not None)


def _compared(row: Mapping[str, Any], found: Measurement, *, is_fixed: bool) -> Replay:
    from diffstab.results.provenance import provenance

    output = found.frame[found.frame["layer"] == OUTPUT].iloc[0]
    here = provenance()
    same = is_fixed and all(str(here[name]) == str(row[name]) for name in ("versions", "hardware"))
    differences = {name: _difference(float(row[name]), float(output[name])) for name in NUMBERS}
    return Replay(str(row["model"]), same, differences)


def _difference(before: float, after: float) -> float:
    if before == after or (math.isnan(before) and math.isnan(after)):
        return 0.0
    return abs(after - before) / max(abs(before), abs(after))


def _experiment(row: Mapping[str, Any], *, data: str, weights: Path | None) -> tuple[MeasureExperiment, str]:
    config = json.loads(row["config"])
    choice, label = config.pop("model"), str(row["model"])
    if isinstance(config["data"], str) and config["data"].startswith("folder "):
        if not data:
            raise ArgumentError(
                "data", f"name the images of the row ({row['dataset']})", "nothing", "--data FOLDER"
            )
        config["data"] = data
    for name in ("model", "weights"):
        if isinstance(file := choice[name], str) and file.startswith("file "):
            if weights is None:
                raise ArgumentError(
                    "weights", f"name the folder of {file[5:]}", "nothing", "--weights FOLDER"
                )
            choice[name] = str(weights / file[5:])
    return replace(MeasureExperiment(**{**config, "models": {label: choice}}), layers=["output"]), label


def _without_places(text: str) -> str:
    """The configuration of a record with what says how a model was measured, and without folders."""
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


def table_text(frame: pd.DataFrame) -> str:
    """A table of models in Markdown: accuracy, D, G and R, and the law of the 2021 paper beside the test error."""
    lines = [
        "| model | images | protocol | test error | published | 0.2 √R | D | G | R |",
        "|---|" + "---|" * 8,
    ]
    for row in frame.to_dict("records"):
        error = [100 * (1 - float(row[name])) for name in ("accuracy", "accuracy_high", "accuracy_low")]
        published = float(row.get("published_error", math.nan))
        cells = [
            str(row["model"]),
            f"{row['images']} of {row['dataset']}",
            str(row["protocol"]) or "none",
            "–" if math.isnan(error[0]) else f"{error[0]:.1f} % [{error[1]:.1f}, {error[2]:.1f}]",
            "–" if math.isnan(published) else f"{100 * published:.2f} %",
            f"{20 * math.sqrt(float(row['R'])):.1f} %",
            *(
                f"{float(row[n]):.3g} [{float(row[f'{n}_low']):.3g}, {float(row[f'{n}_high']):.3g}]"
                for n in "DGR"
            ),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write_tables(document: Path, folder: Path) -> int:
    """Write the tables of models between the marks of a document, `<!-- zoo FILE.csv -->...<!-- end -->`.

    Args:
        document: Text with marks.
        folder: Of the files.

    Returns:
        How many marks were filled.

    Raises:
        ResultsError: There is no mark, or no such table.
    """
    text = document.read_text(encoding="utf-8")
    if not (count := len(_MARKED.findall(text))):
        raise ResultsError(f"{document} has no mark. Marks are <!-- zoo FILE.csv -->...<!-- end -->.")
    filled = _MARKED.sub(lambda one: f"{one[1]}{table_text(read_table(folder / one[2]))}\n{one[3]}", text)
    write_atomically(document, filled.encode("utf-8"))
    return count
