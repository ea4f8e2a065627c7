"""Statistics of plateaus: where they start, how low they are, which restarts miss them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from diffstab.errors import ResultsError
from diffstab.report import plateaus
from diffstab.report.claims.claim import Claim
from diffstab.report.claims.confidence import OddsConfidence, ShareConfidence, student
from diffstab.report.claims.statistics.expressions import columns_of, evaluate
from diffstab.report.claims.statistics.registry import Measurement, statistic
from diffstab.report.intervals import Estimate, exact, mean_interval
from diffstab.report.words import counted, number_text, percent

FORMS = {"weights", "representations", "covariances"}
"""Optimisers of the three forms of the loss."""


def _titled(records: pd.DataFrame) -> pd.DataFrame:
    """Records with the title of their problem, a data set and size, and of their stage where there are several."""
    stages = " ({})" if records["stage"].nunique() > 1 else ""
    return records.assign(title=records["problem"] + records["stage"].map(stages.format))


def _with_starts(records: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Records with titles, and the starts of their plateaus."""
    titled = _titled(records)
    starts = plateaus.starts(titled, "title")
    if starts.empty:
        raise ResultsError("No net of a given width found a minimum.")
    return titled, starts


def _expected(titled: pd.DataFrame, expression: str) -> pd.Series:
    """What theory says of each problem, by its title; NaN where it says nothing."""
    known = titled.groupby("title")[["dataset", *columns_of(expression)]].first()
    return pd.Series(evaluate(expression, known), index=known.index, dtype="float64")


@statistic("the start of the plateau of every draw")
def start(records: pd.DataFrame, claim: Claim) -> Measurement:
    """Width at which the plateau of each draw starts; one that was not seen has no limits and decides nothing."""
    titled, starts = _with_starts(records)
    expected, first = _expected(titled, claim.predicted), plateaus.earliest(starts, "title")
    estimates, predicted = {}, {}
    for _, row in first.iterrows():
        place, width = f"{row['title']}, seed {row['seed']}", float(row["start"])
        limit = width if row["is_seen"] else np.nan
        estimates[place], predicted[place] = Estimate(width, limit, limit), expected[row["title"]]
    parts = first.groupby("title", sort=False)["start_text"]
    detail = "; ".join(f"{title}: {', '.join(texts)}" for title, texts in parts)
    sample = counted(len(estimates), "draw")
    detail = f"start [95 % interval over restarts]; {detail}"
    return Measurement(estimates, predicted, sample=sample, detail=detail)


@statistic("the 95 % interval of the mean start over draws")
def mean_start(records: pd.DataFrame, claim: Claim) -> Measurement:
    """Mean over draws of the width at which the plateau starts, on each problem."""
    titled, starts = _with_starts(records)
    first, expected = plateaus.earliest(starts, "title"), _expected(titled, claim.predicted)
    widths = {
        str(title): part["start"].astype("float64") for title, part in first.groupby("title", sort=False)
    }
    unseen = int((~first["is_seen"].astype("bool")).sum())
    texts = [f"{title}: {', '.join(map(number_text, values))}" for title, values in widths.items()]
    return Measurement(
        {title: mean_interval(values) for title, values in widths.items()},
        {title: expected[title] for title in widths},
        {title: sure for title, values in widths.items() if (sure := student(values))},
        detail=f"start of each draw; {'; '.join(texts)}",
        doubt=f"No plateau was seen in {counted(unseen, 'draw')}" if unseen else "",
    )


@statistic("the rise of the best loss of a width above that of a narrower net, on each problem,")
def rise_with_width(records: pd.DataFrame, claim: Claim) -> Measurement:
    """Largest rise of the best loss with the width; an upper bound, as better restarts may exist."""
    titled = _titled(records)
    starts = plateaus.starts(titled, "title").drop_duplicates("title").set_index("title")
    estimates, predicted = {}, {}
    for title in titled["title"].unique():
        part, name = titled[titled["title"] == title], starts["optimiser"].get(title, "weights")
        mine = part[(part["optimiser"] == name) & np.isfinite(part["loss"])]
        best = mine.groupby(["seed", "width"])["loss"].min()
        worst = float((best / best.groupby("seed").cummin() - 1).max())
        low = -np.inf if np.isfinite(worst) else np.nan
        estimates[title] = Estimate(worst, low, worst, mine["seed"].nunique())
        predicted[title] = float(part["tolerance"].iloc[0])
    return Measurement(estimates, predicted, sample=counted(len(estimates), "problem"))


@statistic("the smallest norm over widths and restarts on each problem")
def smallest_loss(records: pd.DataFrame, claim: Claim) -> Measurement:
    """Smallest norm of nets that meet the targets, on each problem whose norm theory knows."""
    titled, starts = _with_starts(records)
    norms = starts.drop_duplicates("title").set_index("title")["smallest"]
    expected = _expected(titled, claim.predicted)[norms.index].dropna()
    if expected.empty:
        raise ResultsError("The records hold no norm that theory knows.")
    norms = norms[expected.index]
    return Measurement(
        {str(title): exact(norm) for title, norm in norms.items()},
        {str(title): theory for title, theory in expected.items()},
        sample=counted(len(norms), "problem"),
        detail=f"relative difference at most {number_text((norms / expected - 1).abs().max())}",
    )


@statistic("the excess of the smallest norm with one neuron less, for the largest N,")
def excess_of_one_less(records: pd.DataFrame, claim: Claim) -> Measurement:
    """Relative height of the smallest norm of narrower nets above the one of theory, on the largest problem."""
    largest = records[records["n_train"] == records["n_train"].max()]
    narrower = largest[largest["width"] < largest["known_width"]]
    if not np.isfinite(narrower["loss"]).any():
        raise ResultsError("No net narrower than theory asks for met its targets.")
    best = narrower.nsmallest(1, "loss").iloc[0]
    place = f"N = {int(best['n_train'])}, {int(best['width'])} neurons of {best['known_width']:g}"
    return Measurement({place: exact(float(best["loss"] / best["known_cost"]) - 1)}, sample="1 problem")


@statistic("the lower and upper bound of the rank of (K, K^s) of the best net on the plateau")
def rank(records: pd.DataFrame, claim: Claim) -> Measurement:
    """Bounds of the rank of the hidden covariances of the best net on the plateau, on each problem."""
    titled, starts = _with_starts(records)
    expected, estimates = _expected(titled, claim.predicted).dropna(), {}
    first = starts.drop_duplicates("title").set_index("title")["start"]
    for title in (str(one) for one in first.index if one in expected and "rank_lower_1" in titled):
        part = titled[(titled["title"] == title) & (titled["width"] >= first[title])]
        best = part.nsmallest(1, "loss").iloc[0]
        low, high = float(best["rank_lower_1"]), float(best["rank_upper_1"])
        estimates[title] = Estimate(low, low, high)
    if not estimates or not np.isfinite([one[:3] for one in estimates.values()]).all():
        raise ResultsError("No rank is recorded.")
    predicted = {title: expected[title] for title in estimates}
    return Measurement(estimates, predicted, sample=counted(len(estimates), "problem"))


class Trials(NamedTuple):
    """Restarts at widths on a plateau: how many end above it, of how many, and the worst height above it."""

    failed: int
    tried: int
    worst: float

    @property
    def share(self) -> float:
        """Share of restarts that end above."""
        return self.failed / self.tried


def trials(records: pd.DataFrame) -> Trials:
    """Count restarts from random weights at widths on a plateau that was seen, whichever optimiser saw it.

    Raises:
        ResultsError: If there are none.
    """
    titled = _titled(records)
    first = plateaus.earliest(plateaus.starts(titled, "title"), "title")
    seen = first[first["is_seen"].astype("bool")][["title", "seed", "start"]]
    weights = titled[titled["optimiser"] == "weights"].merge(seen, on=["title", "seed"])
    heights = weights["height"][weights["width"] >= weights["start"]]
    if heights.empty:
        raise ResultsError("No restart was made on a plateau that was seen.")
    failed = heights[heights > titled["tolerance"].iloc[0]]
    return Trials(len(failed), len(heights), failed.max() if len(failed) else 0.0)


@statistic("Clopper and Pearson's 95 % interval of the share of restarts that end above the plateau")
def failed_restarts(records: pd.DataFrame, claim: Claim) -> Measurement:
    """Share of restarts at or beyond the start of the plateau that end above it."""
    found = trials(records)
    sure = ShareConfidence(found.failed, found.failed, found.tried)
    detail = f"{found.failed} restarts" + (
        f"; the worst ends {percent(found.worst)} above" if found.failed else ""
    )
    return Measurement(
        {"": sure.estimate()}, confidence={"": sure}, sample=f"{found.tried} restarts", detail=detail
    )


@statistic("Fisher's exact 95 % interval of the ratio of the odds that a restart ends above the plateau")
def failing_odds(records: pd.DataFrame, claim: Claim) -> Measurement:
    """Odds that a restart fails in the first stage of the claim over those in the second."""
    from scipy.stats.contingency import odds_ratio

    one, other = (trials(records[records["stage"] == stage]) for stage in claim.stage)
    ratio = odds_ratio([[side.failed, side.tried - side.failed] for side in (one, other)])
    limits = ratio.confidence_interval(0.95)
    return Measurement(
        {"": Estimate(float(ratio.statistic), float(limits.low), float(limits.high), one.tried)},
        confidence={"": OddsConfidence(one.failed, one.tried, other.failed, other.tried)},
        sample=f"{one.tried} and {other.tried} restarts",
        detail=f"{percent(one.share)} against {percent(other.share)} of restarts end above the plateau",
    )


@statistic("the height of the best loss of each form above the smallest of a draw")
def excess_of_forms(records: pd.DataFrame, claim: Claim) -> Measurement:
    """Largest relative height of the best loss of each optimiser above the smallest of the draw."""
    draws = _titled(records).groupby(["title", "seed"])
    if not all(set(part["optimiser"]) >= FORMS for _, part in draws):
        raise ResultsError("Not all three forms are recorded on every draw.")
    heights = _titled(records).groupby(["title", "seed", "optimiser"])["height"].min()
    return Measurement(
        {str(name): exact(float(part.max()), len(part)) for name, part in heights.groupby("optimiser")},
        sample=counted(records["seed"].nunique(), "draw"),
    )
