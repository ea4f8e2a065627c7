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
        figures = named_figures()
        width = max(map(len, figures))
        for name, one in figures.items():
            print(f"{name:<{width}}  {one.title} ({one.source})")
        return 0
    figure, folders = named_figure(options.name), [Path(folder) for folder in options.results]
    drawn = figure.draw_from(folders) if folders else _made(figure, options)
    for path in write_drawn(drawn, figure.name, to=Path(options.output)):
        print(path)
    return 0


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
    kind = to.suffix.removeprefix(".")
    folder = to.parent if kind in _FORMATS else to
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResultsError(f"{folder} cannot be made ({error}). Give another place by --output.") from error
    files = dict(_of_kind(drawn, to.stem, kind) if kind in _FORMATS else _files(drawn, name))
    if not files:
        what = "table" if kind == "csv" else "picture"
        raise ResultsError(f"{name} has no {what}, as {to.name} asks for one.")
    return [write_atomically(folder / file, content) for file, content in files.items()]


def _files(drawn: FigureFiles, name: str) -> Iterator[tuple[str, bytes]]:
    for picture in drawn.pictures:
        yield f"{picture.stem}.png", picture.rendered.png
        yield f"{picture.stem}.pdf", picture.rendered.pdf
    yield from _of_kind(drawn, name, "csv")


def _of_kind(drawn: FigureFiles, name: str, kind: str) -> Iterator[tuple[str, bytes]]:
    shown: Sequence[Picture | Table] = drawn.tables if kind == "csv" else drawn.pictures
    for number, one in enumerate(shown, start=1):
        content = comma_separated(one) if isinstance(one, Table) else one.rendered.file(kind)
        yield f"{name}{f'-{number}' if len(shown) > 1 else ''}.{kind}", content


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
    about = "Draw a figure or table by its name, from results folders. A figure of the papers needs none: the runs "
    about += "behind it are then made first, or taken up where they stopped."
    parser = argparse.ArgumentParser(prog="diffstab figure", description=about)
    add = parser.add_argument
    add("name", nargs="?", help="figure to draw; none lists all")
    add("results", nargs="*", help="results folders with records of one kind")
    add("--list", action="store_true", help="list all figures")
    place = "folder, or a file that ends in .png, .pdf, .svg or .csv"
    add("--output", default="results/figures", help=place)
    add("--root", default="results/paper", help="folder of runs that are made first")
    add("--full", action="store_true", help="make those runs at the papers' own sizes")
    return parser
