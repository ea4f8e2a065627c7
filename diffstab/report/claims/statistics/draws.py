"""Statistics of a number of each draw: mean, geometric mean, every single run."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from diffstab.errors import ResultsError
from diffstab.report.claims.claim import Claim
from diffstab.report.claims.statistics.expressions import evaluate
from diffstab.report.claims.statistics.registry import Measurement, statistic
from diffstab.report.intervals import Estimate, exact, geometric_interval, mean_interval
from diffstab.report.tables import DRAW, side_by_side
from diffstab.results.schema import value_name


@statistic("the 95 % Student interval of the mean over draws")
def mean(records: pd.DataFrame, claim: Claim, *, once: str = "") -> Measurement:
    """Mean over draws at each place; `once` names a column of which each value counts once."""
    part = draws(records, claim)
    return _by_place(part.drop_duplicates(["stage", once]) if once else part, claim, mean_interval)


@statistic("the 95 % Student interval of the geometric mean over draws")
def ratio(records: pd.DataFrame, claim: Claim) -> Measurement:
    """Geometric mean over draws of a value, or of its ratio to that of another method."""
    return _by_place(draws(records, claim, pair=operator.truediv), claim, geometric_interval)


@statistic("the number of every run")
def each(records: pd.DataFrame, claim: Claim, *, may_fall: Mapping[str, Any] | None = None) -> Measurement:
    """The number of every run; `may_fall` are columns and values of unfinished runs, whose number bounds the end's."""
    part = draws(records, claim)
    falls = np.full(len(part), bool(may_fall))
    for name, value in (may_fall or {}).items():
        falls &= (part[name] == value).to_numpy() if name in part else False
    several = part["dataset"].nunique() > 1
    rows = zip(part["dataset"], part["n_train"], part["seed"], part["value"], falls, strict=True)
    estimates = {
        f"n = {n}, {f'{dataset}, ' if several else ''}seed {seed}": Estimate(
            value, -np.inf if may else value, value
        )
        for dataset, n, seed, value, may in rows
    }
    means = {place: exact(one.mean, one.draws) for place, one in _by_n(part, mean_interval).items()}
    return Measurement(estimates, others=means, sample=f"{len(part)} runs")


def draws(
    records: pd.DataFrame, claim: Claim, *, pair: Callable[[Any, Any], Any] = operator.sub
) -> pd.DataFrame:
    """Return one row for each draw, with its `value`: that of one method, or of two on the same draw.

    Args:
        records: Selected by the claim.
        claim: Names the methods and the value.
        pair: Makes one number of the values of both methods.

    Raises:
        ResultsError: If there is no such draw.
    """
    frame = records.assign(value=evaluate(claim.value, records))
    if claim.against:
        sides = side_by_side(frame, "value", ["stage", *DRAW], (claim.method, claim.against))
        with np.errstate(divide="ignore", invalid="ignore"):
            frame = pair(sides[claim.method], sides[claim.against]).rename("value").reset_index()
    else:
        frame = of_method(frame, claim.method)
    part = frame.dropna(subset="value")
    if part.empty:
        both = f" and {claim.against} on the same draw" if claim.against else ""
        raise ResultsError(f"No record has {claim.value} of {claim.method or 'a method'}{both}.")
    return part.reset_index(drop=True)


def of_method(records: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the records of a method; all of them for none."""
    return records[records["method"] == name] if name else records


def _by_place(part: pd.DataFrame, claim: Claim, estimate: Callable[[pd.Series], Estimate]) -> Measurement:
    """Estimate the `value` of draws at each place that is judged, and at the others."""
    sizes = sorted(part["n_train"].unique())
    kept = sizes[len(sizes) // 2 :] if claim.sizes == "larger half" else sizes
    estimates: dict[str, Estimate] = {}
    others: dict[str, Estimate] = {}
    for key, group in part.groupby(claim.by, sort=True) if claim.by else [("", part)]:
        if claim.sizes == "largest":
            group = group[group["n_train"] == group["n_train"].max()]
        place = f"n = {key}" if claim.by == "n_train" else value_name(claim.by, key)
        at = others if claim.by == "n_train" and key not in kept else estimates
        at[place] = estimate(group["value"])
    return Measurement(estimates, others=others or ({} if claim.by else _by_n(part, estimate)))


def _by_n(part: pd.DataFrame, estimate: Callable[[pd.Series], Estimate]) -> dict[str, Estimate]:
    """Estimate the `value` of draws at each size n."""
    return {f"n = {n}": estimate(group["value"]) for n, group in part.groupby("n_train", sort=True)}
