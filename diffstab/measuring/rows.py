"""Tables of a measurement: a row per deformation and layer, and a row per deformation and image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from diffstab.measuring.amounts import Amount
from diffstab.measuring.images import UNKNOWN, ImageSet
from diffstab.measuring.state import PassState
from diffstab.measuring.task import PassPlan, report_of_layer
from diffstab.stability import StabilityReport
from diffstab.stability.bootstrap import Samples

Row = Any
"""A row of a table: gives its values by the names of the columns."""

OUTPUT = "output"
"""Name of the model's output among the layers."""
_QUANTITIES = (("D", "deformation"), ("G", "noise"), ("R", "relative"))


def layer_label(name: str) -> str:
    """Return a layer as tables name it."""
    return name or OUTPUT


def layer_rows(
    state: PassState, plan: PassPlan, amounts: Sequence[Amount], *, size: tuple[int, int], statistic: str
) -> Iterator[dict[str, Any]]:
    """Yield a row per deformation and layer.

    Args:
        state: What was found.
        plan: How.
        amounts: Deformations, in the order of the plan's.
        size: Height and width of the images.
        statistic: "mean" or "median": which of them D, G and R are.
    """
    shared = {
        "images": state.images,
        "fields_per_image": state.fields,
        **accuracy(state, plan.settings.confidence),
    }
    for place, amount in enumerate(amounts):
        drawn = state.found.draws[place]
        for index, layer in enumerate(plan.layers, start=1):
            yield {
                "deformation": amount.text,
                "cutoff": amount.cutoff,
                "layer": layer_label(layer),
                "layer_index": index,
                **amount.columns(size),
                "measured_delta_px": drawn.measured_delta_px,
                "folded_share": drawn.folded_share,
                "deformation_norm": drawn.mean_deformation_norm,
                "noise_norm": drawn.mean_noise_norm,
                **stability_columns(report_of_layer(state, plan, place, layer), statistic=statistic),
                **(_equivariance(state, plan, place, layer, statistic) if plan.settings.equivariant else {}),
                **shared,
            }


def stability_columns(report: StabilityReport, *, statistic: str = "mean") -> dict[str, float]:
    """Return D, G and R with their intervals, medians and parts."""
    row: dict[str, float] = {}
    for column, name in _QUANTITIES:
        row |= _with_ends(report, name, column, statistic)
        row[f"{column}_median"] = float(getattr(report.estimate, f"{name}_median"))
    return {
        **row,
        "deformation_numerator": float(report.estimate.deformation_numerator),
        "noise_numerator": float(report.estimate.noise_numerator),
        "denominator": float(report.estimate.denominator),
        "floor": float(report.floor),
        "deformation_top_share": report.deformation_top_share,
        "noise_top_share": report.noise_top_share,
    }


def _equivariance(
    state: PassState, plan: PassPlan, place: int, layer: str, statistic: str
) -> dict[str, float]:
    """Return E of a layer with its interval; NaN where its output is no map."""
    report = report_of_layer(state, plan, place, layer, equivariant=True)
    return _with_ends(report, "deformation", "E", statistic)


def _with_ends(report: StabilityReport, name: str, column: str, statistic: str) -> dict[str, float]:
    own = name if statistic == "mean" else f"{name}_median"
    values = {"": report.estimate, "_low": report.low, "_high": report.high}
    return {f"{column}{end}": float(getattr(value, own)) for end, value in values.items()}


def accuracy(state: PassState, confidence: float = 0.95) -> dict[str, float]:
    """Return the share of labelled images that the model classifies rightly, with Wilson's interval.

    It is NaN where no image has a label, or the output names no class.
    """
    from scipy.stats import binomtest

    known = (state.labels != UNKNOWN) & (state.predictions != UNKNOWN)
    count = int(known.sum())
    if not count or int(state.labels[known].max()) >= state.classes:
        return {"accuracy": np.nan, "accuracy_low": np.nan, "accuracy_high": np.nan, "labelled_images": count}
    right = int((state.labels == state.predictions)[known].sum())
    ends = binomtest(right, count).proportion_ci(confidence, method="wilson")
    return {
        "accuracy": right / count,
        "accuracy_low": float(ends.low),
        "accuracy_high": float(ends.high),
        "labelled_images": count,
    }


def classes_agree(state: PassState, images: ImageSet) -> bool:
    """Whether the data name as many classes as the output tells apart, or do not name any."""
    return not images.class_names or len(images.class_names) == state.classes


def image_frame(
    state: PassState, plan: PassPlan, amounts: Sequence[Amount], images: ImageSet
) -> pd.DataFrame:
    """Return a row per deformation and image: what it adds to D and G of the output.

    Returns:
        Columns deformation, cutoff, number, path, label, class, prediction, predicted_class, D_i, G_i: D is the mean of
        D_i, G that of G_i. deformation_square, noise_square and spread are what they are made of.
    """
    numbers = state.numbers.tolist()
    shared: Mapping[str, Any] = {
        "number": numbers,
        "path": [images.paths[number] if len(images.paths) else "" for number in numbers],
        "label": state.labels.tolist(),
        "class": _names(state.labels, images.class_names),
        "prediction": state.predictions.tolist(),
        "predicted_class": _names(
            state.predictions, images.class_names if classes_agree(state, images) else ()
        ),
    }
    parts = []
    for place, amount in enumerate(amounts):
        sums = state.sums(place, plan.layers[-1])
        deformation, noise, spread = (part.numpy() for part in Samples.of(sums))
        denominator = float(sums.denominator)
        parts.append(
            pd.DataFrame(
                {
                    "deformation": amount.text,
                    "cutoff": amount.cutoff,
                    **shared,
                    "D_i": deformation / denominator if denominator > 0 else np.nan,
                    "G_i": noise / denominator if denominator > 0 else np.nan,
                    "deformation_square": deformation,
                    "noise_square": noise,
                    "spread": spread,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _names(classes: Tensor, names: Sequence[str]) -> list[str]:
    return [names[one] if 0 <= one < len(names) else str(one) if one >= 0 else "" for one in classes.tolist()]


def samples_of(frame: pd.DataFrame) -> Samples:
    """Return what each image gave, from the rows of one deformation of an `image_frame`."""
    columns = ("deformation_square", "noise_square", "spread")
    return Samples(*[torch.from_numpy(frame[name].to_numpy(dtype=np.float64, copy=True)) for name in columns])
