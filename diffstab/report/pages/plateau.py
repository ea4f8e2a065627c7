"""Plateaus: what their page says of its runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from diffstab.report.glossary import counted, listed, span
from diffstab.report.l2.plateau_rows import case_starts, prepare
from diffstab.report.l2.plateau_runs import WITHOUT_WIDTH, earliest, start_text
from diffstab.report.numbers import percent
from diffstab.report.runs import Runs
from diffstab.report.varied import data_sets

__all__ = ["prepare"]

_SEEDS = 4
"""So many seeds get a panel of their own."""


def first_seeds(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of as many seeds as have a panel."""
    return frame[frame["seed"].isin(sorted(set(frame["seed"]))[:_SEEDS])]


def title(runs: Runs) -> str:
    """Whose width."""
    return f"How wide must a net be: {data_sets(runs.frame)}"


def answer(runs: Runs) -> str:
    """From which width on the loss falls no more."""
    texts = []
    for title, part in runs.frame.groupby("case", sort=True):
        tolerance = float(part["tolerance"].iloc[0])
        found = earliest(case_starts(part), tolerance=tolerance)
        seen = [start for start in found if start.found.reached]
        if not found:
            texts.append(f"{title}: no net of a given width found a minimum")
        elif len(seen) < len(found):
            widest = int(part["width"][part["optimiser"] != WITHOUT_WIDTH].max())
            texts.append(
                f"{title}: no plateau was seen at {len(found) - len(seen)} of "
                f"{counted(len(found), 'draw')}; the loss may fall "
                f"beyond the widest net tried, of {counted(widest, 'neuron')} a layer"
            )
        else:
            more = f"more neurons lower the loss by less than {percent(tolerance)}"
            widths = [start.found.width for start in seen]
            from_to = span(widths, "neuron") if len(seen) > 1 else f"{start_text(seen[0])} neurons"
            over = (
                f"median {np.median(widths):g}, {counted(len(seen), 'draw')}" if len(seen) > 1 else "one draw"
            )
            texts.append(f"{title}: from {from_to} a hidden layer on ({over}) {more}")
    return f"{'; '.join(texts)}."


def too_narrow(runs: Runs) -> list[str]:
    """Widths at which no restart met the targets: what is expected of nets that are too narrow."""
    found = []
    for title, part in runs.frame.groupby("case", sort=True):
        lost = ~np.isfinite(part.groupby("width")["loss"].min())
        if lost.any():
            widths = listed([int(width) for width in lost.index[lost]])
            found.append(
                f"{title}: nets of width {widths} are too narrow to fit the targets, as no restart did."
            )
    return found


def cautions(runs: Runs) -> Sequence[str]:
    """Runs that had not converged."""
    frame, found = runs.frame, []
    fitted = frame[np.isfinite(frame["loss"])]
    if unfinished := int((~fitted["converged"].astype("bool")).sum()):
        found.append(
            f"{unfinished} of {counted(len(fitted), 'run')} stopped before the gradient was as small as "
            "asked for: their "
            "losses may be too high."
        )
    return found
