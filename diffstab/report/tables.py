"""Tidy frames of records, and the paired differences of two methods."""

from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np
import pandas as pd

from diffstab.errors import ArgumentError, ResultsError
from diffstab.report.intervals import mean_interval, sign_test
from diffstab.results.schema import is_measurement

CELL = ["dataset", "n_train", "seed", "method"]
"""The columns that together name one run."""

HEADLINE = ("test_error", "D", "G", "R")
"""The quantities that every report shows."""


class PairedRow(NamedTuple):
    """Mean difference method - baseline over draws, and on how many draws each side is lower."""

    dataset: str
    n_train: int
    quantity: str
    method: str
    baseline: str
    draws: int
    mean: float
    low: float
    high: float
    method_lower: int
    baseline_lower: int
    ties: int
    sign_p: float


def tidy_records(records: pd.DataFrame) -> pd.DataFrame:
    """Records with one row per cell, numbers as float64, and NaN for what is missing or infinite.

    A column is of numbers if all its values are numbers, truth values aside, or if the schema lists it as one;
    any other stays as it is. Rows without a data set, n_train, seed or method are left out. Of several rows of one
    cell the last started is kept.

    Args:
        records: One row per run; any column may be missing.

    Returns:
        A new frame sorted by cell, with a fresh index; `n_train` and `seed` are integers.

    Raises:
        ResultsError: No row names its cell.
    """
    frame = records.copy()
    for name in [*CELL, "started_at"]:
        if name not in frame:
            frame[name] = None
    for name in ("n_train", "seed"):
        frame[name] = pd.to_numeric(frame[name], errors="coerce")
    for name in frame.columns.difference(CELL):
        if is_measurement(name) or _holds_numbers(frame[name]):
            numbers = pd.to_numeric(frame[name], errors="coerce").astype("float64")
            frame[name] = numbers.replace([np.inf, -np.inf], np.nan)
    frame = frame.dropna(subset=CELL)
    if frame.empty:
        raise ResultsError(
            f"None of the {len(records)} records names its {', '.join(CELL)}. "
            "Write records with these columns, for instance with `diffstab compare`."
        )
    frame = frame.astype({"n_train": "int64", "seed": "int64", "dataset": "str", "method": "str"})
    frame["started_at"] = frame["started_at"].astype("str")
    frame = frame.sort_values("started_at", kind="stable").drop_duplicates(CELL, keep="last")
    return frame.sort_values(CELL, kind="stable").reset_index(drop=True)


def column(frame: pd.DataFrame, name: str) -> pd.Series:
    """A column of the frame, all NaN where the records do not have it."""
    return frame[name] if name in frame else pd.Series(np.nan, index=frame.index, dtype="float64")


def is_recorded(frame: pd.DataFrame, name: str) -> bool:
    """Whether any record has a value of the column."""
    return bool(column(frame, name).notna().any())


def method_pairs(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """The (feature method, lazy baseline) pairs to compare.

    The baseline is ``lazy_exact`` where there is one, else the first lazy method by name.

    Args:
        frame: Records; a method counts as lazy by its `regime`, or by its name where there is no regime.

    Returns:
        One pair per feature method, ``feature`` first, then by name; empty if either side is missing.
    """
    regimes = column(frame, "regime")
    by_name = frame["method"].str.startswith("lazy").map({True: "lazy", False: "feature"})
    regimes = regimes.astype("object").where(regimes.notna(), by_name)
    lazy = sorted(set(frame["method"][regimes == "lazy"]), key=lambda name: (name != "lazy_exact", name))
    feature = sorted(set(frame["method"][regimes == "feature"]), key=lambda name: (name != "feature", name))
    return [(method, lazy[0]) for method in feature] if lazy else []


def paired_draws(
    frame: pd.DataFrame, *, quantity: str, method: str = "feature", baseline: str = "lazy_exact"
) -> pd.DataFrame:
    """Difference method - baseline on every draw of the training set that both have.

    Args:
        frame: Records as returned by `tidy_records`.
        quantity: Column to compare.
        method: Label of the first method.
        baseline: Label of the method that is subtracted.

    Returns:
        Columns dataset, n_train, seed and difference; one row per draw with both values.

    Raises:
        ArgumentError: `method` and `baseline` are the same.
    """
    if method == baseline:
        raise ArgumentError("baseline", "differ from method", repr(baseline))
    keys = ["dataset", "n_train", "seed"]
    values = frame[[*keys, "method"]].assign(value=column(frame, quantity))
    sides = [values[values["method"] == name].drop(columns="method") for name in (method, baseline)]
    both = sides[0].merge(sides[1], on=keys, suffixes=("", "_baseline"))
    both["difference"] = both["value"] - both["value_baseline"]
    return both.dropna(subset="difference")[[*keys, "difference"]].reset_index(drop=True)


def paired_rows(
    frame: pd.DataFrame,
    *,
    quantities: Sequence[str] = HEADLINE,
    method: str = "feature",
    baseline: str = "lazy_exact",
) -> list[PairedRow]:
    """Mean paired difference with its 95% Student interval, and on how many draws each side is lower.

    Args:
        frame: Records as returned by `tidy_records`.
        quantities: Columns to compare.
        method: Label of the first method.
        baseline: Label of the method that is subtracted.

    Returns:
        One row per quantity, data set and size; `sign_p` is two-sided, the interval NaN for a single draw.
    """
    rows = []
    for name in quantities:
        draws = paired_draws(frame, quantity=name, method=method, baseline=baseline)
        for cell, group in draws.groupby(["dataset", "n_train"], sort=True):
            dataset, n_train = cast("tuple[str, int]", cell)
            mean, low, high, count = mean_interval(group["difference"])
            signs = sign_test(group["difference"])
            row = (dataset, int(n_train), name, method, baseline, count, mean, low, high, *signs)
            rows.append(PairedRow(*row))
    return rows


def counts_text(values: pd.Series) -> str:
    """How often each value occurs, most frequent first: "margin: 4, max_steps: 1"."""
    counts = values.dropna().astype("str").value_counts()
    return ", ".join(f"{value}: {count}" for value, count in counts.items())


def _holds_numbers(values: pd.Series) -> bool:
    if pd.api.types.is_numeric_dtype(values):  # truth values too
        return not pd.api.types.is_bool_dtype(values)
    return all(
        isinstance(value, int | float | np.number) and not isinstance(value, bool)
        for value in values.dropna()
    )
