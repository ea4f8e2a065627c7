"""The report of a results folder: one HTML page and its figures, written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from diffstab.grid.folder import runs_of
from diffstab.report.claims.judging import PREPARED
from diffstab.report.claims.section import claims_section
from diffstab.report.document import Section
from diffstab.report.glossary import defined
from diffstab.report.outline import Chapter, Page
from diffstab.report.pages import page_of
from diffstab.report.provenance import cautions, provenance
from diffstab.report.runs import Runs, read_runs
from diffstab.report.writing import write_page


def write_report(folder: str | Path) -> Path:
    """Write ``report/index.html`` and ``report/figures/*.png|pdf`` of a results folder.

    The page is that of the kind of experiment that made the records. It needs no other file and no network. It is
    built beside the old report and takes its place when it is complete; a report that fails leaves the old one.

    Args:
        folder: Results folder with ``records/*.parquet`` and, optionally, ``config.yaml`` and files of its kind.

    Returns:
        Path of the page.

    Raises:
        ResultsError: The folder has no readable records, a file beside them is damaged, or it cannot be written to.
    """
    folder = Path(folder)
    runs = read_runs([folder], lambda kind: page_of(kind).code.prepare)
    page = page_of(runs.kind)
    sections = [
        lead(page, runs),
        *chapters(page, runs),
        *claims(runs),
        provenance(runs.frame, config=runs.source),
    ]
    asked = len(runs_of(folder, runs.kind))
    notes = [*cautions(runs, asked=asked), *page.call("cautions", runs, ())]
    heads = {"title": page.code.title(runs), "topic": page.topic, "line": page.shown_question(runs)}
    return write_page(folder, **heads, parts=sections, notes=notes)


def lead(page: Page, runs: Runs) -> Section:
    """The words that are used, what was varied, the answer, and one figure."""
    found = [("Varied", page.shown_variation(runs)), ("Answer", page.code.answer(runs))]
    pictures = page.figures[page.lead].pictures(runs)
    return Section(
        "In short", words=defined(page.shown_words(runs)), verdicts=found, pictures=pictures, anchor="short"
    )


def chapters(page: Page, runs: Runs) -> Iterator[Section]:
    """The chapters that have something to show."""
    for chapter in page.chapters:
        section = chapter_section(page, chapter, runs)
        if section.pictures or section.tables:
            yield section


def claims(runs: Runs) -> list[Section]:
    """The claims of the sources that the records can be held against."""
    if runs.kind not in PREPARED or runs.records is None:
        return []
    section = claims_section(PREPARED[runs.kind](runs.records), runs.kind)
    return [section] if section else []


def chapter_section(page: Page, chapter: Chapter, runs: Runs) -> Section:
    """A chapter drawn from runs."""
    pictures = [picture for name in chapter.figures for picture in page.figures[name].pictures(runs)]
    tables = [table for name in chapter.tables for table in page.made_tables(name, runs)]
    words, is_folded = defined(chapter.words), chapter.is_folded
    return Section(
        chapter.title,
        page.paragraphs(chapter, runs),
        pictures=pictures,
        tables=tables,
        words=words,
        is_folded=is_folded,
    )
