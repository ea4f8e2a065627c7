"""Statistics of plateaus: where they start, how low they are, which restarts miss them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from diffstab.errors import ResultsError
from diffstab.report.claims.claim import Claim
from diffstab.report.intervals import Estimate, exact
from diffstab.report.l2.plateau_runs import (
    Start,
    best_runs,
    cases,
    earliest,
    excess_of_optimisers,
    floors,
    relative_heights,
    run_settings,
    start_text,
    starts,
)
from diffstab.report.numbers import number_text, percent
from diffstab.report.statistics.expressions import columns_of, evaluate_once
from diffstab.report.statistics.registry import Measurement, statistic

FORMS = {"weights", "representations", "covariances"}
"""Optimisers of the three forms of the loss."""


class Plateau(NamedTuple):
    """The plateaus of one data set and size.

    Attributes:
        title: Data set and size.
        part: Records.
        starts: One for each draw and optimiser.
        tolerance: Of the rule of the start.
    """

    title: str
    part: pd.DataFrame
    starts: list[Start]
    tolerance: float

    def expected(self, expression: str) -> float:
        """Return what theory says for these points; NaN where it says nothing."""
        known = {name: self.part[name].dropna() for name in columns_of(expression)}
        return evaluate_once(
            expression, {name: one.iloc[0] if len(one) else np.nan for name, one in known.items()}
        )


def plateaus(records: pd.DataFrame) -> list[Plateau]:
    """Return the plateaus of each stage, data set and size.

    Raises:
        ResultsError: If no net of a given width found a minimum.
    """
    found = []
    several = records["stage"].nunique() > 1
    for stage, runs in records.groupby("stage", sort=False):
        tolerance = float(run_settings(runs, {})["plateau_tolerance"])
        for title, part in cases(runs):
            named = f"{title} ({stage})" if several else title
            found.append(Plateau(named, part, starts(part, tolerance=tolerance), tolerance))
    return found


def _with_starts(records: pd.DataFrame) -> list[Plateau]:
    found = [one for one in plateaus(records) if one.starts]
    if not found:
        raise ResultsError("No net of a given width found a minimum.")
    return found


@statistic("start", "the start of the plateau of every draw")
def start(records: pd.DataFrame, claim: Claim) -> Measurement:
    """Width at which the plateau of each draw starts; one that was not seen has no limits and decides nothing."""
    estimates, predicted, texts = {}, {}, []
    for one in _with_starts(records):
        first = earliest(one.starts, tolerance=one.tolerance)
        for found in first:
            place, width = f"{one.title}, seed {found.seed}", float(found.found.width)
            limit = width if found.found.reached else np.nan
            estimates[place] = Estimate(width, limit, limit, 1)
            predicted[place] = one.expected(claim.predicted)
        texts.append(f"{one.title}: {', '.join(start_text(found) for found in first)}")
    detail = f"start [95 % interval over restarts]; {'; '.join(texts)}"
    return Measurement(estimates, predicted, sample=_count(len(estimates), "draw"), detail=detail)


@statistic(
    "rise_with_width", "the rise of the best loss of a width above that of a narrower net, on each problem,"
)
def rise_with_width(records: pd.DataFrame, claim: Claim) -> Measurement:
    """Largest rise of the best loss with the width; an upper bound, as better restarts may exist."""
    estimates, predicted = {}, {}
    for one in plateaus(records):
        name = one.starts[0].optimiser if one.starts else "weights"
        best = best_runs(one.part[one.part["optimiser"] == name])
        groups = best[np.isfinite(best["loss"])].groupby("seed")["loss"]
        worst = max((float((losses / losses.cummin() - 1).max()) for _, losses in groups), default=np.nan)
        estimates[one.title] = Estimate(worst, -np.inf if np.isfinite(worst) else np.nan, worst, len(groups))
        predicted[one.title] = one.tolerance
    return Measurement(estimates, predicted, sample=_count(len(estimates), "problem"))


@statistic("smallest_loss", "the smallest norm over widths and restarts on each problem")
def smallest_loss(records: pd.DataFrame, claim: Claim) -> Measurement:
    """Smallest norm of nets that meet the targets, on each problem whose norm theory knows."""
    known = {
        one.title: (one.starts[0].found.floor, one.expected(claim.predicted)) for one in _with_starts(records)
    }
    known = {title: pair for title, pair in known.items() if np.isfinite(pair[1])}
    if not known:
        raise ResultsError("The records hold no norm that theory knows.")
    worst = max(abs(norm / theory - 1) for norm, theory in known.values())
    return Measurement(
        {title: exact(norm) for title, (norm, _) in known.items()},
        {title: theory for title, (_, theory) in known.items()},
        sample=_count(len(known), "problem"),
        detail=f"relative difference at most {number_text(worst)}",
    )


@statistic("rank", "the lower and upper bound of the rank of (K, K^s) of the best net on the plateau")
def rank(records: pd.DataFrame, claim: Claim) -> Measurement:
    """Bounds of the rank of the hidden covariances of the best net on the plateau, on each problem."""
    estimates, predicted = {}, {}
    for one in _with_starts(records):
        theory = one.expected(claim.predicted)
        if np.isfinite(theory) and "rank_lower_1" in one.part:
            wide = one.part[one.part["width"] >= one.starts[0].found.width]
            best = best_runs(wide).nsmallest(1, "loss").iloc[0]
            low, high = float(best["rank_lower_1"]), float(best["rank_upper_1"])
            estimates[one.title], predicted[one.title] = Estimate(low, low, high, 1), theory
    if not estimates or not np.isfinite([one[:3] for one in estimates.values()]).all():
        raise ResultsError("No rank is recorded.")
    return Measurement(estimates, predicted, sample=_count(len(estimates), "problem"))


class Trials(NamedTuple):
    """Restarts at widths on a plateau: how many end above it, of how many, and the worst height above it."""

    failed: int
    tried: int
    worst: float

    @property
    def share(self) -> float:
        """Share of restarts that end above."""
        return self.failed / self.tried


def trials(found: Sequence[Plateau]) -> Trials:
    """Count restarts from random weights at widths on a plateau that was seen, whichever optimiser saw it.

    Raises:
        ResultsError: If there are none.
    """
    heights: list[float] = []
    failed: list[float] = []
    for one in found:
        smallest, weights = floors(one.part), one.part[one.part["optimiser"] == "weights"]
        for first in earliest(one.starts, tolerance=one.tolerance):
            if first.found.reached:
                mine = weights[(weights["seed"] == first.seed) & (weights["width"] >= first.found.width)]
                above = relative_heights(mine["loss"], smallest[first.seed])
                heights += above.tolist()
                failed += above[above > one.tolerance].tolist()
    if not heights:
        raise ResultsError("No restart was made on a plateau that was seen.")
    return Trials(len(failed), len(heights), max(failed, default=0.0))


@statistic(
    "failed_restarts", "the number of restarts at or beyond the start of the plateau that end above it"
)
def failed_restarts(records: pd.DataFrame, claim: Claim) -> Measurement:
    """Number of restarts on the plateau that end above it."""
    found = trials(plateaus(records))
    detail = f"the worst ends {percent(found.worst)} above" if found.failed else ""
    count = exact(found.failed, found.tried)
    return Measurement({"": count}, sample=f"{found.tried} restarts", detail=detail)


@statistic(
    "failing_odds",
    "Fisher's exact 95 % interval of the ratio of the odds that a restart ends above the plateau",
)
def failing_odds(records: pd.DataFrame, claim: Claim) -> Measurement:
    """Odds that a restart fails in the first stage of the claim over those in the second."""
    from scipy.stats.contingency import odds_ratio

    one, other = (trials(plateaus(records[records["stage"] == stage])) for stage in claim.stage)
    table = [[side.failed, side.tried - side.failed] for side in (one, other)]
    ratio = odds_ratio(table)
    limits = ratio.confidence_interval(0.95)
    return Measurement(
        {"": Estimate(float(ratio.statistic), float(limits.low), float(limits.high), one.tried)},
        sample=f"{one.tried} and {other.tried} restarts",
        detail=f"{percent(one.share)} against {percent(other.share)} of restarts end above the plateau",
    )


@statistic("excess_of_forms", "the height of the best loss of each form above the smallest of a draw")
def excess_of_forms(records: pd.DataFrame, claim: Claim) -> Measurement:
    """Largest relative height of the best loss of each optimiser above the smallest of the draw."""
    heights = [excess_of_optimisers(one.part) for one in plateaus(records)]
    if not all(set(one["optimiser"]) >= FORMS for height in heights for _, one in height.groupby("seed")):
        raise ResultsError("Not all three forms are recorded on every draw.")
    table = pd.concat(heights, ignore_index=True)
    return Measurement(
        {
            str(name): exact(float(part.max()), len(part))
            for name, part in table.groupby("optimiser")["excess"]
        },
        sample=_count(int(table["seed"].nunique()), "draw"),
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
