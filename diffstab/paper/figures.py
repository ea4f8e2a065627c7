"""One figure or table of the sources from the command line: what every script of `reports/` calls."""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from diffstab.errors import DiffstabError, ResultsError
from diffstab.report.document import Table
from diffstab.report.paper.drawn import Drawn
from diffstab.report.paper.figures import PaperFigure, paper_figure
from diffstab.results import write_atomically

_ABOUT = "Without RESULTS the runs that it needs are made first, or taken up where they stopped."


def main(name: str, args: Sequence[str] | None = None) -> int:
    """Draw a figure or table and print the paths of its files.

    A refused argument or missing data are told in one line on standard error.

    Args:
        name: Of the figure, a key of `diffstab.report.paper.figures.FIGURES`.
        args: Arguments of the script; those of the process for None.

    Returns:
        The exit status: 0 when all went well, 2 when something was refused, 130 after Ctrl-C.
    """
    figure = paper_figure(name)
    options = _options(figure, args)
    try:
        drawn = figure.draw_from(_given(options.results)) if options.results else _made(figure, options)
        for path in write_drawn(drawn, name, folder=options.output):
            print(path)
    except KeyboardInterrupt:
        print(
            f"reports.{name}: interrupted; finished runs are recorded, the same command goes on.",
            file=sys.stderr,
        )
        return 130
    except DiffstabError as error:
        print(f"reports.{name}: {error}", file=sys.stderr)
        return 2
    return 0


def write_drawn(drawn: Drawn, name: str, *, folder: str | Path) -> list[Path]:
    """Write every picture as PNG and PDF, and every table as comma-separated values.

    Args:
        drawn: Pictures and tables.
        name: First part of the names of tables.
        folder: Where to; it is made.

    Returns:
        The paths.

    Raises:
        ResultsError: The files cannot be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResultsError(f"{folder} cannot be made ({error}). Give another folder by --output.") from error
    return [write_atomically(folder / file, content) for file, content in _files(drawn, name)]


def _files(drawn: Drawn, name: str) -> Iterator[tuple[str, bytes]]:
    for picture in drawn.pictures:
        yield f"{picture.stem}.png", picture.rendered.png
        yield f"{picture.stem}.pdf", picture.rendered.pdf
    for number, table in enumerate(drawn.tables, start=1):
        ending = f"-{number}" if len(drawn.tables) > 1 else ""
        yield f"{name}{ending}.csv", _comma_separated(table)


def _comma_separated(table: Table) -> bytes:
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(table.headers)
    lines.writerows([cell.text for cell in row] for row in table.rows)
    return text.getvalue().encode("utf-8")


def _options(figure: PaperFigure, args: Sequence[str] | None) -> argparse.Namespace:
    about = f"{figure.title} ({figure.source})."
    if figure.stages:
        about += f" Drawn from {', '.join(figure.stages)}. {_ABOUT}"
    parser = argparse.ArgumentParser(prog=f"python -m reports.{figure.name}", description=about)
    parser.add_argument("results", nargs="*", help="results folders with records, to draw from these alone")
    parser.add_argument("--root", default="results/paper", help="folder of the runs that are made first")
    parser.add_argument("--full", action="store_true", help="make them at the papers' own sizes")
    parser.add_argument("--output", default="results/figures", help="folder of the files that are written")
    return parser.parse_args(args)


def _given(results: Sequence[str]) -> dict[str, Path]:
    """The given folders by name; by path where two have one name."""
    names = [Path(folder).resolve().name for folder in results]
    is_unique = len(set(names)) == len(names)
    return {name if is_unique else folder: Path(folder) for name, folder in zip(names, results, strict=True)}


def _made(figure: PaperFigure, options: argparse.Namespace) -> Drawn:
    """The figure from the folders of its stages, after the runs that were missing."""
    if not figure.stages:
        return figure.draw({})
    from diffstab.paper.running import run_stages

    return figure.draw(run_stages(figure.stages, options.root, full=options.full))
