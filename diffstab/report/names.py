"""Columns and their values as readers see them: what `diffstab.results.schema` says, and what only pages need."""

from collections.abc import Iterable

import pandas as pd

from diffstab.report.ranges import DIFFERENCE
from diffstab.results.schema import Column, describe, ordered_values, value_name

_TARGETS = {
    "constant": "constant target",
    "anisotropic_2": "target of two coordinates",
    "abs_teacher_1": "target of all coordinates",
}
_SYMBOLS = {"n_train": "n", "dimension": "d", "degree": "k"}
"""Columns that a panel or a point names by their symbol."""


def column_of(name: str) -> Column:
    """Return what a column means; a difference of methods is named after what differs."""
    if not name.startswith(DIFFERENCE):
        return describe(name)
    one = describe(name.removeprefix(DIFFERENCE))
    return one._replace(label=f"Difference of {one.noun}", noun=f"difference of {one.noun}")


def value_text(column: str, value: object, *, named: bool = False) -> str:
    """Return a value as readers see it.

    Args:
        column: Its column.
        value: The value; a swept option behind a comma stays behind the name.
        named: Whether a number goes with the name of its column: "n = 64", "seed 3".
    """
    if isinstance(value, float) or pd.api.types.is_integer(value):
        text = f"{value:g}" if isinstance(value, float) else str(value)
        if not named:
            return text
        symbol = _SYMBOLS.get(column)
        return f"{symbol} = {text}" if symbol else f"{describe(column).noun} {text}"
    head, comma, option = str(value).partition(", ")
    if column == "target" or (column == "dataset" and value_name(column, head) == head):
        known = (
            f"Gaussian field ν = {head.removeprefix('gaussian_')}" if head.startswith("gaussian_") else head
        )
        return _TARGETS.get(head, known) + comma + option
    return value_name(column, head) + comma + option


def ordered(column: str, values: Iterable[object]) -> list[object]:
    """Return the different values in the order of the schema, others behind them by size or alphabet."""
    known = {name: rank for rank, name in enumerate(ordered_values(column))}
    different = sorted(set(values), key=lambda value: (isinstance(value, str), value))
    return sorted(different, key=lambda value: known.get(str(value), len(known)))
