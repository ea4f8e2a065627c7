"""Plateaus: what their page says of its runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from diffstab.report.plateaus import WITHOUT_WIDTH, earliest, prepare, relative_heights, starts
from diffstab.report.runs import Runs, data_sets
from diffstab.report.words import counted, listed, percent, span, value_text

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
    texts = [f"{title}: {_from_width(part)}" for title, part in runs.frame.groupby("case")]
    return f"{'; '.join(texts)}."


def _from_width(part: pd.DataFrame) -> str:
    found = earliest(starts(part))
    seen = found[found["is_seen"].astype("bool")]
    if found.empty:
        return "no net of a given width found a minimum"
    if len(seen) < len(found):
        widest = int(part["width"][part["optimiser"] != WITHOUT_WIDTH].max())
        return (
            f"no plateau was seen at {len(found) - len(seen)} of {counted(len(found), 'draw')}; the loss may fall "
            f"beyond the widest net tried, of {counted(widest, 'neuron')} a layer"
        )
    widths, over = f"{seen['start_text'].iloc[0]} neurons", "one draw"
    if len(seen) > 1:
        widths = span(list(seen["start"]), "neuron")
        over = f"median {seen['start'].median():g}, {counted(len(seen), 'draw')}"
    lower = percent(float(part["tolerance"].iloc[0]))
    return f"beyond {widths} a hidden layer ({over}), more neurons lower the loss by less than {lower}"


def too_narrow(runs: Runs) -> list[str]:
    """Widths at which no restart met the targets: what is expected of nets that are too narrow."""
    found = []
    for title, part in runs.frame.groupby("case"):
        lost = ~np.isfinite(part.groupby("width")["loss"].min())
        if lost.any():
            widths = listed([int(width) for width in lost.index[lost]])
            found.append(
                f"{title}: nets of width {widths} are too narrow to fit the targets, as no restart did."
            )
    return found


def cautions(runs: Runs) -> Sequence[str]:
    """Runs that had not converged."""
    fitted = runs.frame[np.isfinite(runs.frame["loss"])]
    unfinished = int((~fitted["converged"].astype("bool")).sum())
    says = (
        f"{unfinished} of {counted(len(fitted), 'run')} stopped before the gradient was as small as asked for: their "
        "losses may be too high."
    )
    return [says] if unfinished else []


def further(runs: Runs) -> list[str]:
    """Do optimisers agree, do fewer neurons suffice, how near is the bound, are pruned nets as good: case by case."""
    cases = runs.frame.groupby("case")
    return [f"{title}: {text}" for title, part in cases for text in _further(part)]


def _further(part: pd.DataFrame) -> Iterator[str]:
    best = part.groupby(["optimiser", "seed"])["height"].min().groupby("optimiser").max()
    if len(best) > 1:
        texts = [f"{value_text('optimiser', name)} {percent(height)}" for name, height in best.items()]
        yield f"the best run of each optimiser lies above the smallest loss by at most: {', '.join(texts)}."
    if fewer := _fewer(part):
        yield (
            f"fewer neurons than at the start of the plateau suffice: {'; '.join(fewer)}. These nets were left when "
            "dead neurons of wider ones were dropped and aligned ones merged; restarts of that width missed them, or "
            "were not tried."
        )
    known = part[part["bound"].notna()]
    if len(known):
        yield _bound(known)
    if found := _pruned(part):
        yield found


def _fewer(part: pd.DataFrame) -> list[str]:
    """Pruned nets on the plateau that have fewer neurons than the width at which it starts, one a seed."""
    near = part.assign(pruned_height=relative_heights(part["pruned_loss"], part["floor"]))
    near = near[near["pruned_height"] <= near["tolerance"]]
    near = near.sort_values(["neurons", "pruned_height"], kind="stable").drop_duplicates("seed")
    both = earliest(starts(part))[["seed", "start"]].merge(near, on="seed")
    fewer = both[both["neurons"] < both["start"]]
    return [
        f"{row['neurons']:g} at seed {row['seed']} ({percent(max(0.0, row['pruned_height']))} above the smallest loss)"
        for _, row in fewer.iterrows()
    ]


def _bound(known: pd.DataFrame) -> str:
    gaps = known["floor"] / known["bound"] - 1
    if not (gaps >= -1e-9).all():
        return "the lower bound on the loss is an estimate here, and lies above losses that were reached."
    # A bound is one for every net by duality, with every generator tried.
    is_proven = ((known["gap_kind"] == "duality") & (known["oracle"] == "exact")).all()
    what = (
        "a proven lower bound for nets of every width"
        if is_proven
        else "an estimate, not a proof, of the lower bound"
    )
    return (
        f"the smallest loss lies at most {percent(gaps.max())} above {what} ({counted(len(known), 'seed')})."
    )


def _pruned(part: pd.DataFrame) -> str:
    """What is left of the widest nets of the first optimiser, and how good that is."""
    first = starts(part)["optimiser"].head(1)
    best = part[part["is_best"] & part["optimiser"].isin(first) & part["pruned_loss"].notna()]
    if best.empty:
        return ""
    smallest = best.groupby("seed")["loss"].transform("min")
    widest = best[best["width"] == best["width"].max()]
    heights = relative_heights(widest["pruned_loss"], smallest[widest.index])
    width, fewest = int(widest["width"].iloc[0]), widest["neurons"].min()
    if fewest == width:
        return ""
    left = dict.fromkeys(f"{end:g}" for end in (fewest, widest["neurons"].max()))
    return (
        f"of the {width} neurons of the widest nets {' to '.join(left)} are left when dead ones "
        f"are dropped and aligned ones merged; their loss is then at most {percent(max(0.0, *heights))} above the "
        "smallest."
    )
