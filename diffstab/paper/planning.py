"""Draws allotted by power: the draws that each claim needs by the records at hand, and what an hour can pay."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from diffstab.errors import ResultsError
from diffstab.report.claims.judging import Judgement, judge
from diffstab.report.claims.rules import UNDECIDED
from diffstab.report.paper.figures import has_records
from diffstab.report.paper.page import read_provenance
from diffstab.report.words import number_text
from diffstab.results import read_records

CORES, HOUR = 2, 60.0
RESERVE = 5.0
"""Minutes of the hour for the installation, the page and slower machines."""


class Need(NamedTuple):
    """What it takes to decide a claim that is undecided.

    Attributes:
        claim: Its short name.
        stage: The stage that takes most of the time.
        draws: Draws at hand.
        needed: Draws with which it is decided with 80 % probability, be there no effect or one of the margin; infinite
            where more draws do not help.
        minutes: Time of the further draws on two cores.
        why: Why draws do not help; "" where they do.
    """

    claim: str
    stage: str
    draws: int
    needed: float
    minutes: float
    why: str = ""


def minutes_per_seed(folders: Mapping[str, Path]) -> dict[str, float]:
    """Return the minutes that one more seed of each stage takes on two cores, at all of its sizes."""
    found = {}
    for name, folder in folders.items():
        spent = read_provenance(folder)["seconds"].groupby(read_records(folder)["seed"].to_numpy()).sum()
        # Seeds of single sizes take less: the dearest seed is one of all sizes.
        found[name] = float(spent.max()) / 60 / CORES
    return found


def needs(judged: Sequence[Judgement], minutes: Mapping[str, float]) -> list[Need]:
    """Return what each undecided claim needs, the cheapest first.

    The standard deviation of the draws at hand is taken for the true one: draws grow as the square of the accuracy.

    Args:
        judged: Verdicts on the records at hand.
        minutes: Of one more seed of each stage.
    """
    return sorted(
        (_need(one, minutes) for one in judged if one.verdict == UNDECIDED), key=lambda one: one.minutes
    )


def _need(one: Judgement, minutes: Mapping[str, float]) -> Need:
    stage = max(one.claim.stage, key=lambda name: minutes.get(name, 0.0))
    draws, reach = one.reach.draws if one.reach else 0, one.reach
    if one.doubt or reach is None:
        return Need(one.claim.id, stage, draws, math.inf, math.inf, one.doubt or "no draws decide it")
    if reach.needed <= draws:
        return Need(
            one.claim.id, stage, draws, math.inf, math.inf, "the number lies near the edge of its band"
        )
    # A further seed is one more draw of all sizes: as many more of them as draws, in proportion.
    more = minutes[stage] * (reach.needed - draws)
    return Need(one.claim.id, stage, draws, reach.needed, more)


def allotted(listed: Sequence[Need], left: float) -> list[Need]:
    """Return the claims that a time can pay, taken one after another; claims of one stage share its seeds.

    Args:
        listed: The cheapest first.
        left: Minutes.
    """
    spent: dict[str, float] = {}
    taken = []
    for one in listed:
        further = max(one.minutes, spent.get(one.stage, 0.0)) - spent.get(one.stage, 0.0)
        if further <= left:
            left -= further
            spent[one.stage] = max(one.minutes, spent.get(one.stage, 0.0))
            taken.append(one)
    return taken


def plan_lines(folders: Mapping[str, Path], planned_minutes: float) -> Iterator[str]:
    """Yield what `diffstab paper --plan` prints.

    Args:
        folders: Results folder of each stage.
        planned_minutes: Of all stages as they are configured.

    Raises:
        ResultsError: If no stage has records.
    """
    folders = {name: folder for name, folder in folders.items() if has_records(folder)}
    if not folders:
        raise ResultsError("No stage has records to plan from. Run `diffstab paper` first.")
    listed = needs(judge(folders), minutes_per_seed(folders))
    left = HOUR - RESERVE - planned_minutes
    taken = allotted(listed, max(left, 0.0))
    yield f"{'undecided claim':<32} {'stage':<22} draws  needed  more minutes"
    for one in listed:
        if one.why:
            yield f"{one.claim:<32} {one.stage:<22} {one.draws:>5}       –  more draws do not help: {one.why}"
        else:
            mark = "  paid by the hour" if one in taken else "  more than the hour has"
            numbers = (
                f"{one.draws:>5}  {math.ceil(one.needed):>6}  {number_text(one.minutes, decimals=1):>12}"
            )
            yield f"{one.claim:<32} {one.stage:<22} {numbers}{mark}"
    yield f"The stages take {planned_minutes:.0f} min; {max(left, 0.0):.0f} min of the hour are left for further draws."
