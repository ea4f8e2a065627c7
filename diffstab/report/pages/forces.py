"""Attraction and repulsion during training: what their page says of its runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from diffstab.report.glossary import counted, listed
from diffstab.report.l2.force_rows import CANCELLED, depth_of, prepare
from diffstab.report.numbers import interval_text, number_text
from diffstab.report.runs import Runs
from diffstab.report.statistics.forces import moving_runs
from diffstab.report.summaries import MEAN
from diffstab.report.varied import data_sets

__all__ = ["prepare"]

_SMALL = 1e-3


def title(runs: Runs) -> str:
    """Whose forces."""
    return f"Forces on the representations of a net: {data_sets(runs.frame)}"


def _ends(frame: pd.DataFrame, name: str, layer: int) -> tuple[str, bool]:
    """A trace at its start and at its end, as means over draws; and whether it rose in every run."""
    traces = frame[f"trace_{name}_{layer}"]
    first = float(np.mean([values[0] for values in traces]))
    last = MEAN.of(pd.Series([float(values[-1]) for values in traces]), name)
    texts = (interval_text(name, first, np.nan, np.nan), interval_text(name, *last[:3]))
    return f"from {texts[0]} to {texts[1]} in layer {layer}", all(values[-1] > values[0] for values in traces)


def _course(frame: pd.DataFrame, name: str, layers: Sequence[int]) -> str:
    return listed([_ends(frame, name, layer)[0] for layer in layers])


def answer(runs: Runs) -> str:
    """Whether the forces cancel."""
    frame = runs.frame
    layers = range(1, depth_of(frame) + 1)
    texts = {layer: MEAN.of(frame[f"imbalance_{layer}"], "imbalance") for layer in layers}
    worst = max(texts, key=lambda layer: texts[layer].mean)
    number = f"{interval_text('imbalance', *texts[worst][:3])} in layer {worst} ({counted(texts[worst].draws, 'draw')})"
    if moving := moving_runs(frame):
        return (
            f"That cannot be told: {moving} of {counted(len(frame), 'net')} had not come to a minimum; the "
            "largest mean "
            f"imbalance at the end is {number}."
        )
    largest = max(float(frame[f"imbalance_{layer}"].max()) for layer in layers)
    opening = "Yes, they cancel" if largest <= CANCELLED else "They do not cancel in every layer and draw"
    return (
        f"{opening}: at the end of training the largest mean imbalance of a layer is {number}; 0 means "
        "that they cancel."
    )


def structure(runs: Runs) -> Sequence[str]:
    """Whether classes move apart and neurons line up."""
    frame, hidden = runs.frame, range(1, depth_of(runs.frame))
    found = []
    if np.isfinite(frame["separation_1"]).all():
        rises = all(_ends(frame, "separation", layer)[1] for layer in hidden)
        says = (
            "Classes move apart in every hidden layer and run"
            if rises
            else "Classes do not move apart in every hidden layer and run"
        )
        found.append(
            f"{says}: the share of the scatter that lies between them goes {_course(frame, 'separation', hidden)}."
        )
    rises = all(_ends(frame, "aligned_share", layer)[1] for layer in hidden)
    says = (
        "Neurons line up on rays in every hidden layer and run"
        if rises
        else "Neurons do not line up in every hidden layer and run"
    )
    angle = number_text(float(frame["aligned_deg"].iloc[0]))
    found.append(
        f"{says}: the share of live neurons within {angle}° of another one goes "
        f"{_course(frame, 'aligned_share', hidden)}, and "
        f"the number of rays goes {_course(frame, 'groups', hidden)}."
    )
    return found


def method(runs: Runs) -> Sequence[str]:
    """How forces are computed."""
    tolerance, ridge = (float(runs.frame[name].iloc[0]) for name in ("tolerance", "tikhonov"))
    inverse = f"Pseudo-inverses take singular values below {tolerance:g} of the largest for zero"
    return [
        f"{inverse}{f', with a Tikhonov term of {ridge:g}' if ridge > 0 else ''}. Repulsion includes what a "
        "layer passes on from "
        "the layers above. Weights also have a part that makes no representation and decays by the penalty alone."
    ]


def cautions(runs: Runs) -> Sequence[str]:
    """Nets in motion, and parts of them that the forces do not see."""
    frame, found = runs.frame, []
    if unfinished := moving_runs(frame):
        found.append(f"{counted(unfinished, 'net')} did not come to a minimum.")
    for name, text in (
        ("residual_share", "of a net's squared norm makes no representation at the end."),
        ("moved_share", "of a representation changes at the end by the tolerance of the pseudo-inverses."),
    ):
        if (frame[name] > _SMALL).any():
            found.append(f"Up to {number_text(100 * frame[name].max())} % {text}")
    if (frame["tikhonov"] > 0).any():
        found.append("The forces have a Tikhonov term, so that they need not cancel at a minimum.")
    return found


def varied(runs: Runs) -> str:
    """The step and the draw."""
    widths = listed([int(width) for width in runs.frame["hidden_widths"].iloc[0]])
    n = number_text(int(runs.frame["n_train"].iloc[0]))
    return (
        f"The step of training and the draw ({counted(len(runs.frame), 'draw')}); fixed: n = {n}, hidden "
        f"widths {widths}."
    )
