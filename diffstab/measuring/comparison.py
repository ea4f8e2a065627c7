"""Models on the same images, deformations and noise: paired differences, ratios, and who is more stable than whom."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch

from diffstab.errors import ArgumentError
from diffstab.measuring.rows import samples_of
from diffstab.stability.bootstrap import Samples, StabilityInterval, paired_intervals
from diffstab.stability.measures import Stability, median, stability_from_numerators
from diffstab.streams import stream

_QUANTITIES = (("D", "deformation"), ("G", "noise"), ("R", "relative"))
_BY = ["deformation", "cutoff"]


def compared(
    frames: Mapping[str, pd.DataFrame],
    *,
    bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    statistic: str = "mean",
) -> pd.DataFrame:
    """Compare the outputs of models, two by two, over the same resamples of their common images.

    Args:
        frames: `image_frame` of each model, by its label.
        bootstrap: Resamples.
        confidence: Of the intervals.
        seed: Of the resamples.
        statistic: "mean" or "median" over images, that of the numbers that are compared.

    Returns:
        A row per deformation and pair: model_a, model_b, for each X of D, G and R the difference X_difference = a - b,
        the ratio X_ratio = a / b, both with the ends of their intervals, and `images`.

    Raises:
        ArgumentError: A model was measured on other images.
    """
    rows = []
    for a, b in itertools.combinations(frames, 2):
        for key, part_a in frames[a].groupby(_BY, sort=False):
            part_b = _rows_of(frames[b], key)
            if list(part_a["number"]) != list(part_b["number"]):
                received = f"{len(part_a)} images of {a} and {len(part_b)} of {b}"
                raise ArgumentError("models", "be measured on the same images", received)
            intervals = paired_intervals(
                samples_of(part_a),
                samples_of(part_b),
                resamples=bootstrap,
                confidence=confidence,
                generator=stream(seed, "bootstrap of pairs"),
            )
            columns = _paired(part_a, part_b, *intervals, statistic=statistic)
            rows.append({"model_a": a, "model_b": b, **dict(zip(_BY, key, strict=True)), **columns})
    return pd.DataFrame(rows)


def _rows_of(frame: pd.DataFrame, key: Any) -> pd.DataFrame:
    return frame[(frame[_BY] == list(key)).all(axis=1)]


def _paired(
    a: pd.DataFrame,
    b: pd.DataFrame,
    difference: StabilityInterval,
    ratio: StabilityInterval,
    *,
    statistic: str,
) -> dict[str, float]:
    values = [_stability(samples_of(one)) for one in (a, b)]
    row: dict[str, float] = {"images": len(a)}
    for column, quantity in _QUANTITIES:
        name = quantity if statistic == "mean" else f"{quantity}_median"
        first, second = (float(getattr(one, name)) for one in values)
        row[f"{column}_difference"] = first - second
        row[f"{column}_ratio"] = first / second if second else np.nan
        for end in ("low", "high"):
            row[f"{column}_difference_{end}"] = float(getattr(getattr(difference, end), name))
            row[f"{column}_ratio_{end}"] = float(getattr(getattr(ratio, end), name).exp())
    return row


def _stability(samples: Samples) -> Stability:
    denominator = 2 * samples.spread.sum() / (len(samples.spread) - 1)
    changes = torch.stack([samples.deformation_squares, samples.noise_squares])
    medians = torch.stack([median(one) for one in changes])
    return stability_from_numerators(changes.mean(dim=1), medians, denominator)


def ranking(frame: pd.DataFrame, pairs: pd.DataFrame, *, quantity: str = "R") -> pd.DataFrame:
    """Rank the outputs of models, the most stable first; what the images do not tell apart shares a rank.

    The rank of a model is one more than the number of models whose value is smaller, with an interval of the paired
    difference that leaves out 0.

    Args:
        frame: Rows of the outputs, one per model and deformation.
        pairs: From `compared`.
        quantity: "D", "G" or "R".

    Returns:
        Columns deformation, cutoff, rank, model, the quantity with its interval, accuracy.
    """
    rows = []
    kept = ("model", quantity, f"{quantity}_low", f"{quantity}_high", "accuracy")
    for key, part in frame.groupby(_BY, sort=False):
        better = list(_better(_rows_of(pairs, key), quantity))
        for row in part.to_dict("records"):
            rank = 1 + sum(worse == row["model"] for _, worse in better)
            told: dict[str, Any] = {name: row[name] for name in kept}
            rows.append({**dict(zip(_BY, key, strict=True)), "rank": rank, **told})
    found = pd.DataFrame(rows)
    order = found.groupby(_BY, sort=False).ngroup()
    return found.assign(_order=order).sort_values(["_order", "rank", quantity]).drop(columns="_order")


def _better(pairs: pd.DataFrame, quantity: str) -> Iterator[tuple[str, str]]:
    """Yield (model of the smaller value, other model) of the pairs that the images tell apart."""
    for row in pairs.to_dict("records"):
        if row[f"{quantity}_difference_high"] < 0:
            yield row["model_a"], row["model_b"]
        elif row[f"{quantity}_difference_low"] > 0:
            yield row["model_b"], row["model_a"]
