"""The exact lazy limit on whole data sets: what its page says of its runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from diffstab.report.catalogue import plot_picture
from diffstab.report.document import Picture
from diffstab.report.marks import MARKS
from diffstab.report.plots import Layer, Plot
from diffstab.report.runs import Runs, data_sets
from diffstab.report.summaries import EVERY, MEAN, mean_text
from diffstab.report.tables import grouped
from diffstab.report.words import counted, listed, number_text, value_text

_LAYERS = (
    Layer(EVERY, MARKS["faint points"], is_spread=True),
    *(Layer(MEAN, MARKS[name]) for name in ("bars", "line", "markers")),
)


def prepare(records: pd.DataFrame, config: Mapping[str, Any]) -> pd.DataFrame:
    """The records with the ridge as their method, the largest first."""
    frame = records.sort_values(["n_train", "seed", "depth", "ridge"], ascending=[True, True, True, False])
    return frame.assign(method=[f"ridge {_power_text(ridge)}" for ridge in frame["ridge"]]).reset_index(
        drop=True
    )


def _power_text(ridge: float) -> str:
    """A ridge as 1e-4: so names stand in the order of their powers."""
    mantissa, power = f"{ridge:.6e}".split("e")
    return f"{float(mantissa):g}e{int(power)}" if ridge else "0"


def title(runs: Runs) -> str:
    """On which data."""
    return f"The exact lazy limit on {data_sets(runs.frame)}"


def varied(runs: Runs) -> str:
    """What was varied; the method is the ridge."""
    return runs._replace(frame=runs.frame.drop(columns="method")).varied()


def overview(runs: Runs) -> Iterator[Picture]:
    """Test error and R."""
    yield _picture(
        runs, "lazy_overview", ("test_error", "R"), "Lower is better, and more stable to deformations."
    )


def stability(runs: Runs) -> Iterator[Picture]:
    """D and G."""
    yield _picture(runs, "lazy_stability", ("D", "G"), "Small means stable.")


def _picture(runs: Runs, name: str, columns: tuple[str, ...], says: str) -> Picture:
    """Columns against n; against the depth where there is one n."""
    several = [axis for axis in ("n_train", "depth") if runs.frame[axis].nunique() > 1]
    x, *facets = several or ["n_train"]
    plot = Plot(x, columns, _LAYERS, "method", ("labels", *facets), scales=("sizes", "auto"))
    return plot_picture(plot, plot.frame(runs.frame), name=name, says=says)


def answer(runs: Runs) -> str:
    """Test error and R of the best depth and ridge at the largest n, for each kind of labels."""
    size = runs.frame["n_train"].max()
    last, texts = runs.frame[runs.frame["n_train"] == size], []
    for (name, labels), part in grouped(last, ["dataset", "labels"]):
        (depth, method), best = min(
            grouped(part, ["depth", "method"]), key=lambda found: float(found[1]["test_error"].mean())
        )
        what = "in the class" if labels == "classes" else "in the parity of the class"
        texts.append(
            f"On {value_text('dataset', name)} the least test error {what} is {mean_text(best, 'test_error')} "
            f"({counted(depth, 'hidden layer')}, {method}), with R = {mean_text(best, 'R')}."
        )
    return f"With {number_text(size)} training images: {' '.join(texts)}"


def solved(runs: Runs) -> Sequence[str]:
    """Which runs the solver has not brought to its tolerance."""
    missed = sorted(set(runs.frame["method"][runs.frame["relative_residual"] > 1e-4]))
    return [f"With a residual above 1e-4: {listed(missed)}."] if missed else []
