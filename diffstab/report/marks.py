"""Marks of plots: what is drawn at the numbers of a statistic."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from diffstab.report.style import FAINT, Look

HOVER, NEXT = "hover:", "¦"
"""Before the texts that a page shows when the pointer is near a mark, and between those of its points."""
DASHED = (0, (4, 3))
DOTTED = (0, (1, 1.6))


class Mark(ABC):
    """A mark; `noun` names it in a caption, and `has_ends` says whether it shows the interval rather than the value."""

    noun: str
    has_ends = False

    @abstractmethod
    def draw(self, ax: Axes, points: pd.DataFrame, look: Look, texts: Sequence[str]) -> None:
        """Draw the columns x, y, low and high; texts belong to the points, where there are any."""


@dataclass(frozen=True)
class PointMark(Mark):
    """A marker at each value.

    Attributes:
        size: In points.
        alpha: Below 1 where many may lie on one another.
        marker: Instead of that of the look.
        noun: Its name.
    """

    size: float = 6.0
    alpha: float = 1.0
    marker: str = ""
    noun: str = "markers"

    def draw(self, ax: Axes, points: pd.DataFrame, look: Look, texts: Sequence[str]) -> None:
        """Draw the markers."""
        settings: dict[str, Any] = {"markersize": self.size, "alpha": self.alpha, "linestyle": "none"}
        # Crosses are all edge, discs none.
        settings["markeredgewidth"] = 1.0 if self.marker == "x" else 0.0
        gid = HOVER + NEXT.join(texts) if texts else None
        ax.plot(
            points["x"],
            points["y"],
            color=look.colour,
            marker=self.marker or look.marker,
            gid=gid,
            **settings,
        )


@dataclass(frozen=True)
class Line(Mark):
    """A line through the values.

    Attributes:
        style: Matplotlib's line style instead of that of the look.
        width: In points.
        noun: Its name.
        colour: Instead of that of the look.
    """

    style: Any = None
    width: float = 1.6
    noun: str = "line"
    colour: str = ""

    def draw(self, ax: Axes, points: pd.DataFrame, look: Look, texts: Sequence[str]) -> None:
        """Draw the line; one value alone is a dash."""
        is_dash = len(points) == 1 and self.style is not None
        alone: dict[str, Any] = {"marker": "_", "markersize": 14} if is_dash else {}
        style = look.linestyle if self.style is None else self.style
        colour = self.colour or look.colour
        ax.plot(points["x"], points["y"], color=colour, linestyle=style, linewidth=self.width, **alone)


@dataclass(frozen=True)
class Band(Mark):
    """A band from the lower to the upper end of the interval, with a bar at each value."""

    noun = "band"
    has_ends = True

    def draw(self, ax: Axes, points: pd.DataFrame, look: Look, texts: Sequence[str]) -> None:
        """Draw the band."""
        ends = points[["x", "low", "high"]].to_numpy(dtype=np.float64).T
        ax.vlines(*ends, color=look.colour, alpha=0.45, linewidth=1)
        ax.fill_between(*ends, color=look.colour, alpha=0.16, linewidth=0)


@dataclass(frozen=True)
class ErrorBars(Mark):
    """A bar from the lower to the upper end of the interval."""

    width: float = 1.4
    alpha: float = 1.0
    noun = "bars"
    has_ends = True

    def draw(self, ax: Axes, points: pd.DataFrame, look: Look, texts: Sequence[str]) -> None:
        """Draw the bars."""
        ends = points[["x", "low", "high"]].to_numpy(dtype=np.float64).T
        ax.vlines(*ends, color=look.colour, linewidth=self.width, alpha=self.alpha)


@dataclass(frozen=True)
class Bars(Mark):
    """A column from zero to each value: of a bar chart, or of a histogram with a statistic that counts."""

    width: float = 0.8
    noun = "columns"

    def draw(self, ax: Axes, points: pd.DataFrame, look: Look, texts: Sequence[str]) -> None:
        """Draw the columns, as wide as the least gap between them allows."""
        x = points["x"].to_numpy(dtype=np.float64)
        gap = float(np.diff(np.unique(x)).min()) if len(np.unique(x)) > 1 else 1.0
        ax.bar(x, points["y"], width=self.width * gap, color=look.colour, alpha=0.7, linewidth=0)


MARKS: dict[str, Mark] = {
    "markers": PointMark(),
    "small markers": PointMark(4.0),
    "faint markers": PointMark(5.0, 0.65),
    "diamonds": PointMark(marker="D"),
    "crosses": PointMark(4.5, 0.9, "x", "crosses"),
    "dots": PointMark(3.0),
    "faint points": PointMark(3.8, 0.35, "o", "faint points"),
    "line": Line(),
    "dashed line": Line(DASHED, 1.2, "dashed line"),
    "dotted line": Line(DOTTED, 1.5, "dotted line"),
    "grey line": Line("-", 1.2, "grey line", FAINT),
    "band": Band(),
    "bars": ErrorBars(),
    "thick bars": ErrorBars(4.0, 0.4),
    "columns": Bars(),
}
"""The marks by name; each goes with every statistic."""
