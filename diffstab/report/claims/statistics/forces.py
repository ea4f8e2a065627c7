"""Statistics of attraction and repulsion during training."""

from __future__ import annotations

import numpy as np
import pandas as pd

from diffstab.errors import ResultsError
from diffstab.l2.forces import AT_REST
from diffstab.report.claims.claim import Claim
from diffstab.report.claims.confidence import MeanConfidence, block, student
from diffstab.report.claims.statistics.registry import Measurement, statistic
from diffstab.report.intervals import exact, mean_interval
from diffstab.report.words import number_text


@statistic("the largest imbalance over runs, in each layer,")
def imbalance(records: pd.DataFrame, claim: Claim) -> Measurement:
    """Largest |attraction + repulsion| / (|attraction| + |repulsion|) over runs in each layer, at the end."""
    names = sorted(str(name) for name in records if str(name).startswith("imbalance_"))
    if not names or not np.isfinite(records[names].to_numpy(dtype=np.float64)).all():
        raise ResultsError("The records do not hold the forces of every layer.")
    layers = {f"layer {name[-1]}": records[name].astype("float64") for name in names}
    texts = [f"{layer}: {number_text(float(values.mean()))}" for layer, values in layers.items()]
    if flat := [f"fixed_{name}" for name in names if f"fixed_{name}" in records]:
        largest = float(records[flat].to_numpy(dtype=np.float64).max())
        texts.append(f"with slope 0 at kinks up to {number_text(largest)}")
    # The forces of a net that is not at rest decide nothing.
    moving = int((~(records["stationarity"].astype("float64") <= AT_REST)).sum())
    return Measurement(
        {layer: exact(float(values.max()), len(records)) for layer, values in layers.items()},
        detail=f"mean over draws: {'; '.join(texts)}",
        doubt=f"{moving} of {len(records)} nets were not at rest" if moving else "",
    )


@statistic("the 95 % interval of the mean rise over draws and hidden layers")
def rise(records: pd.DataFrame, claim: Claim, *, trace: str) -> Measurement:
    """Rise of a share from the start to the end of training in each hidden layer."""
    layers = sorted(str(name).removeprefix("rank_") for name in records if str(name).startswith("rank_"))
    traces = {layer: records[f"trace_{trace}_{layer}"] for layer in layers}
    ends = {
        f"layer {layer}": np.array([(values[0], values[-1]) for values in trace], dtype=np.float64)
        for layer, trace in traces.items()
    }
    if not ends or not all(np.isfinite(pair).all() for pair in ends.values()):
        raise ResultsError(f"The records do not hold the {trace} of every layer.")
    texts = [
        f"{layer}: {number_text(100 * pair[:, 0].mean())} % → {number_text(100 * pair[:, 1].mean())} %"
        for layer, pair in ends.items()
    ]
    rises = {layer: pair[:, 1] - pair[:, 0] for layer, pair in ends.items()}
    each = np.stack(list(rises.values()), axis=1)
    sure = MeanConfidence((block(each, np.ones(len(rises))),)) if len(each) > 1 else None
    return Measurement(
        {"mean over layers": sure.estimate(len(each)) if sure else mean_interval(each.mean(1))},
        confidence={"mean over layers": sure} if sure else {},
        parts={layer: one for layer, values in rises.items() if (one := student(values))},
        others={layer: mean_interval(values) for layer, values in rises.items()},
        detail=f"start → end of training, mean over draws; {'; '.join(texts)}",
    )
