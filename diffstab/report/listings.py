"""A table as data: which columns name its rows, which quantities fill it, by which statistic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from diffstab.report.document import Table, TableCell
from diffstab.report.intervals import sign_test
from diffstab.report.names import column_of, ordered, value_text
from diffstab.report.numbers import interval_text, number_text
from diffstab.report.ranges import DIFFERENCE
from diffstab.report.summaries import MEAN, Statistic
from diffstab.report.tables import counts_text, is_recorded


@dataclass(frozen=True)
class Entry:
    """A column of a table.

    Attributes:
        name: Column of the records.
        statistic: Of its values within a row.
        heading: Above it; "" for that of the column.
        before: Column of the same quantity before training, shown as "before → after"; "" for none.
        text: Makes the cell of the records of a row, where no statistic does.
    """

    name: str
    statistic: Statistic = MEAN
    heading: str = ""
    before: str = ""
    text: Callable[[pd.DataFrame], TableCell] | None = None

    def cell(self, part: pd.DataFrame) -> TableCell:
        """The cell of the records of one row."""
        if self.text:
            return self.text(part)
        found = _cell(part, self.name, self.statistic)
        if self.before and is_recorded(part, self.before):
            start = _cell(part, self.before, self.statistic).text.split(" [")[0]
            return found._replace(text=f"{start} → {found.text}")
        return found


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
        shown = [one for one in self.entries if one.text or is_recorded(frame, one.name)]
        if frame.empty or all(one.text for one in shown):
            return None
        rows = [name for name in self.rows[:-1] if frame[name].nunique() > 1] + [self.rows[-1]]
        ranks = {
            name: {value: rank for rank, value in enumerate(ordered(name, frame[name]))} for name in rows
        }
        groups = dict(iter(frame.groupby(rows)))
        lines = []
        for keys in sorted(
            groups, key=lambda keys: [ranks[name][key] for name, key in zip(rows, keys, strict=True)]
        ):
            if all(one.text or not is_recorded(groups[keys], one.name) for one in shown):
                continue
            heads = [key_cell(name, key) for name, key in zip(rows, keys, strict=True)]
            lines.append([*heads, *(one.cell(groups[keys]) for one in shown)])
        headings = [*(column_of(name).heading for name in rows), *(_heading(one) for one in shown)]
        return Table(self.caption, headings, lines, self.name)


def _heading(one: Entry) -> str:
    return one.heading or column_of(one.name).heading


def key_cell(name: str, key: object) -> TableCell:
    """The cell that names a row."""
    text = value_text(name, key)
    return TableCell(text, float(key)) if isinstance(key, int | float | np.number) else TableCell(text, text)


def _cell(part: pd.DataFrame, name: str, statistic: Statistic) -> TableCell:
    table = statistic.table(part.assign(all=0), x="all", y=name)
    if table.empty:
        return TableCell("–", np.nan)
    row = table.iloc[0]
    is_difference = name.startswith(DIFFERENCE)
    text = interval_text(
        name.removeprefix(DIFFERENCE), row["y"], row["low"], row["high"], difference=is_difference
    )
    return TableCell(text, float(row["y"]))


def draws(heading: str = "Draws", column: str = "seed") -> Entry:
    """A column that counts the draws of a row."""
    return Entry(
        column,
        heading=heading,
        text=lambda part: TableCell(str(part[column].nunique()), part[column].nunique()),
    )


def counts(name: str) -> Entry:
    """A column that counts the values of another: "margin: 4, max_steps: 1"."""

    def text(part: pd.DataFrame) -> TableCell:
        found = counts_text(part[name]) if name in part else ""
        return TableCell(found or "–", found)

    return Entry(name, text=text)


def signs(name: str) -> Entry:
    """A column that counts the draws whose difference is above zero."""

    def text(part: pd.DataFrame) -> TableCell:
        found = sign_test(part[name])
        count = found.below + found.above + found.ties
        return TableCell(f"{found.above} of {count} (p = {number_text(found.p_value)})", found.above)

    return Entry(name, heading="above 0", text=text)


def number_cell(value: float) -> TableCell:
    """A number as a cell."""
    return TableCell(number_text(float(value)), float(value))
