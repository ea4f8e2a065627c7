"""`diffstab scatter`: test error against R, D or G over models, as a figure, a table of fits and the points."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from diffstab.report.rendering import Rendered, render
from diffstab.report.scatter.drawing import BY_ARCHITECTURE, Marks, draw_scatter, mark_handles
from diffstab.report.scatter.laws import ALL, Fits, fitted, laws_frame, laws_text
from diffstab.report.scatter.points import QUANTITIES, Points, averaged, check_columns, read_points
from diffstab.report.scatter.power_law import PowerLaw
from diffstab.results import write_atomically

Laws = Mapping[str, Mapping[str, PowerLaw]]
"""By what the test error is a power of, and by the name of the models."""


def main(args: Sequence[str]) -> int:
    """Draw what the arguments of `diffstab scatter` name, print the fits and the paths of the files.

    Returns:
        The exit status.
    """
    options = _parser().parse_args(args)
    marks = Marks(options.colour, options.marker, tuple(options.join))
    fits = Fits(options.fit_by, options.fit_within, options.clusters)
    points = {}
    for against in dict.fromkeys(options.against):
        found = read_points(options.sources, against=against, where=options.where)
        points[against] = averaged(found, options.means) if options.means else found
    laws = {against: fitted(found, against=against, fits=fits) for against, found in points.items()}
    for against, found in points.items():
        print(laws_text(laws[against], found, against=against))
    rendered = picture(points, laws, marks=marks)
    for path in _write(Path(options.output), rendered, points, laws):
        print(path)
    return 0


def picture(points: Mapping[str, Points], laws: Laws, *, marks: Marks = BY_ARCHITECTURE) -> Rendered:
    """The figure in all formats, a panel for each quantity along the horizontal axis.

    Raises:
        ArgumentError: There is no column that marks are named after.
    """
    for found in points.values():
        check_columns("marks", [marks.colour, *filter(None, [marks.marker]), *marks.joined], found.frame)

    def draw(axes: np.ndarray) -> None:
        panels = list(axes[0])
        models = pd.concat([found.frame for found in points.values()]) if len(panels) > 1 else None
        for ax, (against, found) in zip(panels, points.items(), strict=True):
            draw_scatter(ax, found, laws[against].get(ALL), against=against, marks=marks, beside=models)
        if models is not None:
            of_lines = panels[-1].get_legend()
            handles = mark_handles(models, marks)
            panels[-1].legend(handles=handles, loc="upper left", bbox_to_anchor=(1.02, 1))
            panels[-1].add_artist(of_lines)

    return render(
        draw, columns=len(points), size_inches=(5.6 if len(points) == 1 else 3.9 * len(points), 4.2)
    )


def _write(to: Path, rendered: Rendered, points: Mapping[str, Points], laws: Laws) -> list[Path]:
    to.mkdir(parents=True, exist_ok=True)
    contents = {
        "scatter.png": rendered.png,
        "scatter.pdf": rendered.pdf,
        "scatter-points.csv": next(iter(points.values())).frame.to_csv(index=False).encode(),
        "scatter-fits.csv": laws_frame(laws).to_csv(index=False).encode(),
    }
    return [write_atomically(to / name, content) for name, content in contents.items()]


def _parser() -> argparse.ArgumentParser:
    about = "Draw test error against R, D or G over models, on logarithmic axes, and fit test error = a R^b."
    parser = argparse.ArgumentParser(prog="diffstab scatter", description=about)
    add = parser.add_argument
    add("sources", nargs="+", metavar="SOURCE", help="results folder, or file of comma-separated values")
    add("--against", nargs="+", default=["R"], choices=QUANTITIES, help="along the x axis, a panel each (R)")
    add("--where", default="", metavar="CONDITION", help='on columns, as "n_train >= 512"')
    add("--means", nargs="+", default=(), metavar="COLUMN", help="one point for models that agree in these")
    add("--colour", default="architecture", metavar="COLUMN", help="what colours tell apart")
    add("--marker", default="", metavar="COLUMN", help="what markers tell apart, if not what colours do")
    add("--join", nargs="+", default=(), metavar="COLUMN", help="join points that agree in these by a line")
    add("--fit-by", nargs="+", default=(), metavar="COLUMN", help="fit each of their values too")
    within = "one exponent, and a prefactor for each of their values; A+B for each pair of values"
    add("--fit-within", nargs="+", default=(), metavar="COLUMN", help=within)
    add(
        "--clusters",
        default="",
        metavar="COLUMN",
        help="intervals by leaving out one of its values at a time",
    )
    add("--output", default="results/figures", metavar="FOLDER", help="where files are written")
    return parser
