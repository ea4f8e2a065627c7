"""Statistics of a number of each draw: mean, geometric mean, every single run."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from diffstab.errors import ResultsError
from diffstab.report.claims.claim import Claim
from diffstab.report.intervals import Estimate, exact, mean_interval
from diffstab.report.statistics.expressions import evaluate
from diffstab.report.statistics.registry import Measurement, statistic
from diffstab.results.schema import value_name

DRAW = ["stage", "dataset", "n_train", "seed"]
"""The columns that together name one draw of the training set."""


@statistic("mean", "the 95 % Student interval of the mean over draws")
def mean(records: pd.DataFrame, claim: Claim, *, once: str = "") -> Measurement:
    """Mean over draws at each place; `once` names a column of which each value counts once."""
    part = draws(records, claim)
    return by_place(part.drop_duplicates(["stage", once]) if once else part, claim, mean_interval)


@statistic("ratio", "the 95 % Student interval of the geometric mean over draws")
def ratio(records: pd.DataFrame, claim: Claim) -> Measurement:
    """Geometric mean over draws of a value, or of its ratio to that of another method."""
    return by_place(draws(records, claim, pair=operator.truediv), claim, geometric_interval)


@statistic("each", "the number of every run")
def each(records: pd.DataFrame, claim: Claim, *, may_fall: Mapping[str, Any] | None = None) -> Measurement:
    """The number of every run.

    Args:
        records: Selected by the claim.
        claim: What is judged.
        may_fall: Column and value of runs that have not come to an end: their number is an upper bound.
    """
    part = draws(records, claim)
    falls = np.full(len(part), bool(may_fall))
    for name, value in (may_fall or {}).items():
        falls &= (part[name] == value).to_numpy() if name in part else False
    rows = zip(part["dataset"], part["n_train"], part["seed"], part["value"], falls, strict=True)
    several = part["dataset"].nunique() > 1
    estimates = {
        f"n = {n}, {f'{dataset}, ' if several else ''}seed {seed}": Estimate(
            value, -np.inf if fall else value, value, 1
        )
        for dataset, n, seed, value, fall in rows
    }
    means = {place: exact(one.mean, one.draws) for place, one in by_n(part).items()}
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
    if not claim.against:
        part = of_method(frame, claim.method)
    else:
        sides = [of_method(frame, name).set_index(DRAW)["value"] for name in (claim.method, claim.against)]
        with np.errstate(divide="ignore", invalid="ignore"):
            part = pair(*sides).rename("value").reset_index()
    part = part.dropna(subset="value")
    if part.empty:
        both = f" and {claim.against} on the same draw" if claim.against else ""
        raise ResultsError(f"No record has {claim.value} of {claim.method or 'a method'}{both}.")
    return part.reset_index(drop=True)


def of_method(records: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the records of a method; all of them for none."""
    return records[records["method"] == name] if name else records


def by_place(part: pd.DataFrame, claim: Claim, estimate: Callable[[pd.Series], Estimate]) -> Measurement:
    """Estimate the `value` of draws at each place that is judged, and at the others."""
    places = part.groupby(claim.by, sort=True) if claim.by else [("", part)]
    kept = _kept_sizes(part, claim.sizes)
    estimates: dict[str, Estimate] = {}
    others: dict[str, Estimate] = {}
    for key, group in places:
        largest = group["n_train"].max()
        chosen = group[group["n_train"] == largest] if claim.sizes == "largest" else group
        at = others if claim.by == "n_train" and key not in kept else estimates
        at[place_text(claim.by, key)] = estimate(chosen["value"])
    further = others or ({} if claim.by else by_n(part, estimate))
    return Measurement(estimates, others=further)


def by_n(
    part: pd.DataFrame, estimate: Callable[[pd.Series], Estimate] = mean_interval
) -> dict[str, Estimate]:
    """Estimate the `value` of draws at each size n."""
    return {f"n = {n}": estimate(group["value"]) for n, group in part.groupby("n_train", sort=True)}


def place_text(column: str, key: Any) -> str:
    """Return a place for people: "n = 64", "MNIST"."""
    if column == "n_train":
        return f"n = {key}"
    return value_name(column, key) if column else ""


def geometric_interval(values: pd.Series) -> Estimate:
    """Geometric mean of positive values with the Student interval of their logarithms."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found = mean_interval(np.log10(values))
    return Estimate(10**found.mean, 10**found.low, 10**found.high, found.draws)


def _kept_sizes(part: pd.DataFrame, sizes: str) -> set[int]:
    listed = sorted(int(size) for size in part["n_train"].unique())
    return set(listed[len(listed) // 2 :] if sizes == "larger half" else listed)
