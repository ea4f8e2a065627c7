"""Minima of deep L2-regularised nets: the rank of their narrowest layer, and what their layers keep."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from diffstab.errors import ResultsError
from diffstab.report.claims.claim import Claim
from diffstab.report.claims.statistics.registry import Measurement, statistic
from diffstab.report.intervals import mean_interval
from diffstab.report.pages import leaky


@statistic("the 95 % Student interval of the mean over functions")
def least_rank(records: pd.DataFrame, claim: Claim) -> Measurement:
    """Least rank of a layer, for each number k of inner numbers; one of all functions counts as exact."""
    places = {f"k = {inner}": part["bottleneck_rank"] for inner, part in records.groupby("inner")}
    estimates = {place: mean_interval(ranks) for place, ranks in places.items()}
    predicted = {place: float(place.removeprefix("k = ")) for place in places}
    listed = "; ".join(f"{place}: {', '.join(map(str, ranks))}" for place, ranks in places.items())
    return Measurement(estimates, predicted, detail=listed)


@statistic("the 95 % Student interval of the exponent over starts")
def drift_exponent(records: pd.DataFrame, claim: Claim) -> Measurement:
    """Exponent of the drift of the Hamiltonian in the number of layers."""
    return _over_starts(records, lambda layers, drift: np.polyfit(np.log(layers), np.log(drift), 1)[0], -1.0)


@statistic("the 95 % Student interval of the limit over starts")
def drift_limit(records: pd.DataFrame, claim: Claim) -> Measurement:
    """Drift of the Hamiltonian at infinitely many layers."""
    return _over_starts(records, leaky.drift_limit, 0.0)


def _over_starts(
    records: pd.DataFrame, fit: Callable[[np.ndarray, np.ndarray], float], predicted: float
) -> Measurement:
    """A number fitted to the largest sizes of each start; `seed` numbers these."""
    if not (found := leaky.over_starts(records, fit)):
        raise ResultsError(f"No start has {leaky.LARGEST} numbers of layers.")
    return Measurement({"": mean_interval(found)}, {"": predicted}, sample=f"{len(found)} starts")
