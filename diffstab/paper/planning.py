"""Draws allotted by power: the draws that each claim needs by the records at hand, and what an hour can pay."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from diffstab.errors import ResultsError
from diffstab.report.claims.claim import Claim
from diffstab.report.claims.judging import Judgement, judge, placed
from diffstab.report.claims.rules import UNDECIDED
from diffstab.report.pages import page_of
from diffstab.report.paper.figures import has_records
from diffstab.report.paper.page import read_provenance
from diffstab.report.runs import kind_of, read_config
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
        runs: Tells claims on the same runs, which share further draws.
        why: Why draws do not help; "" where they do.
    """

    claim: str
    stage: str
    draws: int
    needed: float
    minutes: float
    runs: str = ""
    why: str = ""


def minutes_per_draw(claim: Claim, records: Mapping[str, pd.DataFrame]) -> dict[str, float]:
    """Return the minutes that one more draw of a claim takes in each stage on two cores: its own runs, at all sizes.

    Args:
        claim: Its `where` and its methods say which runs are its own.
        records: Of each stage that has some, made ready for their page, with their `seconds`.

    Raises:
        ResultsError: If the records have no column that the claim asks for.
    """
    found = {}
    for name in set(claim.stage) & records.keys():
        own = placed(records[name], claim)
        if claim.method:
            own = own[own["method"].isin([claim.method, claim.against])]
        # Seeds of single sizes take less: the dearest seed is one of all sizes.
        if len(own):
            found[name] = float(own.groupby("seed")["seconds"].sum().max()) / 60 / CORES
    return found


def needs(judged: Sequence[Judgement], records: Mapping[str, pd.DataFrame]) -> list[Need]:
    """Return what each undecided claim needs, the cheapest first.

    The standard deviation of the draws at hand is taken for the true one: draws grow as the square of the accuracy.

    Args:
        judged: Verdicts on the records at hand.
        records: As for `minutes_per_draw`.
    """
    undecided = [one for one in judged if one.verdict == UNDECIDED]
    listed = (_need(one, minutes_per_draw(one.claim, records)) for one in undecided)
    return sorted(listed, key=lambda one: one.minutes)


def _need(one: Judgement, minutes: Mapping[str, float]) -> Need:
    claim, reach = one.claim, one.reach
    stage = max(claim.stage, key=lambda name: minutes.get(name, 0.0))
    draws = reach.draws if reach else 0
    why = ""
    if one.doubt or reach is None or not minutes:
        why = one.doubt or "no draws decide it"
    elif not math.isfinite(reach.needed):
        why = "the draws at hand do not tell how they scatter"
    elif reach.needed <= draws:
        why = "the number lies near the edge of its band"
    if why or reach is None:
        return Need(claim.id, stage, draws, math.inf, math.inf, why=why)
    # A further draw is one of all sizes: as many more of them as draws, in proportion.
    more = minutes[stage] * (reach.needed - draws)
    runs = f"{stage} {claim.method} {claim.against} {sorted(claim.where.items())}"
    return Need(claim.id, stage, draws, reach.needed, more, runs)


def allotted(listed: Sequence[Need], left: float) -> list[Need]:
    """Return the claims that a time can pay, taken one after another; claims on the same runs share further draws.

    Args:
        listed: The cheapest first.
        left: Minutes.
    """
    spent: dict[str, float] = {}
    taken = []
    for one in listed:
        further = one.minutes - spent.get(one.runs, 0.0)
        if further <= left:
            left -= further
            spent[one.runs] = one.minutes
            taken.append(one)
    return taken


def _records(folder: Path) -> pd.DataFrame:
    """The records of a stage as its claims are judged by, with the `seconds` of each."""
    raw = read_records(folder).assign(seconds=read_provenance(folder)["seconds"].to_numpy())
    config = read_config(folder / "config.yaml")[1]
    ready: pd.DataFrame = page_of(kind_of(raw)).code.prepare(raw, config)
    return ready


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
    listed = needs(judge(folders), {name: _records(folder) for name, folder in folders.items()})
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
