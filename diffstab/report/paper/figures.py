"""The figures and tables of the sources by name: which figures of the pages, drawn from which runs (`figures.yaml`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from diffstab.errors import ArgumentError, ResultsError
from diffstab.report.document import Picture, Table
from diffstab.report.pages import figures as page_figures
from diffstab.report.pages import page_of, read_runs
from diffstab.report.runs import Runs
from diffstab.results import Records, parse_yaml


class FigureFiles(NamedTuple):
    """The pictures and tables of a figure of the sources."""

    pictures: list[Picture]
    tables: list[Table] = []  # noqa: RUF012


class PaperFigure(NamedTuple):
    """A figure or table of the sources.

    Attributes:
        name: Of its script and its files.
        title: Heading.
        source: Where it stands.
        stages: Runs that it is drawn from; those that are not there are left out.
        figures: Names of figures of the pages.
        tables: Names of tables of the page of its kind.
        target: What the target of a record must begin with.
    """

    name: str
    title: str
    source: str
    stages: Sequence[str] = ()
    figures: Sequence[str] = ()
    tables: Sequence[str] = ()
    target: str = ""

    def draw(self, folders: Mapping[str, Path]) -> FigureFiles:
        """Draw the figure from those of its stages that have records.

        Args:
            folders: Results folders by stage; other stages than those of the figure are passed over.

        Raises:
            ResultsError: No stage of the figure has records.
        """
        found = [Path(folders[name]) for name in self.stages if name in folders]
        return self.draw_from([folder for folder in found if has_records(folder)])

    def draw_from(self, folders: Sequence[Path]) -> FigureFiles:
        """Draw the figure from results folders of any names.

        Raises:
            ResultsError: There is no folder, and the figure needs one; or none holds what it shows.
        """
        if self.stages and not folders:
            raise ResultsError(f"{self.name} needs records of {' or '.join(self.stages)}. Run these first.")
        runs = read_runs(folders) if folders else Runs("", pd.DataFrame())
        if self.target:
            kept = runs.frame["target"].str.startswith(self.target)
            runs = runs._replace(frame=runs.frame[kept].reset_index(drop=True))
        pictures = [one for name in self.figures for one in page_figures()[name][1].pictures(runs)]
        tables = [table for name in self.tables for table in page_of(runs.kind).made_tables(name, runs)]
        if not pictures and not tables:
            raise ResultsError(
                f"No record holds what {self.name} shows. Give folders of runs that measure it."
            )
        return FigureFiles([one._replace(stem=self._stem(one, len(pictures))) for one in pictures], tables)

    def _stem(self, picture: Picture, count: int) -> str:
        """A name that begins with that of the figure; one picture alone has it."""
        if count == 1 or picture.stem.startswith(self.name):
            return self.name if count == 1 else picture.stem
        return f"{self.name}-{picture.stem}"


def has_records(folder: Path) -> bool:
    """Whether a results folder holds a record at least."""
    return bool(Records(folder).keys())


FIGURES: dict[str, PaperFigure] = {
    name: PaperFigure(name, **one)
    for name, one in parse_yaml(Path(__file__).with_suffix(".yaml").read_bytes()).items()
}
"""Every figure and table of the sources, in the order of a page."""


def named_figures() -> dict[str, PaperFigure]:
    """Return every figure by its name: those of the sources, then those of the pages."""
    found = {
        name: PaperFigure(name, figure.title, f"page of {page.kind}", figures=(name,))
        for name, (page, figure) in page_figures().items()
    }
    return FIGURES | {name: figure for name, figure in found.items() if name not in FIGURES}


def named_figure(name: str) -> PaperFigure:
    """Return a figure by its name.

    Raises:
        ArgumentError: There is none of that name.
    """
    figures = named_figures()
    if name not in figures:
        raise ArgumentError("name", f"be one of {', '.join(figures)}", repr(name))
    return figures[name]
