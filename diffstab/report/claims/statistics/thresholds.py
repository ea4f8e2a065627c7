"""Training-set sizes at which a number falls to a level, and how they grow."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from diffstab.errors import ResultsError
from diffstab.report.claims.claim import Claim
from diffstab.report.claims.statistics.expressions import evaluate
from diffstab.report.claims.statistics.registry import Measurement, statistic
from diffstab.report.intervals import geometric_interval, mean_interval
from diffstab.report.words import number_text

_HALF = 0.5


def crossing(sizes: npt.ArrayLike, values: npt.ArrayLike, level: float) -> float:
    """Return where values first fall to a level past the largest of them, linear in log n between neighbouring sizes.

    Args:
        sizes: n, rising.
        values: At each of them.
        level: To be reached.

    Returns:
        The size; NaN where the values do not fall so far, or all lie below it.
    """
    x, y = np.log(np.asarray(sizes, dtype=np.float64)), np.asarray(values, dtype=np.float64)
    # At small sizes a net may be less sensitive still: D rises before it falls.
    start = int(y.argmax())
    x, y = x[start:], y[start:]
    below = np.flatnonzero(y <= level)
    if not len(below) or below[0] == 0:
        return float("nan")
    last = below[0]
    share = (y[last - 1] - level) / (y[last - 1] - y[last])
    return float(np.exp(x[last - 1] + share * (x[last] - x[last - 1])))


def crossings(records: pd.DataFrame, value: str, *, at: float | None = None) -> pd.Series:
    """Return the size at which an expression falls to a level, by data set and seed.

    Args:
        records: With the columns dataset, seed and n_train.
        value: An expression over columns.
        at: The level; None is half of the largest value of each curve.
    """
    frame = records.assign(value=evaluate(value, records)).dropna(subset="value").sort_values("n_train")
    found = {
        key: crossing(part["n_train"], part["value"], _HALF * part["value"].max() if at is None else at)
        for key, part in frame.groupby(["dataset", "seed"])
    }
    return pd.Series(found, dtype="float64").rename_axis(["dataset", "seed"])


@statistic("the 95 % Student interval of the exponent over draws")
def size_exponent(
    records: pd.DataFrame, claim: Claim, *, at: float, against: str, within: str = ""
) -> Measurement:
    """Exponent with which the size grows in an expression, by least squares of logarithms over tasks.

    Args:
        records: Selected by the claim.
        claim: Names the value whose sizes are meant.
        at: Level that it falls to.
        against: The expression.
        within: Column or expression whose values have prefactors of their own; "" for one of all.
    """
    sizes = crossings(records, claim.value, at=at)
    tasks = records.assign(
        x=np.log(evaluate(against, records)), group=evaluate(within, records) if within else 0
    )
    tasks = tasks.groupby("dataset")[["x", "group"]].first()
    rows = sizes.rename("size").reset_index().join(tasks, on="dataset").dropna()
    lost = len(sizes) - len(rows)
    slopes = {seed: _slope(part) for seed, part in rows.groupby("seed")}
    if not np.isfinite(list(slopes.values())).any():
        raise ResultsError(f"No draw has sizes at two values of {against}.")
    one = mean_interval(slopes.values())
    means = {name: geometric_interval(part) for name, part in sizes.dropna().groupby("dataset")}
    detail = "; ".join(f"{name!s}: {number_text(one.mean)}" for name, one in means.items())
    doubt = f"{lost} of {len(sizes)} curves do not cross the level" if lost else ""
    return Measurement({"": one}, sample=f"{len(slopes)} draws", detail=f"sizes {detail}", doubt=doubt)


@statistic("the 95 % Student interval of the geometric mean of the ratio over draws")
def size_ratio(records: pd.DataFrame, claim: Claim, *, against: str) -> Measurement:
    """Ratio of the sizes at which two numbers fall to half of their largest values, for each data set."""
    sizes, others = crossings(records, claim.value), crossings(records, against)
    ratios = sizes / others
    # A task without empty places has no moves: no number, and none that is lost.
    tasks = ratios.index.get_level_values("dataset")
    ratios = ratios[tasks.isin(sizes.index.get_level_values("dataset"))]
    if not ratios.notna().any():
        raise ResultsError(f"No curve of {claim.value} and {against} falls to half of its largest value.")
    lost = int(ratios.isna().sum())
    doubt = f"{lost} of {len(ratios)} draws have no such size" if lost else ""
    places = {str(name): geometric_interval(part) for name, part in ratios.dropna().groupby("dataset")}
    return Measurement(places, doubt=doubt)


def _slope(part: pd.DataFrame) -> float:
    """The common slope of log sizes in x, with a prefactor for each group."""
    x = part["x"] - part.groupby("group")["x"].transform("mean")
    y = np.log(part["size"])
    square = float((x * x).sum())
    return float((x * (y - y.mean())).sum() / square) if square > 0 else float("nan")
