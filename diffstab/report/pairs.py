"""Two methods compared draw by draw."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from diffstab.report.glossary import counted
from diffstab.report.names import column_of, value_text
from diffstab.report.numbers import interval_text
from diffstab.report.ranges import DIFFERENCE
from diffstab.report.tables import HEADLINE, PairedRow, method_pairs, paired_draws, paired_rows


def pairs(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """The methods to compare: each feature method with the lazy baseline, else each method with the first."""
    methods = sorted(set(frame["method"]))
    return method_pairs(frame) or [(method, methods[0]) for method in methods[1:]]


def pair_name(method: str, baseline: str) -> str:
    """Two methods as a difference: "feature − lazy (exact)"."""
    return f"{value_text('method', method)} − {value_text('method', baseline)}"


def difference_frame(frame: pd.DataFrame, names: Sequence[str] = HEADLINE) -> pd.DataFrame:
    """Differences of quantities, a row for each pair of methods and draw.

    Args:
        frame: Records as returned by `tidy_records`.
        names: The quantities.

    Returns:
        Columns dataset, n_train, seed, pair and delta_<quantity>.
    """
    keys, found = ["dataset", "n_train", "seed"], []
    for method, baseline in pairs(frame):
        wide = None
        for name in names:
            one = paired_draws(frame, quantity=name, method=method, baseline=baseline)
            one = one.rename(columns={"difference": f"{DIFFERENCE}{name}"})
            wide = one if wide is None else wide.merge(one, on=keys, how="outer")
        if wide is not None:
            found.append(wide.assign(pair=pair_name(method, baseline)))
    return pd.concat(found, ignore_index=True) if found else frame.iloc[:0].assign(pair="")


def comparison_text(frame: pd.DataFrame, names: Sequence[str], method: str, baseline: str) -> str:
    """Which of two methods has the lower values at the largest n, by how much, and whether that can be told.

    Args:
        frame: Records of one data set.
        names: The quantities.
        method: First method.
        baseline: Second method.

    Returns:
        "at n = 1024 (5 draws) lazy (exact) has a lower R than feature, by 0.41 [0.27, 0.56]; ..."; "" where
        no draw has both.
    """
    rows = [paired_rows(frame, quantities=[name], method=method, baseline=baseline)[-1:] for name in names]
    last = [row[0] for row in rows if row]
    if not last:
        return ""
    return f"at n = {last[0].n_train} ({counted(last[0].draws, 'draw')}) {'; '.join(map(_clause, last))}"


def _clause(row: PairedRow) -> str:
    """Which method is lower, or why that cannot be told."""
    noun, names = (
        column_of(row.quantity).noun,
        [value_text("method", one) for one in (row.method, row.baseline)],
    )
    ends = (row.mean, row.low, row.high)
    plain = interval_text(row.quantity, *ends, difference=True)
    if not np.isfinite(row.low):
        return f"the {noun} of {names[0]} differs from that of {names[1]} by {plain}, and one draw is too few to tell"
    if row.low <= 0 <= row.high:
        return f"the {noun} of {names[0]} and of {names[1]} cannot be told apart: they differ by {plain}"
    lower, other = names if row.high < 0 else names[::-1]
    ends = ends if row.low > 0 else (-row.mean, -row.high, -row.low)
    text = interval_text(row.quantity, *ends, difference=True).replace("+", "")
    return f"{lower} has a lower {noun} than {other}, by {text}"
