"""Tables of models, and of the laws between them, in a document."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from diffstab.errors import ArgumentError, ResultsError
from diffstab.results import write_atomically
from diffstab.results.numbers import number_text, number_with_interval
from diffstab.zoo.rows import read_table

_MARKED = re.compile(r"(<!-- zoo ([\w.-]+)(?: where ([^\n]+?))? -->\n).*?(<!-- end -->)", re.DOTALL)
_SHORTENED = ("images", "protocol")
"""Columns that are left out where all models agree."""


def table_text(frame: pd.DataFrame) -> str:
    """A table of models in Markdown: test error, D, G and R, and the law of the 2021 paper beside the test error."""
    rows = [_cells(row) for row in frame.to_dict("records")]
    same = {name for name in _SHORTENED if len(rows) > 1 and len({row[name] for row in rows}) == 1}
    unknown = {"published"} if all(row["published"] == "–" for row in rows) else set()
    names = [name for name in rows[0] if name not in same | unknown]
    return _lines(names, ([row[name] for name in names] for row in rows))


def _cells(row: Mapping[Any, Any]) -> dict[str, str]:
    published = float(row.get("published_error", math.nan))
    return {
        "model": str(row["model"]),
        "images": f"{row['images']} of {row['dataset']}",
        "protocol": str(row["protocol"]) or "none",
        "test error": _error(row),
        "published": "–" if math.isnan(published) else f"{100 * published:.2f} %",
        "0.2 √R": f"{20 * math.sqrt(float(row['R'])):.1f} %",
        **{name: _interval(row, name) for name in "DGR"},
    }


def _error(row: Mapping[Any, Any]) -> str:
    """The test error of all test images, where a training told it; else that of the measured images."""
    if not math.isnan(told := float(row.get("test_error", math.nan))):
        return f"{100 * told:.1f} %"
    error, low, high = (
        100 * (1 - float(row[name])) for name in ("accuracy", "accuracy_high", "accuracy_low")
    )
    return "–" if math.isnan(error) else f"{error:.1f} % [{low:.1f}, {high:.1f}]"


def law_text(frame: pd.DataFrame) -> str:
    """A table of fitted laws in Markdown."""
    heads = ("nets", "number", "law", "prefactor a", "exponent b", "correlation")
    rows = (
        [
            str(row["models"]),
            str(row["number"]),
            f"a {row['against']}^b",
            *(_interval(row, name) for name in ("prefactor", "exponent", "correlation")),
        ]
        for row in frame.to_dict("records")
    )
    return _lines(heads, rows)


def _interval(row: Mapping[Any, Any], name: str) -> str:
    value, low, high = (float(row[f"{name}{end}"]) for end in ("", "_low", "_high"))
    return number_text(value) if math.isnan(low) else number_with_interval(value, low, high)


def _lines(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = list(heads)
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_tables(document: Path, folder: Path) -> int:
    """Write tables between the marks of a document.

    A mark is `<!-- zoo FILE.csv -->...<!-- end -->`, or `<!-- zoo FILE.csv where CONDITION -->` for some of the rows.
    The file holds models, or the laws that `diffstab scatter` or `diffstab zoo --train` fitted.

    Args:
        document: Text with marks.
        folder: Of the files.

    Returns:
        How many marks were filled.

    Raises:
        ResultsError: There is no mark, or no such table.
        ArgumentError: A condition cannot be read, or no row fulfils it.
    """
    text = document.read_text(encoding="utf-8")
    if not (count := len(_MARKED.findall(text))):
        raise ResultsError(f"{document} has no mark. Marks are <!-- zoo FILE.csv -->...<!-- end -->.")
    filled = _MARKED.sub(lambda one: f"{one[1]}{_text(folder / one[2], one[3] or '')}\n{one[4]}", text)
    write_atomically(document, filled.encode("utf-8"))
    return count


def _text(file: Path, where: str) -> str:
    is_law = file.exists() and "exponent" in file.read_text(encoding="utf-8").partition("\n")[0].split(",")
    frame = pd.read_csv(file) if is_law else read_table(file)
    try:
        # The condition is on numbers, where a column has these.
        numbers = pd.read_csv(file, dtype={"protocol": str}) if where else frame
        chosen = frame.loc[numbers.query(where).index] if where else frame
    except Exception as error:
        raise ArgumentError("where", f"be a condition on the columns of {file.name}", where) from error
    if chosen.empty:
        raise ArgumentError("where", f"choose a row of {file.name}", where)
    return law_text(chosen) if is_law else table_text(chosen)
