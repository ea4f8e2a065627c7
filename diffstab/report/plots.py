"""A plot as data: columns, statistics, marks and scales; and how it is drawn on axes.

    Plot("n_train", ("R",), (Layer(MEAN, Band()), Layer(MEAN, Line())), facets=("dataset",))

draws R against n, a colour per method and a panel per data set. Labels and units come from `diffstab.results.schema`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from diffstab.errors import ArgumentError
from diffstab.report.intervals import DIFFERENCE
from diffstab.report.marks import DASHED, Line, Mark, PointMark
from diffstab.report.scales import ROUNDING, Scale, set_scale
from diffstab.report.style import FAINT, Look, palette, plain
from diffstab.report.summaries import Statistic
from diffstab.report.tables import column, grouped
from diffstab.report.words import capital, column_of, interval_text, ordered, value_text

WIDEST = 3
"""Panels in a row of a figure that shows one quantity."""
_TITLE = 44
"""Letters of a line of a panel's title."""
_ENDS = ["y", "low", "high"]


@dataclass(frozen=True)
class Layer:
    """A statistic and the mark that shows it.

    Attributes:
        statistic: Of the values at each place of the first axis.
        mark: How it is drawn.
        y: Column, with {y} for that of the panel.
        where: Column of truth values that chooses the rows; "" takes all.
        says: What it shows, for legend and caption, where the statistic does not say it.
        each: Column by whose values the layer is drawn again and again (a line per seed, say).
        colour: Instead of the colour of the look.
        is_spread: Whether it is drawn only where several rows share a place.
    """

    statistic: Statistic
    mark: Mark
    y: str = "{y}"
    where: str = ""
    says: str = ""
    each: str = ""
    colour: str = ""
    is_spread: bool = False

    def tables(self, frame: pd.DataFrame, *, x: str, y: str) -> Iterator[pd.DataFrame]:
        """Yield what the mark is drawn at, in displayed units."""
        chosen = frame[frame[self.where].astype(bool)] if self.where else frame
        if self.is_spread and not chosen[x].duplicated().any():
            return
        for part in [part for _, part in chosen.groupby(self.each)] if self.each else [chosen]:
            table = self.statistic.table(part, x=x, y=self.y.format(y=y))
            if self.mark.has_ends:
                table = table[np.isfinite((table["high"] - table["low"]).astype("float64"))]
            if len(table):
                yield table.assign(**{end: column_of(y).factor * table[end] for end in _ENDS})

    def meaning(self, *, is_own: bool) -> str:
        """What the mark shows, for a caption; `is_own` where its intervals are those of single records."""
        if self.says or not self.mark.has_ends:
            return self.says or self.statistic.noun
        own = "95 % interval over test images (one draw)"
        return own if is_own and self.statistic.interval else self.statistic.interval

    def handle(self) -> Line2D:
        """Its entry in a legend."""
        colour = self.colour or FAINT
        if isinstance(self.mark, PointMark):
            marker = self.mark.marker or "o"
            return Line2D([], [], color=colour, linestyle="none", marker=marker, markersize=4)
        return Line2D([], [], color=colour, linestyle=getattr(self.mark, "style", None) or "-")


@dataclass(frozen=True)
class Reference:
    """A line or strip across a panel, at a number or at the value of a column that is one within the panel.

    Attributes:
        at: Number or column; "diagonal" is the line y = x.
        to: Other end of a strip; None for a line.
        is_vertical: Whether it stands on the first axis.
        label: Its name in the legend; "" for none.
        style: Of a line.
        colour: Its colour.
    """

    at: float | str
    to: float | str | None = None
    is_vertical: bool = False
    label: str = ""
    style: Any = DASHED
    colour: str = FAINT

    def draw(self, ax: Axes, part: pd.DataFrame, legend: Legend) -> None:
        """Draw it where its columns have a value."""
        line: dict[str, Any] = {"color": self.colour, "linewidth": 1, "linestyle": self.style}
        if self.at == "diagonal":
            line["linestyle"] = "-"
            ax.axline((1, 1), slope=1, **line)
            legend.name(self.label, Line2D([], [], **line))
            return
        ends = [_value(part, end) for end in (self.at, self.to) if end is not None]
        # A strip without width is not seen.
        if not np.isfinite(ends).all() or len(ends) > len(set(ends)):
            return
        if self.to is None:
            (ax.axvline if self.is_vertical else ax.axhline)(ends[0], **line)
            legend.name(self.label, Line2D([], [], **line))
        else:
            strip = ax.axvspan if self.is_vertical else ax.axhspan
            strip(*ends, color=self.colour, alpha=0.25, linewidth=0)
            legend.name(self.label, Line2D([], [], color=self.colour, linewidth=7, alpha=0.4))


@dataclass(frozen=True)
class Plot:
    """A plot of records.

    Attributes:
        x: Column of the first axis.
        y: Columns of the second, a row of panels each; one that no record has gets no row.
        layers: What is drawn, from the back to the front.
        colour: Column that tells the lines apart.
        facets: Columns whose values get panels of their own.
        scales: Of the two axes.
        references: Lines and strips behind the rest.
        prepare: Makes of the records of a run what is drawn; None takes them as they are.
        across: Whether facets stand in rows and quantities in columns.
        label: Of the second axis, instead of that of its column.
    """

    x: str
    y: tuple[str, ...]
    layers: tuple[Layer, ...]
    colour: str = "method"
    facets: tuple[str, ...] = ()
    scales: tuple[Scale, Scale] = ("sizes", "auto")
    references: tuple[Reference, ...] = ()
    prepare: Callable[[pd.DataFrame], pd.DataFrame] | None = None
    across: bool = False
    label: str = ""

    def frame(self, records: pd.DataFrame) -> pd.DataFrame:
        """The rows that are drawn, with the column of colours as text."""
        frame = self.prepare(records) if self.prepare else records
        if self.colour not in frame:
            frame = frame.assign(**{self.colour: ""})
        return frame.assign(**{self.colour: frame[self.colour].astype("str")})


@dataclass
class Legend:
    """What a plot has drawn: the entries of its legend and the sentences of its caption."""

    colours: dict[str, Look] = field(default_factory=dict)
    names: dict[str, Line2D] = field(default_factory=dict)
    meanings: dict[str, dict[str, None]] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    marker: str = ""
    has_lines: bool = False

    def name(self, label: str, handle: Line2D) -> None:
        """Add an entry that is no colour; one without a label is none."""
        if label:
            self.names.setdefault(label, handle)

    def see(self, layer: Layer) -> None:
        """Keep how a layer shows the colours, so that their entries look like what is drawn."""
        if isinstance(layer.mark, PointMark) and not layer.says and not layer.is_spread:
            self.marker = layer.mark.marker
        self.has_lines |= isinstance(layer.mark, Line) and not layer.says

    def sentence(self) -> str:
        """What the marks mean: "Line and markers: mean over draws; faint points: single draws."."""
        texts = [f"{' and '.join(marks)}: {meaning}" for meaning, marks in self.meanings.items()]
        return capital(f"{'; '.join(texts)}.") if texts else ""

    def handles(self, column: str) -> dict[str, Line2D]:
        """The entries of the legend; one colour alone needs none."""
        found: dict[str, Line2D] = {}
        is_told = column == "pair" or len(self.colours) + len(self.names) > 1
        for value, look in self.colours.items() if is_told else ():
            style: dict[str, Any] = {"color": look.colour, "linewidth": 1.6}
            style["marker"] = self.marker or look.marker
            style["linestyle"] = look.linestyle if self.has_lines else "none"
            found[plain(value_text(column, value))] = Line2D([], [], **style)
        return {label: handle for label, handle in (found | self.names).items() if label.strip()}


def panels(plot: Plot, frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return (title, rows) of each panel, in the order of its facets."""
    if not plot.facets:
        return [("", frame)]
    return [
        (", ".join(value_text(*pair, named=True) for pair in zip(plot.facets, keys, strict=True)), part)
        for keys, part in grouped(frame, plot.facets)
    ]


def recorded(plot: Plot, frame: pd.DataFrame) -> list[str]:
    """Return the quantities that any row has."""
    return [name for name in plot.y if name in frame and np.isfinite(frame[name].astype("float64")).any()]


def shape(plot: Plot, frame: pd.DataFrame) -> tuple[int, int]:
    """Return rows and columns of panels.

    Raises:
        ArgumentError: No row has a value of any of the quantities.
    """
    names, count = len(recorded(plot, frame)), len(panels(plot, frame))
    if not names:
        raise ArgumentError("frame", f"have a value of {' or '.join(plot.y)}", "none")
    if min(names, count) > 1:
        return (count, names) if plot.across else (names, count)
    every = names * count
    columns = 2 if every == 4 else min(every, WIDEST)
    return -(-every // columns), columns


def draw(plot: Plot, frame: pd.DataFrame, axes: np.ndarray) -> Legend:
    """Draw a frame, made by the plot's method `frame`, on axes of the shape that `shape` returns."""
    legend, names, parts = Legend(), recorded(plot, frame), panels(plot, frame)
    colours = palette(plot.colour, [str(value) for value in ordered(plot.colour, frame[plot.colour])])
    is_turned = plot.across and min(len(names), len(parts)) > 1
    cells = iter((axes.T if is_turned else axes).ravel())
    for name in names:
        for title, part in parts:
            panel = _Panel(next(cells), plot, name, part, legend)
            if np.isfinite(part[name].astype("float64")).any():
                panel.draw(colours, title)
                panel.ax.set_title(textwrap.fill(plain(title), _TITLE) if len(parts) > 1 else "")
    for ax in axes.ravel():
        ax.set_visible(ax.has_data())
    return legend


def add_legend(figure: Figure, legend: Legend, column: str) -> None:
    """Put one legend above all panels, where there is more than one thing to tell apart."""
    if handles := legend.handles(column):
        # Inches of the entries in letters of 9 points.
        widths = [0.6 + 0.075 * len(label) for label in handles]
        fitting = [n for n in range(1, len(widths) + 1) if _row_inches(widths, n) <= figure.get_figwidth()]
        columns = max(fitting, default=1)
        figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=columns)
        # Further rows of the legend must not take the room of the panels.
        figure.set_figheight(figure.get_figheight() + 0.2 * (-(-len(handles) // columns) - 1))


def _row_inches(widths: list[float], columns: int) -> float:
    """The width of a legend of so many columns, filled one after another."""
    return sum(float(max(part)) for part in np.array_split(widths, columns))


@dataclass(frozen=True)
class _Panel:
    """One quantity of one group of rows, and the axes that it is drawn on."""

    ax: Axes
    plot: Plot
    y: str
    part: pd.DataFrame
    legend: Legend

    def draw(self, colours: dict[str, Look], title: str) -> None:
        """Draw everything; the title is that of the group."""
        least, drawn, said = self._least(), [], []
        for value, look in colours.items():
            mine = self.part[self.part[self.plot.colour] == value]
            for layer in self.plot.layers:
                for table in layer.tables(mine, x=self.plot.x, y=self.y):
                    shown = table[table["y"] >= least]
                    if len(shown):
                        drawn.append(self._layer(layer, shown, look, value))
                        said += self._course(layer, shown, value)
        if said:
            self.legend.said.append(
                f"{column_of(self.y).label}{f' ({title})' if title else ''}: {'; '.join(said)}."
            )
        for reference in self.plot.references:
            reference.draw(self.ax, self.part, self.legend)
        if drawn:
            points = pd.concat(drawn)
            set_scale(self.ax, "x", points["x"].to_numpy(dtype=np.float64), self.plot.scales[0])
            heights = points[_ENDS].to_numpy(dtype=np.float64).ravel()
            set_scale(self.ax, "y", heights[np.isfinite(heights)], self.plot.scales[1])
        self.ax.set_xlabel(_axis_label(self.plot.x))
        self.ax.set_ylabel(self.plot.label or _axis_label(self.y))

    def _layer(self, layer: Layer, table: pd.DataFrame, look: Look, value: str) -> pd.DataFrame:
        """Draw one layer of one colour; return where it is."""
        has_ends = layer.mark.has_ends
        texts = [] if has_ends or layer.is_spread else [self._text(row, value) for row in table.itertuples()]
        layer.mark.draw(self.ax, table, look._replace(colour=layer.colour or look.colour), texts)
        self.legend.colours.setdefault(value, look)
        self.legend.see(layer)
        meaning = layer.meaning(is_own=bool(table["is_own"].all()))
        self.legend.meanings.setdefault(meaning, {})[layer.mark.noun] = None
        if not has_ends:
            self.legend.name(layer.says, layer.handle())
        return table if has_ends else table.assign(low=table["y"], high=table["y"])

    def _course(self, layer: Layer, table: pd.DataFrame, value: str) -> list[str]:
        """The first and the last point of a layer of markers, for readers who cannot see it."""
        if not isinstance(layer.mark, PointMark) or layer.is_spread or layer.says:
            return []
        ends = table.iloc[[0, -1]] if len(table) > 1 else table
        return [self._text(row, value) for row in ends.itertuples()]

    def _text(self, row: Any, value: str) -> str:
        """A point in words, for the pointer: "feature, n = 64: 17.9 % [17.1, 18.7], 15 draws"."""
        prefix = f"{value_text(self.plot.colour, value)}, " if value else ""
        factor = column_of(self.y).factor
        text = interval_text(self.y, row.y / factor, row.low / factor, row.high / factor)
        draws = f", {row.draws} draws" if row.draws > 1 else ""
        return f"{prefix}{value_text(self.plot.x, row.x, named=True)}: {text}{draws}"

    def _least(self) -> float:
        """The least value to draw: on a log axis what is not positive has no place, and rounding is no data."""
        values = column_of(self.y).factor * self.part[self.y].to_numpy(dtype=np.float64)
        values, scale = values[np.isfinite(values)], self.plot.scales[1]
        is_log = scale == "log" or (scale == "auto" and values.min() > 0)
        return max(ROUNDING * float(values.max()), np.finfo(float).tiny) if is_log else -np.inf


def _value(part: pd.DataFrame, at: float | str) -> float:
    if not isinstance(at, str):
        return float(at)
    known = column(part, at).dropna()
    return float(known.iloc[0]) if len(known) else np.nan


def _axis_label(name: str) -> str:
    shown = column_of(name)
    unit = (shown.difference_unit if name.startswith(DIFFERENCE) else shown.unit).strip()
    return plain(shown.label) + (f" ({unit})" if unit else "")
