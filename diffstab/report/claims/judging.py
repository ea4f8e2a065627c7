"""The one judge: a claim and records in, a verdict with its numbers out."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from diffstab.errors import DiffstabError, ResultsError
from diffstab.report.claims import wording
from diffstab.report.claims.claim import Claim
from diffstab.report.claims.entries import sources_claims
from diffstab.report.claims.power import Reach, reach_of
from diffstab.report.claims.rules import (
    DOES_NOT,
    HOLDS,
    NO_EFFECT,
    NOT_TESTED,
    UNDECIDED,
    Evidence,
    decided,
    together,
)
from diffstab.report.claims.statistics import Measurement, measure
from diffstab.report.claims.statistics.expressions import columns_of
from diffstab.report.document import BADGES, Section, Table, TableCell
from diffstab.report.intervals import exact
from diffstab.report.pages import page_of
from diffstab.report.runs import read_config
from diffstab.report.words import capital
from diffstab.results import read_records

HEADERS = ("Verdict", "Claim", "Measured [95 % interval]", "Expected", "Draws", "Source")
_READING = (
    "A claim holds where the whole 95 % interval lies where the source expects it, and does not hold where it lies "
    "wholly outside; “no effect” is said where it lies within a margin that was fixed before. Sizes n are pooled. Else "
    "a claim is undecided, with the effect that would have been seen."
)
_Records = Callable[[str, str], pd.DataFrame]
"""Gives the records of a stage, made ready as those of a kind, with the column `stage`."""


class Judgement(NamedTuple):
    """A claim and what the numbers say about it.

    Attributes:
        claim: The claim.
        verdict: "holds", "does not", "no effect", "undecided" or "not tested".
        measured: The numbers with their 95 % intervals, as text; "" where there are none.
        value: The first of them, in the unit shown.
        predicted: What the source says the number is, as text.
        draws: Draws, runs or trials behind the number, as text.
        detail: The other numbers that the verdict rests on, or why there is none.
        doubt: Why the numbers do not decide whatever they are; "" where they do.
        seconds: How long the check took.
        p_value: Two-sided, of the verdict that is nearest; NaN where no draws decide.
        reach: How exactly the draws tell the number; None where no draws decide.
    """

    claim: Claim
    verdict: str
    measured: str = ""
    value: float = math.nan
    predicted: str = ""
    draws: str = ""
    detail: str = ""
    doubt: str = ""
    seconds: float = 0.0
    p_value: float = math.nan
    reach: Reach | None = None


def judge(folders: Mapping[str, Path], *, claims: Sequence[Claim] | None = None) -> list[Judgement]:
    """Return the verdict on every claim from the results folders of the paper's stages.

    A claim whose stages have no records, or damaged ones, is not tested, and its detail says why. One of several
    stages does not hold before all of them have been run.

    Args:
        folders: Results folder of each stage by name; one without records may be among them.
        claims: Which claims; those of the sources for None.
    """

    @cache
    def records(stage: str, kind: str) -> pd.DataFrame:
        if stage not in folders:
            raise ResultsError(f"The stage {stage} was not run.")
        config = read_config(folders[stage] / "config.yaml")[1]
        ready: pd.DataFrame = page_of(kind).code.prepare(read_records(folders[stage]), config)
        return ready.assign(stage=stage)

    listed = sources_claims() if claims is None else claims
    return [_judgement(claim, records) for claim in listed if claim.stage or not claim.kind]


def judge_records(
    records: pd.DataFrame, kind: str, *, claims: Sequence[Claim] | None = None
) -> list[Judgement]:
    """Return the verdicts on the claims that the records of one results folder can be held against.

    Args:
        records: Made ready for the page of their kind.
        kind: What they are of.
        claims: Which claims; those of the sources for None.

    Returns:
        The claims of that kind whose `where` fits some records, save for those that are not tested by them.
    """
    own = records.assign(stage="")
    listed = sources_claims() if claims is None else claims
    mine = [replace(claim, stage=("",)) for claim in listed if claim.kind == kind and claim.folder]
    judged = [_judgement(claim, lambda stage, kind: own) for claim in mine]
    return [one for one in judged if one.verdict != NOT_TESTED]


def _judgement(claim: Claim, records: _Records) -> Judgement:
    started = time.perf_counter()
    if claim.untested or claim.rule is None:
        return Judgement(claim, NOT_TESTED, detail=claim.untested)
    try:
        chosen, absent = _chosen(claim, records)
        found = measure(claim, chosen)
    except DiffstabError as error:
        return Judgement(claim, NOT_TESTED, detail=str(error), seconds=time.perf_counter() - started)
    evidence = {place: _evidence(claim, found, place) for place in found.estimates}
    verdict, p_value = _verdict(claim, found, list(evidence.values()))
    doubts = [one.rstrip(".") for one in [found.doubt, *(absent if verdict == HOLDS else [])] if one]
    verdict = UNDECIDED if doubts and verdict != NOT_TESTED else verdict
    verdicts = {place: one.verdict for place, one in evidence.items()}
    reach = reach_of(claim, found, wording.front_place(claim, found)) if found.confidence else None
    return Judgement(
        claim,
        verdict,
        *wording.shown(claim, found, verdicts, verdict, None if doubts else reach),
        draws=wording.draws_text(found),
        detail=". ".join([*doubts, wording.detail_text(claim, found, verdicts)]),
        doubt=". ".join(doubts),
        seconds=time.perf_counter() - started,
        p_value=math.nan if doubts or not found.confidence else p_value,
        reach=reach,
    )


def _evidence(claim: Claim, found: Measurement, place: str) -> Evidence:
    """What the number at a place says."""
    assert claim.rule is not None  # claims that are tested have one
    predicted, sure = found.predicted.get(place, math.nan), found.confidence.get(place)
    return claim.rule.evidence(found.estimates[place], sure, predicted=predicted, margin=claim.margin)


def _verdict(claim: Claim, found: Measurement, evidence: Sequence[Evidence]) -> tuple[str, float]:
    """The verdict of all places with its p-value; a claim that some places show and others refute does not hold."""
    assert claim.rule is not None  # claims that are tested have one
    if not evidence:
        return NOT_TESTED, math.nan
    whole = together(evidence)
    parts = [claim.rule.evidence(exact(0), sure) for sure in found.parts.values()]
    return decided(whole, parts), float(whole.p_value)


def _chosen(claim: Claim, records: _Records) -> tuple[pd.DataFrame, list[str]]:
    """Records of all stages that a claim is about, and why those of some stages are not there."""
    chosen, absent = [], []
    for stage in claim.stage:
        try:
            chosen.append(_selected(records(stage, claim.kind), claim))
        except DiffstabError as error:
            absent.append(str(error))
    if absent and not chosen:
        raise ResultsError(absent[0])
    return pd.concat(chosen, ignore_index=True) if chosen else pd.DataFrame(), absent


def _selected(records: pd.DataFrame, claim: Claim) -> pd.DataFrame:
    """The records of a stage that a claim is about; an error where there are none."""
    records = placed(records, claim)
    if absent := sorted(columns_of(claim.value) - set(records)) if claim.value else []:
        raise ResultsError(f"The records have no column {absent[0]}.")
    if records.empty:
        about = ", ".join(f"{name} = {value}" for name, value in claim.where.items())
        raise ResultsError(f"No record has {about}." if about else "There are no records.")
    return records


def placed(records: pd.DataFrame, claim: Claim) -> pd.DataFrame:
    """Return the records that lie where a claim is about.

    Raises:
        ResultsError: If they have no such column.
    """
    for name, wanted in claim.where.items():
        values = _setting(records, name) if name.startswith("config.") else records.get(name)
        if values is None:
            raise ResultsError(f"The records have no column {name}.")
        records = records[values.isin(wanted if isinstance(wanted, list) else [wanted])]
    return records


def _setting(records: pd.DataFrame, name: str) -> pd.Series:
    """The values of a setting in the recorded configurations, as `config.cost`."""
    texts = records["config"] if "config" in records else pd.Series("{}", index=records.index)
    return texts.map(lambda text: json.loads(text).get(name.removeprefix("config.")))


def claim_cells(one: Judgement, *, link: str = "") -> list[TableCell]:
    """Return the row of a claim in a table; its verdict leads to the anchor `link`."""
    # Sorted from holds to not tested rather than by the alphabet.
    verdict = TableCell(one.verdict, f"{list(BADGES).index(one.verdict)} {one.verdict}", one.verdict, link)
    texts = (one.predicted or "–", one.draws or "–", one.claim.reference)
    measured = TableCell(one.measured or "–", one.value)
    return [verdict, TableCell(one.claim.statement), measured, *map(TableCell, texts)]


def claims_sections(judged: Sequence[Judgement]) -> list[Section]:
    """Return the claims as a part of the page of a results folder; none where there is no claim."""
    table = Table(
        "What the sources say of such data", HEADERS, [claim_cells(one) for one in judged], "claims"
    )
    title = "What the sources say, and what was measured"
    return [Section(title, [_READING], tables=[table])] if judged else []


def answer_text(answers: Mapping[str, Mapping[str, str]], judged: Sequence[Judgement]) -> str:
    """Return what the judge says of the claims that answer a page's question, a sentence each.

    Args:
        answers: By the claim's id: what is said where it `holds` and where it `fails`, and what its `number` is.
        judged: Claims of the page.
    """
    texts = []
    for one in judged:
        if words := answers.get(one.claim.id):
            nothing = f"there is no effect larger than {wording.margin_text(one.claim)}"
            openings = {HOLDS: words["holds"], DOES_NOT: words["fails"], NO_EFFECT: nothing}
            opening = openings.get(one.verdict, f"it cannot be told whether {words['holds']}")
            because = f"; {one.doubt[:1].lower()}{one.doubt[1:]}" if one.doubt else ""
            texts.append(f"{capital(opening)}: {words['number']} is {one.measured}, {one.draws}{because}.")
    return " ".join(texts) or "Nothing is recorded that tells."
