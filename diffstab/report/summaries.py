"""Statistics of plots and tables: the values of a quantity at one place in, one number with its interval out."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from diffstab.report.intervals import Estimate, geometric_interval, ranged_interval
from diffstab.report.words import interval_text

_COLUMNS = ["x", "y", "low", "high", "draws", "is_own"]


def _mean(values: np.ndarray, column: str) -> Estimate:
    return ranged_interval(values, of=column)


@dataclass(frozen=True)
class Statistic:
    """A statistic of the values that share their place on the first axis.

    Attributes:
        noun: What its number is, for a caption.
        reduce: From values and the name of their column to a number with its interval.
        interval: What its interval is, for a caption; "" where it has none.
        keeps_all: Whether a plot shows every value instead of the number.
    """

    noun: str
    reduce: Callable[[np.ndarray, str], Estimate] = _mean
    interval: str = ""
    keeps_all: bool = False

    def of(self, values: pd.Series, column: str) -> Estimate:
        """The number of all finite values together; of none, NaN."""
        finite = values.to_numpy(dtype=np.float64)
        finite = finite[np.isfinite(finite)]
        return self.reduce(finite, column) if len(finite) else Estimate(np.nan, draws=0)

    def table(self, frame: pd.DataFrame, *, x: str, y: str) -> pd.DataFrame:
        """Apply the statistic at every value of the first axis.

        A single draw takes the interval that its record holds (columns ``<y>_low`` and ``<y>_high``), if any.

        Args:
            frame: Records of one colour of one panel.
            x: Column of the first axis.
            y: Column of the quantity; one that is missing gives no rows.

        Returns:
            Columns x, y, low, high, draws and is_own (whether the interval is the record's), ascending in x.
        """
        if y not in frame or x not in frame:
            return pd.DataFrame(columns=_COLUMNS)
        known = frame[np.isfinite(frame[y].astype("float64"))]
        if self.keeps_all:
            ends = {end: known.get(f"{y}_{end}", np.nan) for end in ("low", "high")}
            every = pd.DataFrame({"x": known[x], "y": known[y], **ends}).assign(draws=1, is_own=True)
            return every.sort_values("x", kind="stable", ignore_index=True)
        rows = [self._row(part, y, at) for at, part in known.groupby(x, sort=True)]
        return pd.DataFrame(rows, columns=_COLUMNS)

    def _row(self, part: pd.DataFrame, y: str, at: object) -> tuple[object, ...]:
        found = self.of(part[y], y)
        names = [f"{y}_low", f"{y}_high"]
        is_own = len(part) == 1 and bool(self.interval) and set(names) <= set(part)
        low, high = (float(part[name].iloc[0]) for name in names) if is_own else found[1:3]
        return at, found.mean, low, high, len(part), is_own


@dataclass(frozen=True)
class Histogram(Statistic):
    """How many values lie in each of equally wide bins: x becomes the middle of a bin, y the count.

    Attributes:
        bins: Number of bins.
    """

    noun: str = "number of values"
    bins: int = 20

    def table(self, frame: pd.DataFrame, *, x: str, y: str) -> pd.DataFrame:
        """Count the finite values of `y`; `x` is not read."""
        values = frame[y].to_numpy(dtype=np.float64) if y in frame else np.empty(0)
        counts, edges = np.histogram(values[np.isfinite(values)], bins=self.bins)
        table = pd.DataFrame({"x": (edges[1:] + edges[:-1]) / 2, "y": counts.astype(float)})
        return table.assign(low=np.nan, high=np.nan, draws=counts, is_own=False)


def _plain(function: Callable[[np.ndarray], float]) -> Callable[[np.ndarray, str], Estimate]:
    """A reduction to a number without interval."""
    return lambda values, column: Estimate(float(function(values)), draws=len(values))


MEAN = Statistic("mean over draws", interval="95 % interval of the mean over draws")
EVERY = Statistic("single draws", keeps_all=True)
STATISTICS = {
    "mean": MEAN,
    "geometric mean": Statistic(
        "geometric mean over draws", lambda values, column: geometric_interval(values), "its 95 % interval"
    ),
    "median": Statistic("median over draws", _plain(np.median)),
    "smallest value": Statistic("smallest value", _plain(np.min)),
    "largest value": Statistic("largest value", _plain(np.max)),
    "sum": Statistic("sum", _plain(np.sum)),
    "first value": Statistic("first value", _plain(lambda values: values[0])),
    "every": EVERY,
    "histogram": Histogram(),
}
"""The statistics by name; each goes with every mark."""


def mean_text(frame: pd.DataFrame, name: str) -> str:
    """Return the mean of a column over draws with its interval, as text."""
    return interval_text(name, *MEAN.of(frame[name], name)[:3])
