"""The page of learning curves on the sphere."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from diffstab.report.document import Table
from diffstab.report.glossary import counted, listed
from diffstab.report.names import ordered, value_text
from diffstab.report.numbers import number_text
from diffstab.report.pairs import difference_frame
from diffstab.report.runs import Runs
from diffstab.report.sphere.exponents import ExponentRow, exponent_rows, exponent_table, exponent_text
from diffstab.report.tables import column, is_recorded, tidy_records

SEARCHED = ("heuristic", "multi-start")
"""Certificates that rest on a search; the second is what older records call the first."""
_PLACES = ("dimension", "target")
_RULE = (
    "An exponent β is the slope of a line through the logarithms of all draws, each weighted by the scatter "
    "at its n; its "
    "interval is Student's. The smallest sizes n are left out as long as the curve is bent there beyond "
    "chance (5 %) and "
    "more than four sizes are left; the prediction plays no part in this."
)


def prepare(records: pd.DataFrame, config: Mapping[str, Any]) -> pd.DataFrame:
    """Tidy records; errors are mean squares, drawn ones are those of the very field that both methods saw."""
    frame = tidy_records(records)
    frame["mean_square_error"] = column(frame, "test_error")
    frame["train_square_error"] = column(frame, "train_error")
    frame["drawn_square_error"] = column(frame, "drawn_error").fillna(column(frame, "test_error"))
    return frame


def with_prediction(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows with `predicted_error`: the predicted exponent, through the fitted line at its largest n."""
    frame = frame.assign(predicted_error=np.nan)
    for row in exponent_rows(frame):
        if row.fit is None or not np.isfinite(row.predicted):
            continue
        mine = (frame["dataset"] == row.dataset) & (frame["method"] == row.method)
        mine &= frame["n_train"].isin((row.fit.sizes[0], row.fit.sizes[-1]))
        last = row.fit.sizes[-1]
        end = row.fit.amplitude * last**-row.fit.exponent
        frame.loc[mine, "predicted_error"] = end * (frame.loc[mine, "n_train"] / last) ** -row.predicted
    return frame


def spectrum_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """Power of error, target and theory in each degree k > 0, a row each, at two sizes (one, where panels are many).

    Args:
        frame: Records as returned by `tidy_records`.

    Returns:
        Columns of the records, degree, error_power, target_power and theory_power; what is rounding beside the largest
        power of the target is NaN.
    """
    if "error_power" not in frame:
        return frame.iloc[:0].assign(degree=0)
    known = frame.dropna(subset="error_power")
    places = [part for _, part in known.groupby(list(_PLACES))]
    chosen = pd.concat([_at_shared_sizes(part, 2 if len(places) <= 3 else 1) for part in places] or [known])
    names = [name for name in ("error_power", "target_power", "theory_power") if name in known]
    rows = []
    for _, row in chosen.iterrows():
        powers = {name: np.atleast_1d(np.asarray(row[name], dtype=np.float64)) for name in names}
        count = len(powers["error_power"])
        table = {
            name: power if len(power) == count else np.full(count, np.nan) for name, power in powers.items()
        }
        if "target_power" in table:
            floor = 1e-12 * np.nanmax(table["target_power"], initial=0)
            table["target_power"] = np.where(table["target_power"] > floor, table["target_power"], np.nan)
        keys = {
            name: row[name]
            for name in (*_PLACES, "n_train", "seed", "method", "learnt_degree")
            if name in row
        }
        rows.append(pd.DataFrame({"degree": np.arange(count), **table}).iloc[1:].assign(**keys))
    spectrum = pd.concat(rows, ignore_index=True)
    return spectrum[spectrum["error_power"] > 0].reset_index(drop=True)


def _at_shared_sizes(part: pd.DataFrame, count: int) -> pd.DataFrame:
    """The rows of the largest size, or of a middle one too, that most methods have."""
    methods = part.groupby("n_train")["method"].nunique()
    sizes = methods.index[methods == methods.max()].to_numpy()
    return part[part["n_train"].isin([sizes[len(sizes) // 2], sizes[-1]][-count:])]


def error_differences(frame: pd.DataFrame) -> pd.DataFrame:
    """Differences of the errors on the one field that both methods saw."""
    return difference_frame(frame, ["drawn_square_error"])


def rule(runs: Runs) -> Sequence[str]:
    """How exponents are measured."""
    return [_RULE]


def title(runs: Runs) -> str:
    """Which targets are learned."""
    return f"Learning curves on the sphere: {_targets(runs)}"


def _targets(runs: Runs) -> str:
    names = [value_text("target", name) for name in ordered("target", runs.frame["target"])]
    fields = [name for name in names if name.startswith("Gaussian field")]
    kinds = [name for name in names if name not in fields] + (["Gaussian random fields"] if fields else [])
    return listed(kinds)


def answer(runs: Runs) -> str:
    """Exponents of the learning curves beside the predicted ones."""
    rows = [row for row in exponent_rows(runs.frame) if row.fit is not None]
    known = [row for row in rows if np.isfinite(row.predicted)]
    near = sum(abs(_measured(row) / row.predicted - 1) <= 0.1 for row in known)
    texts = []
    if example := _widest(rows):
        where = value_text("dataset", example[0].dataset)
        texts.append(
            f"On the {_place(runs, example[0])} β is {listed([_named(row) for row in example])}"
            if where
            else ""
        )
    if len(known) > 2:
        texts.append(f"{near} of {len(known)} measured exponents lie within 10 % of the predicted ones")
    return (
        f"{'; '.join(texts)}."
        if texts
        else "No learning curve has two sizes yet, so that there is no exponent."
    )


def _place(runs: Runs, row: ExponentRow) -> str:
    target = runs.frame["target"][runs.frame["dataset"] == row.dataset].iloc[0]
    return f"{value_text('target', target)}, d = {row.dimension},"


def _named(row: ExponentRow) -> str:
    fit = row.fit
    assert fit is not None
    predicted = f", predicted {number_text(row.predicted, decimals=2)}" if np.isfinite(row.predicted) else ""
    text = exponent_text(fit.exponent, fit.low, fit.high)
    return f"{text} for {value_text('method', row.method)} ({fit.sizes[0]} ≤ n ≤ {fit.sizes[-1]}{predicted})"


def _measured(row: ExponentRow) -> float:
    return row.fit.exponent if row.fit else math.nan


def _widest(rows: Sequence[ExponentRow]) -> list[ExponentRow]:
    """The feature and the lazy exponent of the place where their intervals lie furthest apart."""
    best: list[ExponentRow] = []
    widest = -math.inf
    for dataset in dict.fromkeys(row.dataset for row in rows):
        here = [row for row in rows if row.dataset == dataset]
        pair = [next((row for row in here if row.regime == regime), None) for regime in ("feature", "lazy")]
        found = [row for row in pair if row is not None]
        apart = abs(_measured(found[0]) - _measured(found[-1])) if len(found) == 2 else -1.0
        if found and apart > widest:
            best, widest = found, apart
    return best


def exponents(runs: Runs) -> Sequence[Table]:
    """The exponents of all learning curves."""
    rows = exponent_rows(runs.frame)
    return [exponent_table(rows)] if rows else []


def cautions(runs: Runs) -> Sequence[str]:
    """Precision that was lost, and optima that are not proven."""
    frame, found = runs.frame, []
    if singular := int((column(frame, "solver") == "eigh").sum()):
        found.append(
            f"In {counted(singular, 'kernel regression')} the kernel matrix is singular to rounding; its "
            "pseudo-inverse was "
            "taken, so that these errors may be too large."
        )
    if is_recorded(frame, "gap") and is_recorded(frame, "tolerance"):
        wide = int((column(frame, "gap") > column(frame, "tolerance")).sum())
        found += (
            [f"{counted(wide, 'exact feature predictor')} stopped before the gap asked for."] if wide else []
        )
    if searched := int(column(frame, "certificate").isin(SEARCHED).sum()):
        found.append(
            f"For {counted(searched, 'feature predictor')} the gap to the optimum is an estimate by a search, no proof."
        )
    if not np.isfinite(column(frame, "test_error")).all():
        found.append("Some runs have no finite test error.")
    return found
