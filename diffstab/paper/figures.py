"""`diffstab figure`: any figure or table of the pages and of the sources by its name."""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from diffstab.errors import ArgumentError, ResultsError
from diffstab.report.document import Picture, Table
from diffstab.report.paper.figures import FigureFiles, PaperFigure, named_figure, named_figures
from diffstab.results import write_atomically

_FORMATS = ("png", "pdf", "svg", "csv")


def main(args: Sequence[str]) -> int:
    """Draw the figure that the arguments of `diffstab figure` name, and print the paths of its files.

    Returns:
        The exit status.

    Raises:
        ArgumentError: There is no such figure, or it needs results folders and none is given.
        ResultsError: The records do not hold what it shows, or its files cannot be written.
    """
    options = _parser().parse_args(args)
    if options.list or not options.name:
        print("\n".join(listing()))
        return 0
    figure = named_figure(options.name)
    folders = [Path(folder) for folder in options.results]
    drawn = figure.draw_from(folders) if folders else _made(figure, options)
    for path in write_drawn(drawn, figure.name, to=Path(options.output)):
        print(path)
    return 0


def listing() -> Iterator[str]:
    """Yield a line for each figure: its name, title and where it stands."""
    figures = named_figures()
    width = max(map(len, figures))
    for name, figure in figures.items():
        yield f"{name:<{width}}  {figure.title} ({figure.source})"


def write_drawn(drawn: FigureFiles, name: str, *, to: Path) -> list[Path]:
    """Write pictures as PNG and PDF and tables as comma-separated values into a folder, or all into files of one kind.

    Args:
        drawn: Pictures and tables.
        name: First part of the names of tables.
        to: A folder, which is made; or a file whose ending (png, pdf, svg, csv) says what is written. Several
            pictures or tables then get numbers behind its name.

    Returns:
        The paths.

    Raises:
        ResultsError: The files cannot be written, or there is nothing of that kind.
    """
    ending = to.suffix.removeprefix(".")
    folder = to.parent if ending in _FORMATS else to
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResultsError(f"{folder} cannot be made ({error}). Give another place by --output.") from error
    files = dict(_of_kind(drawn, to) if ending in _FORMATS else _files(drawn, name))
    if not files:
        raise ResultsError(
            f"{name} has no {'table' if ending == 'csv' else 'picture'}, as {to.name} asks for one."
        )
    return [write_atomically(folder / file, content) for file, content in files.items()]


def _files(drawn: FigureFiles, name: str) -> Iterator[tuple[str, bytes]]:
    for picture in drawn.pictures:
        yield f"{picture.stem}.png", picture.rendered.png
        yield f"{picture.stem}.pdf", picture.rendered.pdf
    for number, table in enumerate(drawn.tables, start=1):
        ending = f"-{number}" if len(drawn.tables) > 1 else ""
        yield f"{name}{ending}.csv", comma_separated(table)


def _of_kind(drawn: FigureFiles, to: Path) -> Iterator[tuple[str, bytes]]:
    kind = to.suffix.removeprefix(".")
    shown: Sequence[Picture | Table] = drawn.tables if kind == "csv" else drawn.pictures
    for number, one in enumerate(shown, start=1):
        content = comma_separated(one) if isinstance(one, Table) else one.rendered.file(kind)
        yield f"{to.stem}{f'-{number}' if len(shown) > 1 else ''}{to.suffix}", content


def comma_separated(table: Table) -> bytes:
    """A table as comma-separated values."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(table.headers)
    lines.writerows([cell.text for cell in row] for row in table.rows)
    return text.getvalue().encode("utf-8")


def _made(figure: PaperFigure, options: argparse.Namespace) -> FigureFiles:
    """The figure from the folders of its stages, after the runs that were missing."""
    if not figure.stages:
        if figure.name != "gaussian_pictures":
            raise ArgumentError("RESULTS", f"name the folders that {figure.name} is drawn from", "none")
        return figure.draw_from([])
    from diffstab.paper.running import run_stages

    return figure.draw(run_stages(figure.stages, options.root, full=options.full))


def _parser() -> argparse.ArgumentParser:
    about = (
        "Draw a figure or table by its name, from results folders. A figure of the papers needs none: the "
        "runs behind it are "
        "then made first, or taken up where they stopped."
    )
    parser = argparse.ArgumentParser(prog="diffstab figure", description=about)
    parser.add_argument("name", nargs="?", help="figure to draw; none lists all")
    parser.add_argument("results", nargs="*", help="results folders with records of one kind")
    parser.add_argument("--list", action="store_true", help="list all figures")
    parser.add_argument(
        "--output", default="results/figures", help="folder, or a file that ends in .png, .pdf, .svg or .csv"
    )
    parser.add_argument("--root", default="results/paper", help="folder of runs that are made first")
    parser.add_argument("--full", action="store_true", help="make those runs at the papers' own sizes")
    return parser
