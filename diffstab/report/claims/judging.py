"""The one judge: a claim and records in, a verdict with its numbers out."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from diffstab.errors import DiffstabError, ResultsError
from diffstab.report.claims import wording
from diffstab.report.claims.claim import Claim
from diffstab.report.claims.entries import sources_claims
from diffstab.report.l2.plateau_runs import plateau_frame
from diffstab.report.rules import HOLDS, NOT_TESTED, UNDECIDED, together
from diffstab.report.statistics.expressions import columns_of
from diffstab.report.statistics.registry import Measurement, measure
from diffstab.report.tables import tidy_records
from diffstab.results import read_records

PREPARED: Mapping[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "images": tidy_records,
    "sphere": lambda records: with_square_error(tidy_records(records)),
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


@dataclass(frozen=True)
class Evidence:
    """The records of the stages, read when first asked for.

    Args:
        folders: Results folder of each stage by name; one without records may be among them.
    """

    folders: Mapping[str, Path]
    _ready: dict[tuple[str, str], pd.DataFrame] = field(default_factory=dict, repr=False, compare=False)

    def records(self, stage: str, kind: str) -> pd.DataFrame:
        """Return the records of a stage, made ready as those of a kind, with the column `stage`.

        Raises:
            ResultsError: If there are none, or one is damaged.
        """
        if (stage, kind) not in self._ready:
            if stage not in self.folders:
                raise ResultsError(f"The stage {stage} was not run.")
            ready = PREPARED[kind](read_records(self.folders[stage]))
            self._ready[stage, kind] = ready.assign(stage=stage)
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
        records: As read, or made ready by `PREPARED[kind]`.
        kind: What they are of, a key of `PREPARED`.
        claims: Which claims; those of the sources for None.

    Returns:
        The claims of that kind whose `where` fits some records, save for those that are not tested by them.
    """
    listed = sources_claims() if claims is None else claims
    mine = [claim for claim in listed if claim.kind == kind and claim.folder and not claim.untested]
    ready = records.assign(stage="")
    found = [_found(claim, [ready], []) for claim in mine]
    return [one for one in found if one.verdict != NOT_TESTED]


def _judgement(claim: Claim, evidence: Evidence) -> Judgement:
    started = time.perf_counter()
    if claim.untested:
        return Judgement(claim, NOT_TESTED, detail=claim.untested)
    frames, absent = [], []
    for stage in claim.stage:
        try:
            frames.append(evidence.records(stage, claim.kind))
        except DiffstabError as error:
            absent.append(str(error))
    found = _found(claim, frames, absent)
    return found._replace(seconds=time.perf_counter() - started)


def _found(claim: Claim, frames: Sequence[pd.DataFrame], absent: Sequence[str]) -> Judgement:
    """Judge a claim by records of its stages; `absent` says why some are not there."""
    try:
        chosen, reasons = _chosen(claim, frames)
        absent = [*absent, *reasons]
        if absent and not chosen:
            raise ResultsError(absent[0])
        found = measure(claim, pd.concat(chosen, ignore_index=True) if chosen else pd.DataFrame())
    except DiffstabError as error:
        return Judgement(claim, NOT_TESTED, detail=str(error))
    verdicts = verdicts_of(claim, found)
    verdict, doubts = together(verdicts.values()), [found.doubt] if found.doubt else []
    doubts += list(absent) if verdict == HOLDS else []
    if verdict != NOT_TESTED and doubts:
        verdict = UNDECIDED
    detail = ". ".join(
        [*(doubt.rstrip(".") for doubt in doubts), wording.detail_text(claim, found, verdicts)]
    )
    shown = wording.shown(claim, found, verdicts, verdict)
    return Judgement(claim, verdict, *shown, wording.draws_text(found), detail)


def _chosen(claim: Claim, frames: Sequence[pd.DataFrame]) -> tuple[list[pd.DataFrame], list[str]]:
    """Records of each stage that a claim is about, and why those of others are not."""
    chosen, reasons = [], []
    for frame in frames:
        try:
            chosen.append(selected(frame, claim))
        except ResultsError as error:
            reasons.append(str(error))
    return chosen, reasons


def verdicts_of(claim: Claim, found: Measurement) -> dict[str, str]:
    """Return what the rule of a claim says at each place."""
    assert claim.rule is not None  # claims that are tested have one
    predicted = found.predicted
    return {
        place: claim.rule.verdict(one, predicted.get(place, math.nan))
        for place, one in found.estimates.items()
    }


def selected(records: pd.DataFrame, claim: Claim) -> pd.DataFrame:
    """Return the records that a claim is about.

    Raises:
        ResultsError: If there are none.
    """
    for name, wanted in claim.where.items():
        values = setting_column(records, name) if name.startswith("config.") else records.get(name)
        if values is None:
            raise ResultsError(f"The records have no column {name}.")
        records = records[values.isin(wanted if isinstance(wanted, list) else [wanted])]
    if absent := sorted(columns_of(claim.value) - set(records)) if claim.value else []:
        raise ResultsError(f"The records have no column {absent[0]}.")
    if records.empty:
        about = ", ".join(f"{name} = {value}" for name, value in claim.where.items())
        raise ResultsError(f"No record has {about}." if about else "There are no records.")
    return records


def setting_column(records: pd.DataFrame, name: str) -> pd.Series:
    """Return the values of a setting in the recorded configurations, as `config.cost`."""
    texts = records["config"] if "config" in records else pd.Series("{}", index=records.index)
    return texts.map(lambda text: _setting(text, name.removeprefix("config.")))


def _setting(text: object, name: str) -> Any:
    config = json.loads(text) if isinstance(text, str) else {}
    return config.get(name) if isinstance(config, Mapping) else None


def with_square_error(frame: pd.DataFrame) -> pd.DataFrame:
    """Return records of the sphere with `mean_square_error`: on the one realisation that all methods saw."""
    errors = [frame[name] for name in ("drawn_error", "test_error") if name in frame]
    return frame.assign(mean_square_error=errors[0].fillna(errors[-1])) if errors else frame
