"""Figures by name: a plot, or a special drawing, with its title and what to see in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from diffstab.report import plots
from diffstab.report.document import Picture
from diffstab.report.plots import Legend, Plot
from diffstab.report.rendering import render_figure
from diffstab.report.runs import Runs
from diffstab.report.style import figure_style

_PANEL = (4.1, 3.3)
"""Inches of a panel."""


@dataclass(frozen=True)
class NamedFigure:
    """A figure that a page or a command asks for by its name.

    Attributes:
        name: Of its files.
        title: Of the figure.
        content: A plot, or what draws its pictures from runs; none where they lack what it shows.
        says: What to see in a plot, before the meaning of its marks.
        of_a_run: Whether it shows a single run, so that it can be drawn as soon as that is recorded.
    """

    name: str
    title: str
    content: Plot | Callable[[Runs], Iterable[Picture]]
    says: str = ""
    of_a_run: bool = False

    def pictures(self, runs: Runs) -> list[Picture]:
        """Draw the figure; no picture where the runs lack what it shows."""
        if not isinstance(self.content, Plot):
            return list(self.content(runs))
        frame = self.content.frame(runs.frame)
        if not plots.recorded(self.content, frame):
            return []
        return [plot_picture(self.content, frame, name=self.name, says=self.says)]


def plot_picture(plot: Plot, frame: pd.DataFrame, *, name: str, says: str = "") -> Picture:
    """Draw a plot as a picture of a page.

    Args:
        plot: The plot.
        frame: As returned by its method `frame`.
        name: Of the files.
        says: First sentences of the caption.
    """
    with figure_style():
        figure, legend = _drawn(plot, frame)
        rendered = render_figure(figure)
    caption = f"{says} {legend.sentence()}".strip()
    is_wide = plots.shape(plot, frame)[1] > 1
    return Picture(name, rendered, caption, f"{caption} {' '.join(legend.said)}".strip(), wide=is_wide)


def draw_figure(plot: Plot, records: pd.DataFrame) -> Figure:
    """Draw a plot of records, one row per run, on a new figure in the project's look.

    Returns:
        The figure; its method `savefig` writes it.

    Raises:
        ArgumentError: No record has what it shows.
    """
    with figure_style():
        return _drawn(plot, plot.frame(records))[0]


def _drawn(plot: Plot, frame: pd.DataFrame) -> tuple[Figure, Legend]:
    rows, columns = plots.shape(plot, frame)
    figure = Figure(figsize=(_PANEL[0] * columns, _PANEL[1] * rows + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    legend = plots.draw(plot, frame, figure.subplots(rows, columns, squeeze=False))
    plots.add_legend(figure, legend, plot.colour)
    return figure, legend
