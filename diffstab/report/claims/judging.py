"""The one judge: a claim and records in, a verdict with its numbers out."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from diffstab.errors import DiffstabError, ResultsError
from diffstab.report.claims import wording
from diffstab.report.claims.claim import Claim
from diffstab.report.claims.entries import sources_claims
from diffstab.report.l2.plateau_runs import plateau_frame
from diffstab.report.rules import HOLDS, NOT_TESTED, UNDECIDED, together
from diffstab.report.statistics.expressions import columns_of
from diffstab.report.statistics.registry import measure
from diffstab.report.tables import tidy_records
from diffstab.results import read_records

PREPARED: Mapping[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "images": tidy_records,
    "sphere": tidy_records,
    "plateau": plateau_frame,
    "forces": lambda records: records,
}
"""How records of each kind are made ready."""


class Judgement(NamedTuple):
    """A claim and what the numbers say about it.

    Attributes:
        claim: The claim.
        verdict: "holds", "does not", "undecided" or "not tested".
        measured: The numbers with their 95 % intervals, as text; "" where there are none.
        value: The first of them, in the unit shown.
        predicted: What the source says the number is, as text.
        draws: Draws, runs or trials behind the number, as text.
        detail: The other numbers that the verdict rests on, or why there is none.
        seconds: How long the check took.
    """

    claim: Claim
    verdict: str
    measured: str = ""
    value: float = math.nan
    predicted: str = ""
    draws: str = ""
    detail: str = ""
    seconds: float = 0.0


class Evidence:
    """The records of the stages, read when first asked for.

    Args:
        folders: Results folder of each stage by name; one without records may be among them.
    """

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self.folders = folders
        self._ready: dict[tuple[str, str], pd.DataFrame] = {}

    @classmethod
    def of_records(cls, records: pd.DataFrame, kind: str) -> Evidence:
        """Return records that are ready as those of a stage without a name."""
        found = cls({})
        found._ready["", kind] = _with_stage(records, "", kind)
        return found

    def records(self, stage: str, kind: str) -> pd.DataFrame:
        """Return the records of a stage, made ready as those of a kind, with the column `stage`.

        Raises:
            ResultsError: If there are none, or one is damaged.
        """
        if (stage, kind) not in self._ready:
            if stage not in self.folders:
                raise ResultsError(f"The stage {stage} was not run.")
            ready = PREPARED[kind](read_records(self.folders[stage]))
            self._ready[stage, kind] = _with_stage(ready, stage, kind)
        return self._ready[stage, kind]


def judge(folders: Mapping[str, Path], *, claims: Sequence[Claim] | None = None) -> list[Judgement]:
    """Return the verdict on every claim from the results folders of the paper's stages.

    A claim whose stages have no records, or damaged ones, is not tested, and its detail says why. One of several
    stages does not hold before all of them have been run.

    Args:
        folders: Results folder of each stage by name.
        claims: Which claims; those of the sources for None.
    """
    evidence = Evidence(folders)
    return [_judgement(claim, evidence) for claim in (sources_claims() if claims is None else claims)]


def judge_records(
    records: pd.DataFrame, kind: str, *, claims: Sequence[Claim] | None = None
) -> list[Judgement]:
    """Return the verdicts on the claims that the records of one results folder can be held against.

    Args:
        records: Made ready by `PREPARED[kind]`.
        kind: What they are of, a key of `PREPARED`.
        claims: Which claims; those of the sources for None.

    Returns:
        The claims of that kind whose `where` fits some records, save for those that are not tested by them.
    """
    evidence = Evidence.of_records(records, kind)
    listed = sources_claims() if claims is None else claims
    mine = [replace(claim, stage=("",)) for claim in listed if claim.kind == kind and claim.folder]
    return [found for claim in mine if (found := _judgement(claim, evidence)).verdict != NOT_TESTED]


def _judgement(claim: Claim, evidence: Evidence) -> Judgement:
    started = time.perf_counter()
    if claim.untested or claim.rule is None:
        return Judgement(claim, NOT_TESTED, detail=claim.untested)
    try:
        records, absent = _records(claim, evidence)
        found = measure(claim, records)
    except DiffstabError as error:
        return Judgement(claim, NOT_TESTED, detail=str(error), seconds=time.perf_counter() - started)
    verdicts = {
        place: claim.rule.verdict(one, found.predicted.get(place, math.nan))
        for place, one in found.estimates.items()
    }
    verdict = together(verdicts.values())
    doubts = [*([found.doubt] if found.doubt else []), *(absent if verdict == HOLDS else [])]
    verdict = UNDECIDED if doubts and verdict != NOT_TESTED else verdict
    detail = ". ".join(
        [*(doubt.rstrip(".") for doubt in doubts), wording.detail_text(claim, found, verdicts)]
    )
    shown = wording.shown(claim, found, verdicts, verdict)
    seconds = time.perf_counter() - started
    return Judgement(claim, verdict, *shown, wording.draws_text(found), detail, seconds)


def _records(claim: Claim, evidence: Evidence) -> tuple[pd.DataFrame, list[str]]:
    """Records of all stages that a claim is about, and why those of some stages are not there."""
    chosen, absent = [], []
    for stage in claim.stage:
        try:
            chosen.append(selected(evidence.records(stage, claim.kind), claim))
        except DiffstabError as error:
            absent.append(str(error))
    if absent and not chosen:
        raise ResultsError(absent[0])
    return pd.concat(chosen, ignore_index=True) if chosen else pd.DataFrame(), absent


def selected(records: pd.DataFrame, claim: Claim) -> pd.DataFrame:
    """Return the records that a claim is about.

    Raises:
        ResultsError: If there are none.
    """
    for name, wanted in claim.where.items():
        values = _setting(records, name) if name.startswith("config.") else records.get(name)
        if values is None:
            raise ResultsError(f"The records have no column {name}.")
        records = records[values.isin(wanted if isinstance(wanted, list) else [wanted])]
    if absent := sorted(columns_of(claim.value) - set(records)) if claim.value else []:
        raise ResultsError(f"The records have no column {absent[0]}.")
    if records.empty:
        about = ", ".join(f"{name} = {value}" for name, value in claim.where.items())
        raise ResultsError(f"No record has {about}." if about else "There are no records.")
    return records


def _setting(records: pd.DataFrame, name: str) -> pd.Series:
    """The values of a setting in the recorded configurations, as `config.cost`."""
    texts = records["config"] if "config" in records else pd.Series("{}", index=records.index)
    return texts.map(lambda text: json.loads(text).get(name.removeprefix("config.")))


def _with_stage(frame: pd.DataFrame, stage: str, kind: str) -> pd.DataFrame:
    """Records with their stage; those of the sphere with the error on the one realisation that all methods saw."""
    errors = [frame[name] for name in ("drawn_error", "test_error") if name in frame and kind == "sphere"]
    drawn = {"mean_square_error": errors[0].fillna(errors[-1])} if errors else {}
    return frame.assign(stage=stage, **drawn)
