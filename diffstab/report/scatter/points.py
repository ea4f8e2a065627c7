"""Models as points: test error, D, G and R of each, from results folders and from tables of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from diffstab.errors import ArgumentError, ResultsError
from diffstab.results import read_records

QUANTITIES = ("R", "D", "G")
"""What a test error is drawn against."""

_ERRORS = {
    "test_error": lambda values: values,
    "error": lambda values: values,
    "test_accuracy": lambda values: 1 - values,
    "accuracy": lambda values: 1 - values,
    "test_accuracy_percent": lambda values: 1 - values / 100,
}
"""Columns that tell a test error, the first that is there; what makes a share of each."""

_NAMES = {
    "architecture": ("architecture", "model", "method"),
    "data": ("data", "dataset"),
}


class Points(NamedTuple):
    """Models that can be drawn, and how many could not.

    Attributes:
        frame: A row per model: `error` (a share), `architecture`, `data`, `source`, and what the sources hold.
        left_out: Rows without a positive error or without a positive number on the other axis.
    """

    frame: pd.DataFrame
    left_out: int


def read_points(sources: Sequence[str | Path], *, against: str = "R", where: str = "") -> Points:
    """Read models from results folders and from files of comma-separated values.

    A file needs a column R (or D, G) and one of test_error, error, test_accuracy, accuracy (shares) or
    test_accuracy_percent. Of records of layers, those of the model's output are taken.

    Args:
        sources: Folders and files, at least one.
        against: "R", "D" or "G".
        where: A condition on the columns, as "n_train >= 512 and interpolation == 'linear'"; "" takes all.

    Returns:
        The points.

    Raises:
        ArgumentError: There is no such quantity, or the condition cannot be read.
        ResultsError: A source lacks what a point needs, or no point is left.
    """
    if against not in QUANTITIES:
        raise ArgumentError("against", f"be one of {', '.join(QUANTITIES)}", repr(against))
    read = [_read(Path(source), against) for source in sources]
    frame = _chosen(pd.concat(read, ignore_index=True), where)
    drawable = (frame["error"] > 0) & (frame[against] > 0)
    if not drawable.any():
        raise ResultsError(
            f"No row of {', '.join(map(str, sources))} has a positive test error and {against}."
        )
    return Points(frame[drawable].reset_index(drop=True), int((~drawable).sum()))


def averaged(points: Points, by: Sequence[str]) -> Points:
    """Return a point for all models that agree in some columns, several seeds of a net say: geometric means.

    Args:
        points: From `read_points`.
        by: The columns. Of the others those stay that agree too.

    Returns:
        The means of test error, R, D and G, with the number of models behind each as `models`.

    Raises:
        ArgumentError: There is no such column.
    """
    check_columns("means", by, points.frame)
    frame, keys = points.frame, list(by)
    numbers = [name for name in ("error", *QUANTITIES) if name in frame]
    groups = frame.groupby(keys, sort=True)
    positive = frame[numbers].where(frame[numbers] > 0)
    logarithms = pd.DataFrame({name: np.log(positive[name]) for name in numbers})
    means = logarithms.groupby([frame[name] for name in keys], sort=True).mean()
    means = means.apply(np.exp)
    others = [str(name) for name in frame if name not in {*numbers, *keys}]
    same = [name for name in others if (frame.groupby(keys)[name].nunique() <= 1).all()]
    # The intervals are those of single models.
    same = [name for name in same if not name.endswith(("_low", "_high"))]
    found = means.join(frame.groupby(keys)[same].first()).join(groups.size().rename("models"))
    return Points(found.reset_index(), points.left_out)


def check_columns(argument: str, names: Sequence[str], frame: pd.DataFrame) -> None:
    """Raise an ArgumentError unless a frame has all these columns."""
    for name in names:
        if name not in frame:
            known = ", ".join(map(str, frame.columns))
            raise ArgumentError(argument, f"be among the columns {known}", repr(name))


def _read(source: Path, against: str) -> pd.DataFrame:
    if source.is_dir():
        frame = read_records(source)
    else:
        try:
            # A name, though some are numbers: conditions on it read the same whatever others stand in the file.
            frame = pd.read_csv(source, dtype={"protocol": str})
        except (OSError, ValueError) as error:
            raise ResultsError(f"{source} cannot be read as comma-separated values ({error}).") from error
    if "layer" in frame:
        frame = frame[frame["layer"].fillna("output").isin(["", "output"])]
    errors = next((name for name in _ERRORS if name in frame), None)
    if errors is None or against not in frame:
        missing = against if errors else f"a test error ({', '.join(_ERRORS)})"
        raise ResultsError(f"{source} has no column of {missing}.")
    found = {name: _first(frame, columns) for name, columns in _NAMES.items()}
    return frame.assign(error=_ERRORS[errors](frame[errors]), source=str(source), **found)


def _first(frame: pd.DataFrame, names: Sequence[str]) -> pd.Series:
    known = [frame[name].astype("string") for name in names if name in frame]
    values = pd.Series(pd.NA, index=frame.index, dtype="string")
    for one in known:
        values = values.fillna(one)
    return values.fillna("model")


def _chosen(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    if not where:
        return frame
    try:
        return frame.query(where)
    except Exception as error:
        columns = ", ".join(map(str, frame.columns))
        raise ArgumentError(
            "where", f"be a condition on the columns {columns}", repr(where), str(error)
        ) from error
