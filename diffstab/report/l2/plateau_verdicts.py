"""Sentences about plateaus, worked out from the records and never assumed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from diffstab.report.l2.plateau_runs import (
    Start,
    best_runs,
    earliest,
    excess_of_optimisers,
    fewest_neurons,
    floors,
    optimisers,
    relative_heights,
)
from diffstab.report.numbers import number_text, percent

AGREED = 0.01
"""Relative difference up to which two minima are said to agree."""
_ROUNDING = 1e-9


def start_verdict(starts: Sequence[Start], *, tolerance: float) -> str:
    """Where the plateau of each optimiser starts, with intervals and sensitivity; the spread over several seeds."""
    if not starts:
        return "No net of a given width found a minimum."
    texts = []
    for optimiser in dict.fromkeys(start.optimiser for start in starts):
        mine = [start for start in starts if start.optimiser == optimiser]
        if not all(start.found.reached for start in mine):
            texts.append(f"{optimiser}: {_unseen(mine)}.")
            texts += [_one_start(start, named=True) for start in mine if start.found.reached]
            continue
        near, far = (_span([getattr(start.found, name) for start in mine]) for name in ("tighter", "looser"))
        text = f"{optimiser}: from {_span([start.found.width for start in mine])} neurons on"
        text += f" over {len(mine)} seeds" if len(mine) > 1 else ""
        text += (
            f" (from {near} at a tolerance of {percent(tolerance / 2)}, {far} at {percent(2 * tolerance)})."
        )
        texts += [text, *(_one_start(start, named=len(mine) > 1) for start in mine)]
    return " ".join(texts)


def _unseen(mine: Sequence[Start]) -> str:
    late = [start for start in mine if not start.found.reached]
    seeds = f" at {len(late)} of {len(mine)} seeds" if len(mine) > 1 else ""
    widths = _span([start.found.width for start in late])
    return f"no plateau seen{seeds}: the loss falls up to {widths} neurons, and fewer than two wider nets were tried"


def _one_start(start: Start, *, named: bool) -> str:
    found = start.found
    interval = f"95 % interval {_span([found.low, found.high])}" if np.isfinite(found.low) else "no interval"
    head = f"Seed {start.seed}: {found.width}, {interval}" if named else interval[:1].upper() + interval[1:]
    if not np.isfinite(found.low):
        head += " from one restart"
    if start.narrower is None:
        return f"{head}; no narrower net was tried."
    if not np.isfinite(start.excess):
        return f"{head}; no net of {start.narrower} met the targets."
    return f"{head}; the best net of up to {start.narrower} lies {percent(start.excess)} higher."


def fewest_verdict(part: pd.DataFrame, starts: Sequence[Start], *, tolerance: float) -> str:
    """Nets of fewer neurons than the start that have the loss of the plateau all the same; "" where none is known.

    They come from merging neurons of wider nets, or from the covariances.
    """
    smallest, texts = floors(part), []
    for start in earliest(starts, tolerance=tolerance):
        runs = part[part["seed"] == start.seed]
        found = fewest_neurons(runs, smallest[start.seed], tolerance=tolerance)
        if found is None or found.neurons >= start.found.width:
            continue
        tried = sorted(set(runs["width"][runs["optimiser"] == start.optimiser]))
        missed = [str(width) for width in tried if found.neurons <= width < start.found.width]
        between = (
            f"restarts of width {' and '.join(missed)} missed it" if missed else "no width between was tried"
        )
        texts.append(
            f"seed {start.seed}: {found.neurons} neurons lie {percent(found.excess)} above the smallest loss (left of "
            f"width {found.width}, {found.optimiser}, when dead and aligned ones merge); {between} ({start.optimiser})"
        )
    return (
        f"Yes, {'. '.join(_capital(text) if index else text for index, text in enumerate(texts))}."
        if texts
        else ""
    )


def restart_verdict(starts: Sequence[Start]) -> str:
    """How many restarts on the plateau failed to reach it."""
    texts = []
    for optimiser in dict.fromkeys(start.optimiser for start in starts):
        mine = [start for start in starts if start.optimiser == optimiser]
        failed, tried = sum(start.failed for start in mine), sum(start.tried for start in mine)
        worst = max(start.worst for start in mine)
        highest = "" if not failed else f", the worst {percent(worst)} above it"
        highest = ", some without meeting the targets" if failed and not np.isfinite(worst) else highest
        texts.append(
            f"{optimiser}: {failed} of {tried} restarts from the start on ended above the plateau{highest}."
        )
    return " ".join(texts)


def agreement_verdict(part: pd.DataFrame) -> str:
    """Whether the optimisers reach the same minimum; "" where there is only one."""
    names = list(dict.fromkeys([*optimisers(part), *part["optimiser"]]))
    if len(names) < 2:
        return ""
    heights = excess_of_optimisers(part)
    finite = heights["excess"].max()
    opening = "Yes" if finite <= AGREED else "No"
    apart = heights[heights["excess"] > AGREED]
    texts = [
        f"{row['optimiser']} end {percent(row['excess'])} above the best at seed {row['seed']}"
        for _, row in apart.iterrows()
    ]
    if not texts:
        worst = [
            f"{name} at most {percent(heights['excess'][heights['optimiser'] == name].max())}"
            for name in names
        ]
        texts = [f"above the smallest loss of a seed: {', '.join(worst)}"]
    seeds = part["seed"].nunique()
    over = f" over {seeds} seeds" if seeds > 1 else ""
    return f"{opening}, within {percent(AGREED)}{over}: {'; '.join(texts)}."


def bound_verdict(part: pd.DataFrame) -> str:
    """How near the best nets of given width are to the bound from the covariances; "" where there is none."""
    rows = part[part["bound"].notna()]
    texts = []
    for _, row in rows.iterrows():
        nets = part[(part["seed"] == row["seed"]) & (part["optimiser"] != "covariances")]
        least = min([float(row["loss"]), *nets["loss"]])
        text = f"seed {row['seed']}: no net of any width is below {number_text(row['bound'])} (proven)"
        if not is_proven(row):
            kind = "a search" if row["gap_kind"] == "duality" else "first order"
            text = (
                f"seed {row['seed']}: a bound estimated by {kind}, no proof, is {number_text(row['bound'])}"
            )
        if row["bound"] > least * (1 + _ROUNDING):
            text = f"seed {row['seed']}: no bound, as the estimate lies above a loss that was reached"
        elif len(nets) and row["bound"] > 0:
            text += f"; the best net lies {percent(float(nets['loss'].min()) / row['bound'] - 1)} above"
        texts.append(text)
    return f"{_capital('; '.join(texts))}." if texts else ""


def is_proven(row: pd.Series) -> bool:
    """Whether a bound is one for every net: by duality, every generator tried.

    Whatever is not "exact" was searched: "heuristic", or "multi-start" in old records.
    """
    return bool(row["gap_kind"] == "duality" and row["oracle"] == "exact")


def pruning_verdict(part: pd.DataFrame, settings: Mapping[str, Any]) -> str:
    """Whether the best of the widest nets keeps its loss when dead neurons go and aligned ones merge."""
    if "pruned_loss" not in part:
        return ""
    texts, worst = [], 0.0
    for optimiser in optimisers(part):
        runs = best_runs(part[part["optimiser"] == optimiser])
        runs = runs[np.isfinite(runs["loss"]) & runs["pruned_loss"].notna()]
        for seed, group in runs.groupby("seed", sort=True):
            row = group.iloc[-1]
            height = float(relative_heights([row["pruned_loss"]], float(group["loss"].min()))[0])
            left = " and ".join(str(int(width)) for width in row["pruned_widths"])
            named = f"seed {seed}, " if part["seed"].nunique() > 1 else ""
            texts.append(
                f"{named}{optimiser}: {left} of {row['width']} neurons are left, loss "
                f"{percent(height, signed=True)}"
            )
            worst = max(worst, height)
    if not texts:
        return ""
    opening = "Yes" if worst <= AGREED else "Not everywhere"
    angle = settings.get("prune_angle_deg")
    merged = f" when dead neurons go and those within {angle:g}° merge" if angle else ""
    return f"{opening}, within {percent(AGREED)} of the smallest loss{merged}. {_capital('; '.join(texts))}."


def convergence_verdict(part: pd.DataFrame) -> str:
    """How many runs reached the tolerance of their optimiser."""
    texts = []
    for optimiser, runs in part.groupby("optimiser", sort=True):
        done = int(runs["converged"].astype("bool").sum())
        worst = runs["stationarity"].max()
        text = f"{optimiser}: {done} of {len(runs)} runs converged"
        if np.isfinite(worst):
            median = runs["stationarity"].median()
            text += f" (stationarity {number_text(median)} in the median, {number_text(worst)} at worst)"
        texts.append(text)
    return f"{'; '.join(texts)}."


def _span(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
