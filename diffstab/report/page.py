"""The report of a results folder: one HTML page and its figures, written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from diffstab.grid.folder import known_runs
from diffstab.report.claims.judging import Judgement, answer_text, claims_sections, judge_records
from diffstab.report.document import Document, Section
from diffstab.report.outline import Chapter, Page
from diffstab.report.pages import page_of, read_runs
from diffstab.report.provenance import cautions, provenance
from diffstab.report.runs import Runs
from diffstab.report.words import defined
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
    runs = read_runs([folder])
    page = page_of(runs.kind)
    judged = judge_records(runs.frame, runs.kind)
    parts = [lead(page, runs, judged), *chapters(page, runs), *claims_sections(judged)]
    parts.append(provenance(runs.frame, config=runs.source))
    notes = [*cautions(runs, asked=len(known_runs(folder))), *page.call("cautions", runs, ())]
    question = page.call("question", runs) or page.question
    return write_page(folder, Document(page.call("title", runs), question, page.topic, parts, notes))


def lead(page: Page, runs: Runs, judged: Sequence[Judgement]) -> Section:
    """The words that are used, what was varied, the answer, and one figure."""
    answer = answer_text(page.answers, judged) if page.answers else page.call("answer", runs)
    found = [("Varied", page.call("varied", runs) or runs.varied()), ("Answer", answer)]
    pictures = page.figures[page.lead].pictures(runs)
    words = defined(page.shown_words(runs))
    return Section("In short", words=words, verdicts=found, pictures=pictures, anchor="short")


def chapters(page: Page, runs: Runs) -> Iterator[Section]:
    """The chapters that have something to show."""
    for chapter in page.chapters:
        section = chapter_section(page, chapter, runs)
        if section.pictures or section.tables:
            yield section


def chapter_section(page: Page, chapter: Chapter, runs: Runs) -> Section:
    """A chapter drawn from runs."""
    return Section(
        chapter.title,
        page.paragraphs(chapter, runs),
        pictures=[picture for name in chapter.figures for picture in page.figures[name].pictures(runs)],
        tables=[table for name in chapter.tables for table in page.made_tables(name, runs)],
        words=defined(chapter.words),
        is_folded=chapter.is_folded,
    )
