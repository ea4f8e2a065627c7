"""Frames of records: made tidy, grouped as pages show them, and two methods compared draw by draw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from diffstab.errors import ResultsError
from diffstab.report.intervals import DIFFERENCE, mean_interval
from diffstab.report.words import column_of, counted, interval_text, ordered, value_text
from diffstab.results.schema import is_measurement

DRAW = ["dataset", "n_train", "seed"]
"""The columns that together name one draw of the training set."""
CELL = [*DRAW, "method"]
"""The columns that together name one run."""
HEADLINE = ("test_error", "D", "G", "R")
"""The quantities that every report shows."""


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


def _holds_numbers(values: pd.Series) -> bool:
    if pd.api.types.is_numeric_dtype(values):  # truth values too
        return not pd.api.types.is_bool_dtype(values)
    return all(
        isinstance(value, int | float | np.number) and not isinstance(value, bool)
        for value in values.dropna()
    )


def column(frame: pd.DataFrame, name: str) -> pd.Series:
    """A column of the frame, all NaN where the records do not have it."""
    return frame[name] if name in frame else pd.Series(np.nan, index=frame.index, dtype="float64")


def is_recorded(frame: pd.DataFrame, name: str) -> bool:
    """Whether any record has a value of the column."""
    return bool(column(frame, name).notna().any())


def counts_text(values: pd.Series) -> str:
    """How often each value occurs, most frequent first: "margin: 4, max_steps: 1"."""
    counts = values.dropna().astype("str").value_counts()
    return ", ".join(f"{value}: {count}" for value, count in counts.items())


def grouped(frame: pd.DataFrame, names: Sequence[str]) -> Iterator[tuple[tuple[Any, ...], pd.DataFrame]]:
    """Yield the values of columns, and the rows that have them, in the order in which pages show these values."""
    ranks = [{value: rank for rank, value in enumerate(ordered(name, frame[name]))} for name in names]
    groups = dict(iter(frame.groupby(list(names))))
    for keys in sorted(groups, key=lambda keys: [rank[key] for rank, key in zip(ranks, keys, strict=True)]):
        yield keys, groups[keys]


def pairs(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """The methods to compare: each feature method with the lazy baseline, else each method with the first.

    The baseline is ``lazy_exact`` where there is one, else the first lazy method by name. A method counts as lazy by
    its `regime`, or by its name where there is no regime.
    """
    regimes = column(frame, "regime")
    by_name = frame["method"].str.startswith("lazy").map({True: "lazy", False: "feature"})
    regimes = regimes.astype("object").where(regimes.notna(), by_name)
    lazy = sorted(set(frame["method"][regimes == "lazy"]), key=lambda name: (name != "lazy_exact", name))
    feature = sorted(set(frame["method"][regimes == "feature"]), key=lambda name: (name != "feature", name))
    if lazy and feature:
        return [(method, lazy[0]) for method in feature]
    first, *others = sorted(set(frame["method"]))
    return [(method, first) for method in others]


def side_by_side(frame: pd.DataFrame, name: str, keys: Sequence[str], methods: Sequence[str]) -> pd.DataFrame:
    """Values of a column, a row per draw (named by `keys`) and a column per method; NaN where one has none."""
    wide = frame.pivot_table(index=list(keys), columns="method", values=name, aggfunc="last")
    return wide.reindex(columns=list(methods)).astype("float64")


def difference_frame(
    frame: pd.DataFrame, names: Sequence[str] = HEADLINE, *, methods: Sequence[tuple[str, str]] | None = None
) -> pd.DataFrame:
    """Differences of quantities between two methods on every draw of the training set that both have.

    Args:
        frame: Records as returned by `tidy_records`.
        names: The quantities.
        methods: Pairs (first, second), of which the second is subtracted; those of `pairs` for None.

    Returns:
        A row for each pair and draw: columns dataset, n_train, seed, pair ("feature − lazy (exact)") and delta_<name>.
    """
    found = []
    for one, other in pairs(frame) if methods is None else methods:
        sides = {name: side_by_side(frame, name, DRAW, (one, other)) for name in names if name in frame}
        wide = pd.DataFrame({f"{DIFFERENCE}{name}": side[one] - side[other] for name, side in sides.items()})
        if not wide.empty:
            named = f"{value_text('method', one)} − {value_text('method', other)}"
            found.append(wide.dropna(how="all").reset_index().assign(pair=named))
    return pd.concat(found, ignore_index=True) if found else frame.iloc[:0].assign(pair="")


def comparison_text(frame: pd.DataFrame, names: Sequence[str], methods: Sequence[str]) -> str:
    """Which of some methods has the lowest values at the largest n, by how much, and whether that can be told.

    Args:
        frame: Records of one data set.
        names: The quantities.
        methods: The methods; of more than two, the two lowest are compared.

    Returns:
        "at n = 1024 (5 draws) lazy (exact) has a lower R than feature, by 0.41 [0.27, 0.56]; ..."; "" where
        no draw has two of them.
    """
    head, clauses = "", []
    for name in names if len(methods) > 1 else ():
        sides = (
            side_by_side(frame[frame["method"].isin(methods)], name, DRAW, methods) if name in frame else None
        )
        if sides is None or (known := sides[sides.notna().sum(axis=1) > 1].reset_index()).empty:
            continue
        last = known[known["n_train"] == known["n_train"].max()]
        pair = list(last[list(methods)].mean().sort_values(kind="stable").index[:2])
        found = last[pair].dropna()
        head = head or f"at n = {last['n_train'].iloc[0]} ({counted(len(found), 'draw')}) "
        clauses.append(_clause(name, found[pair[1]] - found[pair[0]], pair, is_of_two=len(methods) == 2))
    return head + "; ".join(clauses)


def _clause(name: str, differences: pd.Series, pair: Sequence[str], *, is_of_two: bool) -> str:
    """Which method is the lower, or why that cannot be told; `differences` are those of the other one from it."""
    noun, (lower, other) = column_of(name).noun, [value_text("method", one) for one in pair]
    mean, low, high, _ = mean_interval(differences)
    text = interval_text(name, mean, low, high, difference=True)
    if not np.isfinite(low):
        return (
            f"the {noun} of {other} differs from that of {lower} by {text}, and one draw is too few to tell"
        )
    if low <= 0 <= high:
        those = (
            f"the {noun} of {lower} and of {other}"
            if is_of_two
            else f"{lower} and {other} have the lowest {noun}, and"
        )
        return f"{those} cannot be told apart: they differ by {text}"
    than = f"a lower {noun} than {other}" if is_of_two else f"the lowest {noun}, below that of {other}"
    by = "," if is_of_two else ""
    return f"{lower} has {than}{by} by {text.replace('+', '')}"
