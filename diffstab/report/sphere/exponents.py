"""Measured exponents of learning curves beside the predicted ones."""

import math
from typing import NamedTuple, cast

import numpy as np
import pandas as pd

from diffstab.errors import ArgumentError
from diffstab.report.document import Table, TableCell
from diffstab.report.names import value_text
from diffstab.report.numbers import number_text
from diffstab.report.statistics.sphere import theory
from diffstab.report.tables import column
from diffstab.sphere.curves import ExponentFit, fit_exponent


class ExponentRow(NamedTuple):
    """The exponent of one method on one target in one dimension.

    `predicted` is NaN for an anisotropic target, and `fit` None where nothing can be fitted.
    """

    dataset: str
    dimension: int
    method: str
    regime: str
    predicted: float
    fit: ExponentFit | None


def exponent_rows(frame: pd.DataFrame) -> list[ExponentRow]:
    """Fit the learning curve of every target, dimension and method.

    Args:
        frame: Records as returned by `tidy_records`; a smoothness that is missing is that of a constant.

    Returns:
        One row each, in the order of data sets and methods.
    """
    rows = []
    for cell, part in frame.groupby(["dataset", "method"], sort=True):
        dataset, method = cast("tuple[str, str]", cell)
        first = part.iloc[0]
        dimension, regime = int(first["dimension"]), str(first["regime"])
        rows.append(ExponentRow(dataset, dimension, method, regime, theory(first), _fit(part)))
    return rows


def _fit(part: pd.DataFrame) -> ExponentFit | None:
    errors = column(part, "test_error")
    known = errors.notna()
    try:
        return fit_exponent(part["n_train"][known], errors[known])
    except ArgumentError:
        # Fewer than two sizes above rounding: nothing to fit, and the table says so.
        return None


def exponent_table(rows: list[ExponentRow]) -> Table:
    """The exponents as a table: measured with interval, predicted, how far apart, and the range of n."""
    lines = [[_place(row.dataset), _text(value_text("method", row.method)), *_numbers(row)] for row in rows]
    headers = [
        "Target",
        "Method",
        "Measured β",
        "Predicted β",
        "Off by",
        "Prediction in the interval",
        "Sizes n",
    ]
    headers += ["β of all sizes", "β of mean errors"]
    return Table("Exponents β of the test error [95 % interval]", headers, lines, "exponents")


def _place(dataset: str) -> TableCell:
    return TableCell(value_text("dataset", dataset), dataset)


def exponent_text(exponent: float, low: float, high: float) -> str:
    """An exponent with its interval, two decimals."""
    text = number_text(exponent, decimals=2)
    if not math.isfinite(high - low):
        return text
    return f"{text} [{number_text(low, decimals=2)}, {number_text(high, decimals=2)}]"


def _numbers(row: ExponentRow) -> list[TableCell]:
    fit, dash = row.fit, TableCell("–", np.nan)
    has_prediction = math.isfinite(row.predicted)
    predicted = (
        TableCell(number_text(row.predicted, decimals=2), row.predicted) if has_prediction else _text("none")
    )
    if fit is None:
        return [_text("not measured"), predicted, dash, _text("–"), _text("–"), dash, dash]
    off = fit.exponent / row.predicted - 1
    inside = ("yes" if fit.low <= row.predicted <= fit.high else "no") if has_prediction else "–"
    sizes = f"{fit.sizes[0]} to {fit.sizes[-1]}" + (
        f"; {fit.at_floor} runs at rounding left out" if fit.at_floor else ""
    )
    return [
        TableCell(exponent_text(fit.exponent, fit.low, fit.high), fit.exponent),
        predicted,
        TableCell(f"{number_text(100 * off, decimals=0, signed=True)} %", off) if has_prediction else dash,
        _text(inside),
        _text(sizes),
        TableCell(exponent_text(fit.exponent_of_all, fit.low_of_all, fit.high_of_all), fit.exponent_of_all),
        TableCell(number_text(fit.exponent_of_means, decimals=2), fit.exponent_of_means),
    ]


def _text(value: str) -> TableCell:
    return TableCell(value, value)
