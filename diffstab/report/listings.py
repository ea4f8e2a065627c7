"""A table as data: which columns name its rows, which quantities fill it, by which statistic."""

from __future__ import annotations

import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from diffstab.report.document import Table, TableCell
from diffstab.report.intervals import sign_test
from diffstab.report.summaries import MEAN, Statistic
from diffstab.report.tables import counts_text, grouped, is_recorded
from diffstab.report.words import column_of, interval_text, number_text, percent, value_text
from diffstab.results.schema import is_axis


@dataclass(frozen=True)
class Entry:
    """A column of a table.

    Attributes:
        name: Column of the records; a row without a finite value of it has a dash.
        statistic: Of its values within a row.
        heading: Above it; "" for that of the column.
        before: Column of the same quantity before training, shown as "before → after"; "" for none.
        decimals: Of its numbers; None for those that the interval sets.
        text: Instead of a statistic, words about the first record of a row, with its columns: "{failed} of {tried}";
            `{x:percent}` and `{x:number}` write a number as `percent` and `number_text` do.
        count: Instead of a statistic, what is counted in a row: a function of its records to a cell.
    """

    name: str
    statistic: Statistic = MEAN
    heading: str = ""
    before: str = ""
    decimals: int | None = None
    text: str = ""
    count: Callable[[pd.DataFrame], TableCell] | None = None

    def cell(self, part: pd.DataFrame) -> TableCell:
        """The cell of the records of one row."""
        if self.count:
            return self.count(part)
        if self.text:
            return _told(part.iloc[0], self.name, self.text)
        found = self._number(part, self.name)
        if self.before and is_recorded(part, self.before):
            start = self._number(part, self.before).text.split(" [")[0]
            return found._replace(text=f"{start} → {found.text}")
        return found

    def _number(self, part: pd.DataFrame, name: str) -> TableCell:
        table = self.statistic.table(part.assign(all=0), x="all", y=name)
        if table.empty:
            return TableCell("–", np.nan)
        row = table.iloc[0]
        text = interval_text(name, row["y"], row["low"], row["high"], decimals=self.decimals)
        return TableCell(text, float(row["y"]))


class _Texts(string.Formatter):
    """Formats numbers as pages write them."""

    def format_field(self, value: Any, format_spec: str) -> str:
        """A number by the name of how it is written, anything else as usual."""
        if format_spec in ("percent", "number"):
            return (percent if format_spec == "percent" else number_text)(float(value))
        return str(super().format_field(value, format_spec)).replace("-", "−")


def _told(row: pd.Series, name: str, text: str) -> TableCell:
    value = row[name]
    is_number = isinstance(value, int | float | np.number)
    if pd.isna(value) or (is_number and not np.isfinite(value)):
        return TableCell("–", np.nan)
    return TableCell(
        _Texts().format(text, **{str(key): one for key, one in row.items()}),
        float(value) if is_number else None,
    )


@dataclass(frozen=True)
class Listing:
    """A table of records.

    Attributes:
        name: Of its file.
        caption: What it shows.
        rows: Columns whose values name a row; one with a single value everywhere is left out, but for the last.
        entries: Its other columns; those that no record has are left out.
        prepare: Makes of the records of a run what is listed.
    """

    name: str
    caption: str
    rows: tuple[str, ...]
    entries: tuple[Entry, ...]
    prepare: Callable[[pd.DataFrame], pd.DataFrame] | None = None

    def table(self, records: pd.DataFrame) -> Table | None:
        """List records; None where they have nothing to list."""
        frame = self.prepare(records) if self.prepare else records
        shown = [one for one in self.entries if is_recorded(frame, one.name)]
        # The number of draws alone says nothing.
        telling = [one for one in shown if not (one.count and is_axis(one.name))]
        if frame.empty or not telling:
            return None
        rows = [name for name in self.rows[:-1] if frame[name].nunique() > 1] + [self.rows[-1]]
        lines = [
            [*map(key_cell, rows, keys), *(one.cell(part) for one in shown)]
            for keys, part in grouped(frame, rows)
            if any(is_recorded(part, one.name) for one in telling)
        ]
        headings = [column_of(name).heading for name in rows]
        headings += [one.heading or column_of(one.name).heading for one in shown]
        return Table(self.caption, headings, lines, self.name)


def key_cell(name: str, key: object) -> TableCell:
    """The cell that names a row."""
    number = float(key) if isinstance(key, int | float | np.number) else None
    return TableCell(value_text(name, key), number)


def draws(name: str = "seed") -> Entry:
    """A column that counts the draws of a row."""
    return Entry(
        name, heading="Draws", count=lambda part: TableCell(str(part[name].nunique()), part[name].nunique())
    )


def counts(name: str) -> Entry:
    """A column that counts the values of another: "margin: 4, max_steps: 1"."""
    return Entry(name, count=lambda part: TableCell(counts_text(part[name]) or "–"))


def signs(name: str) -> Entry:
    """A column that counts the draws whose difference is above zero."""

    def count(part: pd.DataFrame) -> TableCell:
        found = sign_test(part[name])
        every = found.below + found.above + found.ties
        p = found.p_value
        chance = "all equal" if np.isnan(p) else "p < 0.001" if p < 1e-3 else f"p = {p:.2g}"
        return TableCell(f"{found.above} of {every} ({chance})", found.above)

    return Entry(name, heading="above 0", count=count)


def shares(name: str) -> Entry:
    """A column that counts the runs of a row of which something is true: "17 of 18"."""

    def count(part: pd.DataFrame) -> TableCell:
        done = int(part[name].astype("bool").sum())
        return TableCell(f"{done} of {len(part)}", done)

    return Entry(name, count=count)


COUNTS = {"draws": draws, "counts": counts, "signs": signs, "true": shares}
"""Entries that count, by the word before the name of their column."""
