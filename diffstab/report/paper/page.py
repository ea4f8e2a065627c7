"""The page of the sources: every claim with its verdict, the figures, the runs behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from diffstab.errors import DiffstabError, ResultsError
from diffstab.report.claims.claim import Claim
from diffstab.report.claims.correction import corrected, verdict_at
from diffstab.report.claims.judging import HEADERS, Judgement, claim_cells, judge
from diffstab.report.claims.listing import NAME, verdicts_csv
from diffstab.report.claims.rules import HOLDS
from diffstab.report.claims.wording import counts_text, rule_text
from diffstab.report.document import BADGES, Document, Section, Table, TableCell
from diffstab.report.paper.figures import FIGURES, PaperFigure, has_records
from diffstab.report.provenance import provenance
from diffstab.report.tables import column
from diffstab.report.words import defined, number_text
from diffstab.report.writing import write_page
from diffstab.results import read_records, write_atomically

TITLE = "Claims of the sources and their verdicts"
SOURCES = (
    "Petrini, Cagnetta, Vanden-Eijnden, Wyart, Learning sparse features can lead to overfitting in neural networks "
    "(NeurIPS 2022): slides and abstract",
    "Jacot, Golikov, Hongler, Gabriel, Feature learning in L2-regularized DNNs: attraction/repulsion and sparsity "
    "(NeurIPS 2022)",
)
_READING = (
    "Each claim has a rule, stated beside it; the rule gives the verdict. “No effect” means: none larger than a "
    "margin that was fixed beforehand. “Undecided” is a verdict too, and says which effect would have been "
    "seen. q is the p-value adjusted for all claims at once (Benjamini–Hochberg): above 0.05 the "
    "verdict falls. A verdict leads to its figure and rule. Time is that of all runs behind a claim, on one core."
)
_QUESTION = (
    "Do the statements of the two papers on features, stability and sparsity hold when they are run anew?"
)
_WORDS = ("feature", "lazy (exact)", "n", "draw", "D", "G", "R", "mass", "atoms", "β", "plateau", "C")
_ELSEWHERE, _OPEN = "computed", "untested"
_PROVENANCE = ("git_commit", "git_dirty", "versions", "hardware", "started_at")


class StageRun(NamedTuple):
    """What became of a stage.

    Attributes:
        name: Of the stage.
        command: The command that makes it.
        folder: Its results folder, which may not be there.
        cells: Runs it consists of.
        recorded: Runs that have a record.
        failures: Reasons of runs that failed.
        sizes: Sizes that were run, in words.
        published: Sizes of the source, in words.
        absent: Why it was left out; "" where it was not.
        others: Further runs that its folder holds, of other seeds or sizes.
    """

    name: str
    command: str
    folder: Path
    cells: int
    recorded: int
    failures: Sequence[str] = ()
    sizes: str = ""
    published: str = ""
    absent: str = ""
    others: int = 0


def write_paper(
    root: str | Path,
    stages: Sequence[StageRun],
    *,
    claims: Sequence[Claim] | None = None,
    figures: Mapping[str, PaperFigure] = FIGURES,
) -> Path:
    """Write ``report/index.html``, ``report/figures/*.png|pdf`` and ``report/claims.csv``: claims, figures and runs.

    The page needs no other file and no network. What was not run or has failed is said at its top; claims and figures
    that need it say so too.

    Args:
        root: Folder of the results folders.
        stages: What became of each stage.
        claims: Claims to judge; those of the sources for None.
        figures: Figures to draw, by name.

    Returns:
        Path of the page.

    Raises:
        ResultsError: If the page cannot be written; the old one stays then.
    """
    folders = {stage.name: stage.folder for stage in stages if has_records(stage.folder)}
    frames, damaged = {}, []
    for name, folder in folders.items():
        try:
            frames[name] = read_provenance(folder)
        except ResultsError as error:
            damaged.append(f"{name} cannot be read: {error}")
    folders = {name: folder for name, folder in folders.items() if name in frames}
    seconds = {name: float(column(frame, "seconds").sum()) for name, frame in frames.items()}
    judged = judge(folders, claims=claims)
    parts = [_lead(judged), _verdicts_section(judged, seconds, figures)]
    parts += [_figure_section(figure, judged, folders) for figure in figures.values()]
    parts += [*_further_sections(judged, figures), _runs_section(stages, seconds)]
    if frames:
        parts.append(provenance(pd.concat(frames.values(), ignore_index=True), config=""))
    document = Document(TITLE, _QUESTION, "claims of the sources", parts, [*damaged, *cautions(stages)])
    page = write_page(Path(root), document)
    write_atomically(page.parent / NAME, verdicts_csv(judged))
    return page


def read_provenance(folder: Path) -> pd.DataFrame:
    """Return where the records of a folder came from, and the share of time of each, `seconds`.

    Raises:
        ResultsError: If a record is damaged.
    """
    frame = read_records(folder)
    # Runs that are trained together each record the time of all.
    shared = column(frame, "train_seconds") / column(frame, "runs_together")
    spent = frame.get("wall_seconds", shared)
    kept = {name: column(frame, name) for name in _PROVENANCE}
    return pd.DataFrame({**kept, "seconds": spent.astype("float64"), "wall_seconds": spent})


def _lead(judged: Sequence[Judgement]) -> Section:
    """The words that are used, the sources, and how many claims hold, one by one and after correction."""
    certain = sum(bool(one.claim.certain) and one.verdict == HOLDS for one in judged)
    answer = f"Of {len(judged)} claims {counts_text((one.verdict for one in judged), certain=certain)}."
    found = [("Answer", answer), ("Sources", "; ".join(SOURCES))]
    pairs = list(zip(judged, corrected(judged), strict=True))
    family = [(one, adjusted) for one, adjusted in pairs if np.isfinite(adjusted.bh)]
    if family:
        kept = [counts_text(verdict_at(one, adjusted[way]) for one, adjusted in family) for way in (0, 1)]
        texts = (
            f"{kept[0]} at a false discovery rate of 5 % (Benjamini–Hochberg)",
            f"{kept[1]} whatever their",
        )
        text = f"Of the {len(family)} that draws decide, {texts[0]}; {texts[1]} dependence (Benjamini–Yekutieli)."
        found.insert(1, ("All tests at once", text))
    return Section("In short", words=defined(_WORDS), verdicts=found, anchor="short")


def _verdicts_section(
    judged: Sequence[Judgement], seconds: Mapping[str, float], figures: Mapping[str, PaperFigure]
) -> Section:
    """The table of all claims, each with its adjusted p-value, the time of its runs and a link to its figure."""
    lines = []
    for one, adjusted in zip(judged, corrected(judged), strict=True):
        spent = sum(seconds.get(stage, 0.0) for stage in one.claim.stage) + one.seconds
        text = number_text(spent, decimals=0 if spent >= 1 else 1)
        time = TableCell("–", np.nan) if one.claim.untested else TableCell(text, spent)
        link = _OPEN if one.claim.untested else _ELSEWHERE
        link = one.claim.figure if one.claim.figure in figures else link
        lines.append([*claim_cells(one, link=link), _q_cell(one, adjusted.bh), time])
    headers = [*HEADERS, "q", "Time (s)"]
    table = Table("Every claim of the sources; a click on a heading sorts", headers, lines)
    return Section("Claims and verdicts", [_READING], tables=[table], anchor="claims")


def _q_cell(one: Judgement, adjusted: float) -> TableCell:
    """The adjusted p-value, with the verdict that is left where it is another."""
    if one.claim.certain:
        return TableCell("cannot fail", -1.0)
    left = verdict_at(one, adjusted)
    text = number_text(adjusted) if adjusted >= 1e-3 or np.isnan(adjusted) else "<\u00a00.001"
    return TableCell(text + (f": {left}" if left != one.verdict else ""), adjusted)


def _finding(one: Judgement) -> tuple[str, str]:
    """Verdict, claim, numbers and rule of a claim, for reading."""
    numbers = {"Measured": one.measured, "Predicted": one.predicted, "Draws": one.draws}
    texts = [one.claim.statement, *(f"{name}: {text}." for name, text in numbers.items() if text)]
    texts += [] if one.claim.untested else [f"Rule: {rule_text(one.claim)}"]
    texts += [f"In detail: {one.detail.rstrip('.')}."] if one.detail else []
    return f"{BADGES[one.verdict]} {one.verdict}", " ".join([*texts, f"({one.claim.reference}.)"])


def _figure_section(figure: PaperFigure, judged: Sequence[Judgement], folders: Mapping[str, Path]) -> Section:
    """A figure with the claims that it shows; a sentence in its place where its records are missing."""
    mine = [_finding(one) for one in judged if one.claim.figure == figure.name]
    sentences = [f"{figure.source}." + (f" Runs: {', '.join(figure.stages)}." if figure.stages else "")]
    try:
        drawn = figure.draw(folders)
    except DiffstabError as error:
        return Section(figure.title, [*sentences, f"Not drawn: {error}"], mine, anchor=figure.name)
    return Section(figure.title, sentences, mine, drawn.pictures, drawn.tables, anchor=figure.name)


def _further_sections(judged: Sequence[Judgement], figures: Mapping[str, PaperFigure]) -> list[Section]:
    """Claims without a figure: those computed on the spot, and those that nothing here tests."""
    rest = [one for one in judged if one.claim.figure not in figures]
    checked, unchecked = (
        [_finding(one) for one in rest if bool(one.claim.untested) is kind] for kind in (False, True)
    )
    says = "These need no runs: they are computed while this page is written."
    parts = [Section("Computed on the spot", [says], checked, anchor=_ELSEWHERE)] if checked else []
    says = "What nothing here can test, each with the reason."
    return parts + ([Section("Not tested", [says], unchecked, anchor=_OPEN)] if unchecked else [])


def _runs_section(stages: Sequence[StageRun], seconds: Mapping[str, float]) -> Section:
    """The stages: how much of each is recorded, its time, its sizes and those of the source."""
    lines = []
    for stage in stages:
        spent = seconds.get(stage.name, np.nan)
        recorded = TableCell(f"{stage.recorded} of {stage.cells}", stage.recorded)
        time = TableCell(number_text(spent, decimals=0), spent)
        sizes = (stage.sizes, stage.published or "not stated")
        lines.append([*map(TableCell, (stage.name, stage.command)), recorded, time, *map(TableCell, sizes)])
    headers = ["Stage", "Command", "Runs", "Time (s)", "Sizes here", "Sizes of the source"]
    total = number_text(sum(seconds.values()), decimals=0)
    says = f"Time is the sum over runs, each on one core: {total} s in all."
    return Section("Runs", [says], tables=[Table("Runs behind the page", headers, lines)], anchor="runs")


def cautions(stages: Sequence[StageRun]) -> list[str]:
    """What was left out, has failed, or is not complete."""
    notes = [f"{stage.name} was left out: {stage.absent}" for stage in stages if stage.absent]
    for stage in (stage for stage in stages if not stage.absent):
        failed, reasons = len(stage.failures), "; ".join(dict.fromkeys(stage.failures))
        waiting = stage.cells - stage.recorded - failed
        further = f"{stage.others} further runs, of other seeds or sizes; claims and figures count them too."
        said = [
            (failed, f": {failed} of {stage.cells} runs failed ({reasons})."),
            (not stage.recorded, " was not run. Claims that need it are not tested."),
            (stage.recorded and waiting > 0, f": {waiting} of {stage.cells} runs have no record yet."),
            (stage.others, f": its folder holds {further}"),
        ]
        notes += [stage.name + text for is_so, text in said if is_so]
    return notes
