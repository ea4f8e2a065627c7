"""Measured exponents of learning curves beside the predicted ones."""

import math
from typing import NamedTuple, cast

import numpy as np
import pandas as pd

from diffstab.errors import ArgumentError
from diffstab.report.document import Cell, Table
from diffstab.report.numbers import number_text
from diffstab.report.tables import column
from diffstab.results.schema import value_name
from diffstab.sphere.curves import ExponentFit, fit_exponent, predicted_exponent

_LEVELS = (0.10, 0.15)
"""Relative deviations that a verdict tells apart."""


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
        predicted = _predicted(first, dimension, regime)
        rows.append(ExponentRow(dataset, dimension, method, regime, predicted, _fit(part)))
    return rows


def _predicted(first: pd.Series, dimension: int, regime: str) -> float:
    if first.get("isotropic", 1) == 0:
        return math.nan
    smoothness = first.get("smoothness", np.nan)
    smoothness = math.inf if pd.isna(smoothness) else float(smoothness)
    kernel = str(first["predictor"]) if regime == "lazy" else "ntk"
    return predicted_exponent(dimension, smoothness, regime=regime, kernel=kernel)


def _fit(part: pd.DataFrame) -> ExponentFit | None:
    errors = column(part, "test_error")
    known = errors.notna()
    try:
        return fit_exponent(part["n_train"][known], errors[known])
    except ArgumentError:
        # Fewer than two sizes above rounding: nothing to fit, and the table says so.
        return None


def exponent_table(rows: list[ExponentRow]) -> Table:
    """The exponents as a table: measured with interval, predicted, deviation, range and agreement."""
    lines = [[_text(row.dataset), _text(value_name("method", row.method)), *_numbers(row)] for row in rows]
    headers = ["Target", "Method", "Measured β", "Predicted β", "Agreement", "Deviation", "Sizes n"]
    headers += ["β, all sizes", "β of the means"]
    return Table(
        "Exponents of the test error: measured [95 % Student interval] and predicted", headers, lines
    )


def agreement_text(row: ExponentRow) -> str:
    """Whether the interval contains the prediction, and how near the measured exponent is to it."""
    if row.fit is None:
        return "not measured"
    if math.isnan(row.predicted):
        return "no prediction for an anisotropic target"
    inside = row.fit.low <= row.predicted <= row.fit.high
    deviation = abs(row.fit.exponent / row.predicted - 1)
    near = next((f"within {level:.0%}" for level in _LEVELS if deviation <= level), f"{deviation:.0%} off")
    return f"{near.replace('%', ' %')}; {'inside' if inside else 'outside'} the interval"


def exponent_text(exponent: float, low: float, high: float) -> str:
    """An exponent with its interval, two decimals."""
    text = number_text(exponent, decimals=2)
    if not math.isfinite(high - low):
        return text
    return f"{text} [{number_text(low, decimals=2)}, {number_text(high, decimals=2)}]"


def measured_and_predicted(row: ExponentRow) -> str:
    """The measured exponent with its interval and the predicted one, for a sentence."""
    if row.fit is None:
        return agreement_text(row)
    measured = exponent_text(row.fit.exponent, row.fit.low, row.fit.high)
    return f"{measured}, predicted {number_text(row.predicted, decimals=2)}"


def _numbers(row: ExponentRow) -> list[Cell]:
    predicted = Cell(number_text(row.predicted, decimals=2), row.predicted)
    if row.fit is None:
        dash = Cell("–", np.nan)
        return [dash, predicted, _text(agreement_text(row)), dash, _text("–"), dash, dash]
    fit, deviation = row.fit, row.fit.exponent / row.predicted - 1
    known = math.isfinite(deviation)
    sizes = f"{fit.sizes[0]} to {fit.sizes[-1]}" + (f", {fit.at_floor} at rounding" if fit.at_floor else "")
    return [
        Cell(exponent_text(fit.exponent, fit.low, fit.high), fit.exponent),
        predicted,
        _text(agreement_text(row)),
        Cell(f"{number_text(100 * deviation, decimals=0, signed=True)} %" if known else "–", deviation),
        _text(sizes),
        Cell(exponent_text(fit.exponent_of_all, fit.low_of_all, fit.high_of_all), fit.exponent_of_all),
        Cell(number_text(fit.exponent_of_means, decimals=2), fit.exponent_of_means),
    ]


def _text(value: str) -> Cell:
    return Cell(value, value)
