"""The pictures of the page of plateaus: each figure drawn, named, captioned and put into words."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from diffstab.report.document import Picture
from diffstab.report.l2 import plateau_figures as figures
from diffstab.report.l2.forces_figures import LAYERS
from diffstab.report.l2.plateau_figures import LOOKS, Line
from diffstab.report.l2.plateau_runs import Start, best_runs, floors, hidden_layers, optimisers
from diffstab.report.numbers import number_text
from diffstab.report.pictures import file_stem
from diffstab.report.rendering import render
from diffstab.report.style import FAINT, Look
from diffstab.report.tables import is_recorded

_PANEL = (4.4, 3.8)
_SEEDS = 4
"""So many seeds get a row of panels of their own."""


def case_stem(part: pd.DataFrame) -> str:
    """The part of a file name that stands for the data set and size."""
    return f"{file_stem(str(part['dataset'].iloc[0]))}-n{part['n_train'].iloc[0]}"


KINDS = ("loss", "norm", "error", "rank")
"""What is drawn against the width."""


def case_pictures(
    part: pd.DataFrame,
    starts: Sequence[Start],
    settings: Mapping[str, Any],
    *,
    kinds: Sequence[str] = KINDS,
) -> list[Picture]:
    """The pictures of one data set and size.

    Args:
        part: Its records as returned by `plateau_frame`.
        starts: Its plateaus, one at least.
        settings: As returned by `run_settings`.
        kinds: Those to draw, of `KINDS`.
    """
    drawings: dict[str, Callable[[], Picture | None]] = {
        "loss": lambda: loss_picture(part, starts, tolerance=float(settings["plateau_tolerance"])),
        "norm": lambda: norm_picture(part, interpolation=bool(settings.get("interpolation"))),
        "error": lambda: error_picture(part),
        "rank": lambda: rank_picture(part),
    }
    drawn = [drawings[kind]() for kind in kinds]
    return [picture for picture in drawn if picture is not None]


def loss_picture(part: pd.DataFrame, starts: Sequence[Start], *, tolerance: float) -> Picture:
    """Loss against width, and its height above the smallest loss, a row per seed."""
    smallest = floors(part)
    seeds = sorted({start.seed for start in starts})[:_SEEDS]

    def draw(axes: np.ndarray) -> None:
        for row, seed in zip(axes, seeds, strict=True):
            runs = part[part["seed"] == seed]
            mine = [start for start in starts if start.seed == seed]
            figures.losses(row[0], runs, starts=mine, tolerance=tolerance)
            figures.excess(row[1], runs, starts=mine, floor=smallest[seed], tolerance=tolerance)
            for ax in row:
                ax.set_xlabel(f"{ax.get_xlabel()} (seed {seed})")

    caption = (
        "Left: the loss at the end of every restart (faint discs) and the best of each width. Band: up to "
        f"{100 * tolerance:g} % above the smallest loss; dashed: the least width whose best loss, or that of a "
        "narrower net, is in it; grey: its 95 % interval over restarts. Crosses: restarts from there on that ended "
        "above the band. Right: the same losses as shares above the smallest one of all optimisers; what is below "
        "10⁻⁶ is drawn there."
    )
    if not figures.in_reach(part).all():
        caption += " Triangles at the top: widths with restarts that met no targets or ended far above the best nets."
    if (part["optimiser"] == "covariances").any():
        caption += (
            " Dashed across: the minimum over the covariances, which find their own width (diamond), with the"
        )
        caption += " gap to its lower bound, or to an estimate of it, shaded."
    said = [
        f"seed {start.seed}, {start.optimiser}: the best loss falls to {number_text(start.found.floor)} and is within "
        f"{100 * tolerance:g} % of it from {start.found.width} neurons on"
        for start in starts
    ]
    size = (2.15 * _PANEL[0], _PANEL[1] * len(seeds))
    stem = f"{case_stem(part)}-loss"
    rendered = render(draw, name=stem, size_inches=size, rows=len(seeds), columns=2)
    return Picture(stem, rendered, caption, f"Loss against width. {'; '.join(said)}.", wide=True)


def norm_picture(part: pd.DataFrame, *, interpolation: bool) -> Picture:
    """The squared norm of the best net of each width."""
    name = "squared_norm"
    lines = {(optimiser, name): Line(optimiser, LOOKS[optimiser]) for optimiser in optimisers(part)}
    known = float(part["known_cost"].dropna().iloc[0]) if is_recorded(part, "known_cost") else np.nan

    def draw(axes: np.ndarray) -> None:
        ax = axes.item()
        if np.isfinite(known):
            ax.axhline(known, color=FAINT, linewidth=1, label=f"R of theory = {known:g}")
        figures.against_width(ax, part, lines)
        ax.set_ylabel("Squared norm of the weights")

    what = (
        "the least found at the targets, R(X, Y)" if interpolation else "at the minimum of the penalised loss"
    )
    caption = f"Squared norm of the weights of the best net of each width: {what}.{_spread(part)}"
    return _single(
        part, "norm", draw, caption, [_course(part, name, optimiser) for optimiser in optimisers(part)]
    )


def error_picture(part: pd.DataFrame) -> Picture:
    """Training and test error of the best net of each width."""
    classes = bool((part["error_kind"] == "misclassified").any())
    factor = 100.0 if classes else 1.0
    names = [name for name in ("train_error", "test_error") if is_recorded(part, name)]
    lines = {}
    for optimiser in optimisers(part):
        look = LOOKS[optimiser]
        for name in names:
            # One entry of the legend for each optimiser: the kinds of points differ by the line.
            is_test = name == names[-1]
            shown = look._replace(linestyle="-" if is_test else ":")
            label = optimiser if is_test else f"{optimiser}, training points"
            lines[optimiser, name] = Line(label, shown, factor, is_listed=is_test)

    def draw(axes: np.ndarray) -> None:
        ax = figures.against_width(axes.item(), part, lines)
        ax.set_ylabel("Misclassified (%)" if classes else "Mean square error")

    kind = "Share of misclassified points" if classes else "Mean square error"
    which = "Solid: test points; dotted: training points." if len(names) > 1 else "Training points."
    caption = f"{kind} of the best net of each width. {which}{_spread(part)}"
    if "test_error" not in names:
        caption += " These data have no test points."
    said = [_course(part, name, optimiser, factor=factor) for optimiser in optimisers(part) for name in names]
    return _single(part, "error", draw, caption, said)


def rank_picture(part: pd.DataFrame) -> Picture | None:
    """Neurons left by pruning, and bounds on the rank, against the width; None where they are not recorded."""
    optimiser = optimisers(part)[0]
    runs = part[part["optimiser"] == optimiser]
    looks: dict[int, Look] = {
        layer: LAYERS[(layer - 1) % len(LAYERS)]
        for layer in range(1, hidden_layers(runs) + 1)
        if is_recorded(runs, f"pruned_widths_{layer}")
    }
    if not looks:
        return None
    n = int(part["n_train"].iloc[0])
    caption = (
        f"Neurons left of the best net of each width ({optimiser}) when dead ones are dropped and aligned ones merged. "
        f"Theory: at a minimum at most N (N + 1) = {number_text(n * (n + 1), decimals=0)} are needed.{_spread(part)}"
    )
    if any(is_recorded(runs, f"rank_lower_{layer}") for layer in looks):
        caption += " Bars: lower and upper bound of the rank of its covariances."
    said = [
        _course(runs, f"pruned_widths_{layer}", optimiser, label=f"neurons left in layer {layer}")
        for layer in looks
    ]
    return _single(part, "rank", lambda axes: figures.ranks(axes.item(), runs, layers=looks), caption, said)


def _spread(part: pd.DataFrame) -> str:
    return " Line: mean over seeds; faint: single seeds." if part["seed"].nunique() > 1 else ""


def _course(
    part: pd.DataFrame, name: str, optimiser: str, *, factor: float = 1.0, label: str | None = None
) -> str:
    """The mean over seeds at the narrowest and at the widest net that found a minimum."""
    best = best_runs(part[part["optimiser"] == optimiser])
    best = best[np.isfinite(best["loss"])]
    means = factor * best.groupby("width")[name].mean()
    ends = [f"{number_text(float(means.loc[width]))} at width {width}" for width in means.index[[0, -1]]]
    return f"{label or name.replace('_', ' ')}, {optimiser}: {' and '.join(dict.fromkeys(ends))}"


def _single(
    part: pd.DataFrame, name: str, draw: Callable[[np.ndarray], object], caption: str, said: Sequence[str]
) -> Picture:
    stem = f"{case_stem(part)}-{name}"
    rendered = render(draw, name=stem, size_inches=_PANEL)
    return Picture(stem, rendered, caption, f"{'; '.join(said)}.")
