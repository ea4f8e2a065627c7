"""The power laws through models: of all, of groups, and with one exponent within groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from diffstab.errors import ArgumentError
from diffstab.report.intervals import Estimate
from diffstab.report.scatter.drawing import PAPER
from diffstab.report.scatter.points import Points, check_columns
from diffstab.report.scatter.power_law import PowerLaw, fit_power_law
from diffstab.results.numbers import number_with_interval

ALL = "all models"
_PARTS = ("prefactor", "exponent", "correlation")


class Fits(NamedTuple):
    """Which laws are fitted.

    Attributes:
        by: Columns; each of their values has a law of its own.
        within: Columns, several joined by "+"; models that agree in them share a prefactor, all models the exponent.
        clusters: Column whose values may depend on each other within themselves; "" takes models as independent.
    """

    by: Sequence[str] = ()
    within: Sequence[str] = ()
    clusters: str = ""


ONE_FIT = Fits()


def fitted(points: Points, *, against: str, fits: Fits = ONE_FIT) -> dict[str, PowerLaw]:
    """Fit the laws that there are models enough for: three, and with clusters three of these.

    Args:
        points: From `read_points`.
        against: What the error is a power of.
        fits: Which laws.

    Returns:
        The laws by the name of their models.

    Raises:
        ArgumentError: There is no such column.
    """
    frame = points.frame
    columns = [*fits.by, *(name for one in fits.within for name in one.split("+"))]
    check_columns("fits", [*columns, *filter(None, [fits.clusters])], frame)
    parts = {ALL: (frame, "")}
    for column in fits.by:
        parts |= {f"{column} {value}": (part, "") for value, part in frame.groupby(column, sort=True)}
    parts |= {f"within {one.replace('+', ' and ')}": (frame, one) for one in fits.within}
    laws = {name: _law(part, one, against, fits.clusters) for name, (part, one) in parts.items()}
    return {name: law for name, law in laws.items() if law is not None}


def _law(part: pd.DataFrame, within: str, against: str, clusters: str) -> PowerLaw | None:
    """Return the law of some models; None where they are too few, or all at one place."""
    groups = None
    if within:
        keys = part[within.split("+")].astype(str).agg("|".join, axis=1)
        part = part[keys.map(keys.value_counts()) > 1]  # a group of one model says nothing of the exponent
        groups = list(keys[part.index])
    cluster = list(part[clusters]) if clusters else None
    try:
        return fit_power_law(part[against], part["error"], groups=groups, clusters=cluster)
    except ArgumentError:
        return None


def laws_text(laws: Mapping[str, PowerLaw], points: Points, *, against: str) -> str:
    """The laws as a small table for a screen."""
    heads = ("models", "number", "a [95 %]", "b [95 %]", "correlation [95 %]")
    rows = [
        (name, str(law.exponent.draws), *(_text(getattr(law, part)) for part in _PARTS))
        for name, law in laws.items()
    ]
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in (heads, *rows)
    ]
    return "\n".join([f"test error = a {against}^b", *lines, *_remarks(laws, points, against)])


def _remarks(laws: Mapping[str, PowerLaw], points: Points, against: str) -> Iterator[str]:
    if any(name.startswith("within") for name in laws):
        yield "within: one exponent for all, and a prefactor for each value; a is their geometric mean."
    if against == "R" and laws:
        prefactor, exponent = PAPER
        yield f"The 2021 paper: a = {prefactor}, b = {exponent}, over architectures trained on all of CIFAR-10."
    if ALL not in laws:
        yield "No fit: it takes three models (or clusters) with different numbers."
    if points.left_out:
        yield f"{points.left_out} rows without a positive test error and {against} are left out."


def _text(estimate: Estimate) -> str:
    return number_with_interval(estimate.mean, estimate.low, estimate.high)


def laws_frame(laws: Mapping[str, Mapping[str, PowerLaw]]) -> pd.DataFrame:
    """The laws as a table, a row each.

    Args:
        laws: Of each quantity that the error is a power of, by the names of their models.
    """
    rows = [
        {"against": against, "models": name, "number": law.exponent.draws, **_columns(law)}
        for against, found in laws.items()
        for name, law in found.items()
    ]
    return pd.DataFrame(rows)


def _columns(law: PowerLaw) -> dict[str, float]:
    columns: dict[str, float] = {"spread": law.spread}
    for name in _PARTS:
        value: Estimate = getattr(law, name)
        columns |= {name: value.mean, f"{name}_low": value.low, f"{name}_high": value.high}
    return columns
