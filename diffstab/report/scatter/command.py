"""`diffstab scatter`: test error against R, D or G over models, as a figure, a table of fits and the points."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from diffstab.errors import ArgumentError
from diffstab.report.intervals import Estimate
from diffstab.report.rendering import Rendered, render
from diffstab.report.scatter.drawing import PAPER, draw_scatter
from diffstab.report.scatter.points import QUANTITIES, Points, read_points
from diffstab.report.scatter.power_law import PowerLaw, fit_power_law
from diffstab.results import write_atomically


def main(args: Sequence[str]) -> int:
    """Draw what the arguments of `diffstab scatter` name, print the fits and the paths of the files.

    Returns:
        The exit status.
    """
    options = _parser().parse_args(args)
    points = read_points(options.sources, against=options.against, where=options.where)
    for column in (options.colour, *options.fit_by):
        if column not in points.frame:
            known = ", ".join(map(str, points.frame.columns))
            raise ArgumentError("colour and fit_by", f"be among the columns {known}", repr(column))
    laws = fits(points, against=options.against, by=options.fit_by)
    print(fits_text(laws, points, against=options.against))
    rendered = picture(points, laws.get("all models"), against=options.against, colour=options.colour)
    for path in _write(Path(options.output), rendered, points, laws):
        print(path)
    return 0


def fits(points: Points, *, against: str, by: Sequence[str] = ()) -> dict[str, PowerLaw]:
    """Fit the power law through all points, and through those of each group of three or more.

    Args:
        points: From `read_points`.
        against: What the error is a power of.
        by: Columns that make groups.

    Returns:
        The laws by the name of their points.
    """
    groups = {"all models": points.frame}
    for column in by:
        groups |= {f"{column} {value}": part for value, part in points.frame.groupby(column, sort=True)}
    return {
        name: fit_power_law(part[against], part["error"])
        for name, part in groups.items()
        if len(part) > 2 and part[against].nunique() > 1
    }


def fits_text(laws: dict[str, PowerLaw], points: Points, *, against: str) -> str:
    """The laws as a small table for a screen."""
    rows = [
        (name, str(law.exponent.draws), _text(law.prefactor), _text(law.exponent), _text(law.correlation))
        for name, law in laws.items()
    ]
    heads = ("models", "number", "a [95 %]", "b [95 %]", "correlation [95 %]")
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in (heads, *rows)
    ]
    return "\n".join([f"test error = a {against}^b", *lines, *_remarks(laws, points, against)])


def picture(points: Points, law: PowerLaw | None, *, against: str, colour: str = "architecture") -> Rendered:
    """The figure in all formats."""
    return render(
        lambda axes: draw_scatter(axes[0, 0], points, law, against=against, colour=colour),
        size_inches=(5.6, 4.2),
    )


def _remarks(laws: dict[str, PowerLaw], points: Points, against: str) -> Iterator[str]:
    if against == "R" and laws:
        prefactor, exponent = PAPER
        yield f"The 2021 paper: a = {prefactor}, b = {exponent}, over architectures trained on all of CIFAR-10."
    if "all models" not in laws:
        yield "No fit: it takes three models with different numbers."
    if points.left_out:
        yield f"{points.left_out} rows without a positive test error and {against} are left out."


def _text(estimate: Estimate) -> str:
    return f"{estimate.mean:.3g} [{estimate.low:.3g}, {estimate.high:.3g}]"


def _write(to: Path, rendered: Rendered, points: Points, laws: dict[str, PowerLaw]) -> list[Path]:
    to.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame([{"models": name, **_columns(law)} for name, law in laws.items()])
    contents = {
        "scatter.png": rendered.png,
        "scatter.pdf": rendered.pdf,
        "scatter-points.csv": points.frame.to_csv(index=False).encode(),
        "scatter-fits.csv": table.to_csv(index=False).encode(),
    }
    return [write_atomically(to / name, content) for name, content in contents.items()]


def _columns(law: PowerLaw) -> dict[str, float]:
    columns: dict[str, float] = {"number": law.exponent.draws, "spread": law.spread}
    for name in ("exponent", "prefactor", "correlation"):
        value: Estimate = getattr(law, name)
        columns |= {name: value.mean, f"{name}_low": value.low, f"{name}_high": value.high}
    return columns


def _parser() -> argparse.ArgumentParser:
    about = "Draw test error against R, D or G over models, on logarithmic axes, and fit test error = a R^b."
    parser = argparse.ArgumentParser(prog="diffstab scatter", description=about)
    parser.add_argument(
        "sources", nargs="+", metavar="SOURCE", help="results folder, or file of comma-separated values"
    )
    parser.add_argument("--against", default="R", choices=QUANTITIES, help="what is drawn along the x axis")
    parser.add_argument("--where", default="", metavar="CONDITION", help='on columns, as "n_train >= 512"')
    parser.add_argument("--colour", default="architecture", metavar="COLUMN", help="what colours tell apart")
    parser.add_argument(
        "--fit-by", nargs="+", default=(), metavar="COLUMN", help="fit each of their values too"
    )
    parser.add_argument(
        "--output", default="results/figures", metavar="FOLDER", help="where files are written"
    )
    return parser
