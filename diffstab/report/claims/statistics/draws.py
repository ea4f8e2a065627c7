"""Statistics of a number of each draw: mean, geometric mean, every single run."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from diffstab.errors import ResultsError
from diffstab.report.claims.claim import Claim
from diffstab.report.claims.confidence import MeanConfidence, ShareConfidence, pooled, student
from diffstab.report.claims.statistics.expressions import evaluate
from diffstab.report.claims.statistics.registry import Measurement, statistic
from diffstab.report.intervals import Estimate, exact, geometric_interval, mean_interval
from diffstab.report.tables import DRAW, side_by_side
from diffstab.report.words import number_text
from diffstab.results.schema import value_name


@statistic("the 95 % interval of the mean over draws")
def mean(records: pd.DataFrame, claim: Claim, *, once: str = "") -> Measurement:
    """Mean over draws at each place, or pooled over sizes; of column `once` each value counts once."""
    part = draws(records, claim)
    return _by_place(part.drop_duplicates(["stage", once]) if once else part, claim, is_ratio=False)


@statistic("the 95 % interval of the geometric mean over draws")
def ratio(records: pd.DataFrame, claim: Claim) -> Measurement:
    """Geometric mean over draws of a value, or of its ratio to that of another method."""
    part = draws(records, claim, pair=operator.truediv)
    if not (positive := part[part["value"] > 0]).size:
        raise ResultsError(f"No record has a positive {claim.value}.")
    return _by_place(positive, claim, is_ratio=True)


@statistic("the number of every run")
def each(records: pd.DataFrame, claim: Claim) -> Measurement:
    """The number of every run."""
    part = draws(records, claim)
    several = part["dataset"].nunique() > 1
    rows = zip(part["dataset"], part["n_train"], part["seed"], part["value"], strict=True)
    estimates = {
        f"n = {n}, {f'{dataset}, ' if several else ''}seed {seed}": exact(value)
        for dataset, n, seed, value in rows
    }
    means = {place: exact(one.mean, one.draws) for place, one in _by_n(part, mean_interval).items()}
    return Measurement(estimates, others=means, sample=f"{len(part)} runs")


@statistic("Clopper and Pearson's 95 % interval of the share of runs")
def share(
    records: pd.DataFrame, claim: Claim, *, at_most: float, may_fall: Mapping[str, Any] | None = None
) -> Measurement:
    """Share of runs with a number of at most `at_most`; `may_fall`: columns and values of runs that may get there."""
    part = draws(records, claim)
    open_ones = np.full(len(part), bool(may_fall))
    for name, value in (may_fall or {}).items():
        open_ones &= (part[name] == value).to_numpy() if name in part else False
    is_within = (part["value"] <= at_most).to_numpy()
    sure = ShareConfidence(int(is_within.sum()), int((is_within | open_ones).sum()), len(part))
    counts = part.assign(value=is_within).groupby("n_train")["value"].agg(["sum", "size"])
    texts = [f"n = {n}: {row['sum']} of {row['size']}" for n, row in counts.iterrows()]
    detail = f"runs within: {'; '.join(texts)}; the largest is {number_text(float(part['value'].max()))}"
    return Measurement(
        {"": sure.estimate()}, confidence={"": sure}, sample=f"{len(part)} runs", detail=detail
    )


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


def _by_place(part: pd.DataFrame, claim: Claim, *, is_ratio: bool) -> Measurement:
    """Estimate the `value` of draws, pooled over the places of `by`, each of which is told beside."""
    estimate = geometric_interval if is_ratio else mean_interval
    if not claim.by:
        alone = _known({"": student(part["value"], is_ratio=is_ratio)})
        return Measurement({"": estimate(part["value"])}, confidence=alone, others=_by_n(part, estimate))
    kept = part[part["n_train"].isin(_judged_sizes(part, claim))]
    if claim.sizes == "largest":
        kept = part[part["n_train"] == part.groupby(claim.by)["n_train"].transform("max")]
    groups = {_place(claim.by, key): group for key, group in kept.groupby(claim.by, sort=True)}
    names, sure = list(groups), pooled(kept, claim.by, is_ratio=is_ratio)
    place = names[0] if len(names) == 1 else f"{names[0]} to {max(kept['n_train'])}"
    place = place if claim.by == "n_train" or len(names) == 1 else "mean over all"
    others = _by_n(part, estimate) if claim.by == "n_train" else {}
    others = others or {name: estimate(group["value"]) for name, group in groups.items()}
    one = estimate(kept["value"])._replace(low=np.nan, high=np.nan)
    return Measurement(
        {place: sure.estimate(kept["seed"].nunique()) if sure else one},
        confidence=_known({place: sure}),
        parts=_known({name: student(of["value"], is_ratio=is_ratio) for name, of in groups.items()}),
        others={**others, **trend(kept, is_ratio=is_ratio)} if len(others) > 1 else {},
        sample=_draws_of(pd.Series([len(of) for of in groups.values()])),
    )


def _place(column: str, key: Any) -> str:
    return f"n = {key}" if column == "n_train" else value_name(column, key)


def _judged_sizes(part: pd.DataFrame, claim: Claim) -> list[int]:
    sizes = sorted(part["n_train"].unique())
    return sizes[len(sizes) // 2 :] if claim.sizes == "larger half" else sizes


def trend(part: pd.DataFrame, *, is_ratio: bool) -> dict[str, Estimate]:
    """Return by how much, or by what factor, the value grows when n doubles: Student's over the slopes of seeds."""
    if len(found := slopes(part, is_ratio=is_ratio)) < 2:
        return {}
    doubled = np.log(2) * np.array(found)
    return {"when n doubles": geometric_interval(np.exp(doubled)) if is_ratio else mean_interval(doubled)}


def slopes(part: pd.DataFrame, *, is_ratio: bool) -> list[float]:
    """Return the slope of the value, or of its logarithm, in log n for each seed that has several sizes."""
    values = np.log(part["value"]) if is_ratio else part["value"]
    table = part.assign(value=values, at=np.log(part["n_train"]))
    return [
        float(np.polyfit(one["at"], one["value"], 1)[0])
        for _, one in table.groupby(["dataset", "seed"])
        if one["n_train"].nunique() > 1
    ]


def _known(several: Mapping[str, MeanConfidence | None]) -> dict[str, MeanConfidence]:
    return {place: one for place, one in several.items() if one is not None}


def _draws_of(counts: pd.Series) -> str:
    """How many draws the sizes have: "5 draws", "5 to 15 draws"."""
    ends = sorted({int(counts.min()), int(counts.max())})
    return f"{' to '.join(map(str, ends))} {'draw' if ends == [1] else 'draws'}"


def _by_n(part: pd.DataFrame, estimate: Callable[[pd.Series], Estimate]) -> dict[str, Estimate]:
    """Estimate the `value` of draws at each size n."""
    return {f"n = {n}": estimate(group["value"]) for n, group in part.groupby("n_train", sort=True)}
