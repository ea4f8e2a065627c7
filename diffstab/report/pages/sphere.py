"""The page of learning curves on the sphere: rows that its figures and tables read, and what it says of its runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from diffstab.errors import ArgumentError
from diffstab.report.runs import Runs
from diffstab.report.tables import column, difference_frame, tidy_records
from diffstab.report.words import counted, interval_text, listed, number_text, ordered, value_text
from diffstab.sphere.curves import predicted_exponent
from diffstab.sphere.exponents import ExponentFit, fit_exponent, slowest_rate

SINGULAR = "eigh"
"""Solver of kernel matrices that are singular to rounding; these errors are no part of a fit."""
SEARCHED = ("heuristic", "multi-start")
"""Certificates that rest on a search; the second is what older records call the first."""
_PLACES = ["dimension", "target"]
_POWERS = ["error_power", "target_power", "theory_power"]
_EXPONENTS = ["dataset", "method", "dimension", "target", "regime", "predicted", "exponent", "exponent_low"]
_EXPONENTS += ["exponent_high", "first_n", "last_n", "last_error", "off_percent", "is_inside", "sizes_text"]
_EXPONENTS += ["effective", "effective_low", "effective_high"]


def prepare(records: pd.DataFrame, config: Mapping[str, Any]) -> pd.DataFrame:
    """Tidy records; errors are mean squares, drawn ones are those of the very field that both methods saw."""
    frame = tidy_records(records)
    frame["mean_square_error"] = column(frame, "test_error")
    frame["train_square_error"] = column(frame, "train_error")
    frame["drawn_square_error"] = column(frame, "drawn_error").fillna(column(frame, "test_error"))
    return frame


def theory(first: pd.Series) -> float:
    """Return the exponent that theory predicts for a record; NaN for an anisotropic target."""
    if first.get("isotropic", 1) == 0:
        return np.nan
    smoothness, regime = first.get("smoothness", np.nan), str(first["regime"])
    return predicted_exponent(
        int(first["dimension"]),
        np.inf if pd.isna(smoothness) else float(smoothness),
        regime=regime,
        kernel=str(first["predictor"]) if regime == "lazy" else "ntk",
    )


def exponents(frame: pd.DataFrame) -> pd.DataFrame:
    """Exponents of the learning curves, measured beside predicted, a row per data set and method.

    Columns begin with those of the record; a smoothness that is missing is that of a constant. `predicted` is NaN for
    an anisotropic target, and what is measured is NaN where fewer than three sizes lie above rounding. `exponent` is
    extrapolated, `effective` the slope at the largest n, and `last_error` the fitted curve's value there.
    """
    rows = []
    for _, part in frame.groupby(["dataset", "method"], sort=True):
        first = part.iloc[0]
        row = {name: first.get(name) for name in _EXPONENTS[:5]} | {"predicted": theory(first)}
        known = part[column(part, "test_error").notna() & (column(part, "solver") != SINGULAR)]
        rate = slowest_rate(int(first["dimension"]))
        try:
            fit = fit_exponent(known["n_train"], column(known, "test_error"), slowest=rate)
        except ArgumentError:
            rows.append(row)
        else:
            rows.append(row | _measured(fit, row, at_rounding=len(part) - len(known) + fit.at_floor))
    return pd.DataFrame(rows, columns=_EXPONENTS)


def _measured(fit: ExponentFit, row: Mapping[str, Any], *, at_rounding: int) -> dict[str, Any]:
    predicted, (first, *_, last) = row["predicted"], fit.sizes
    left_out = f"; {at_rounding} runs at rounding left out" if at_rounding else ""
    is_known = np.isfinite(predicted)
    return {
        "exponent": fit.exponent,
        "exponent_low": fit.low,
        "exponent_high": fit.high,
        "first_n": first,
        "last_n": last,
        "last_error": float(fit.at(last)),
        "off_percent": 100 * (fit.exponent / predicted - 1),
        "is_inside": ("yes" if fit.low <= predicted <= fit.high else "no") if is_known else None,
        "sizes_text": f"{first} to {last}{left_out}",
        "effective": fit.effective,
        "effective_low": fit.effective_low,
        "effective_high": fit.effective_high,
    }


def with_prediction(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows with `predicted_error`: the predicted exponent, through the fitted curve at its largest n."""
    names = ["dataset", "method", "predicted", "first_n", "last_n", "last_error"]
    both = frame[["dataset", "method", "n_train"]].merge(exponents(frame)[names], how="left")
    line = both["last_error"] * (both["n_train"] / both["last_n"]) ** -both["predicted"]
    is_end = (both["n_train"] == both["first_n"]) | (both["n_train"] == both["last_n"])
    return frame.assign(
        predicted_error=line.where(is_end & both["predicted"].notna()).to_numpy(dtype=np.float64)
    )


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
    places = [part for _, part in known.groupby(_PLACES)]
    chosen = pd.concat([_at_shared_sizes(part, 2 if len(places) <= 3 else 1) for part in places] or [known])
    names = [name for name in _POWERS if name in known]
    keys = [name for name in (*_PLACES, "n_train", "seed", "method", "learnt_degree") if name in known]
    rows = []
    for _, row in chosen.iterrows():
        powers = {name: np.atleast_1d(np.asarray(row[name], dtype=np.float64)) for name in names}
        count = len(powers["error_power"])
        table = {name: one if len(one) == count else np.full(count, np.nan) for name, one in powers.items()}
        if (target := table.get("target_power")) is not None:
            table["target_power"] = np.where(target > 1e-12 * np.nanmax(target, initial=0), target, np.nan)
        rows.append(pd.DataFrame({"degree": np.arange(count), **table}).iloc[1:].assign(**row[keys]))
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
    return [
        "A learning curve bends before it is a power law. So A n^−β exp(c n^−ω) is fitted to all draws: β is the "
        "exponent at infinite n, and its interval holds every β that some ω between 1/2 and 2 fits (up to d = 5). The "
        "slope at the largest n is what the sizes themselves show. The smallest sizes are left out as long as this "
        "law misses the means beyond chance (5 %) and more than five sizes are left; the prediction plays no part."
    ]


def title(runs: Runs) -> str:
    """Which targets are learned."""
    names = [value_text("target", name) for name in ordered("target", runs.frame["target"])]
    fields = [name for name in names if name.startswith("Gaussian field")]
    kinds = [name for name in names if name not in fields] + (["Gaussian random fields"] if fields else [])
    return f"Learning curves on the sphere: {listed(kinds)}"


def answer(runs: Runs) -> str:
    """Exponents of the learning curves beside the predicted ones."""
    rows = exponents(runs.frame).dropna(subset="exponent")
    if rows.empty:
        return "No learning curve has three sizes yet, so that there is no exponent."
    shown = _widest(rows)
    place = f"{value_text('target', shown['target'].iloc[0])}, d = {shown['dimension'].iloc[0]:g}"
    text = f"On the {place}, β extrapolated to infinite n is {listed([_named(row) for _, row in shown.iterrows()])}"
    off = rows["off_percent"].dropna()
    if len(off) > 2:
        near = (off.abs() <= 10).sum()
        text += f"; {near} of {len(off)} extrapolated exponents lie within 10 % of the predicted ones"
    return f"{text}."


def _named(row: pd.Series) -> str:
    known = np.isfinite(row["predicted"])
    predicted = f", predicted {number_text(row['predicted'], decimals=2)}" if known else ""
    text = interval_text("", row["exponent"], row["exponent_low"], row["exponent_high"], decimals=2)
    sizes = f"{row['first_n']:g} ≤ n ≤ {row['last_n']:g}"
    return f"{text} for {value_text('method', row['method'])} ({sizes}{predicted})"


def _widest(rows: pd.DataFrame) -> pd.DataFrame:
    """The first feature and the first lazy exponent of the data set where they lie furthest apart."""
    first = rows.drop_duplicates(["dataset", "regime"]).sort_values("regime", kind="stable")
    apart = first.groupby("dataset", sort=False)["exponent"].agg(lambda one: one.max() - one.min())
    return first[first["dataset"] == apart.idxmax()]


def cautions(runs: Runs) -> Sequence[str]:
    """Precision that was lost, and optima that are not proven."""
    frame = runs.frame
    singular = int((column(frame, "solver") == SINGULAR).sum())
    wide = int((column(frame, "gap") > column(frame, "tolerance")).sum())
    searched = int(column(frame, "certificate").isin(SEARCHED).sum())
    said = [
        (
            singular,
            f"In {counted(singular, 'kernel regression')} the kernel matrix is singular to rounding; its "
            "pseudo-inverse was taken, so that these errors may be too large.",
        ),
        (wide, f"{counted(wide, 'exact feature predictor')} stopped before the gap asked for."),
        (
            searched,
            f"For {counted(searched, 'feature predictor')} it is not proven that none has a smaller norm: "
            "a search found none.",
        ),
        (not np.isfinite(column(frame, "test_error")).all(), "Some runs have no finite test error."),
    ]
    return [text for is_so, text in said if is_so]
