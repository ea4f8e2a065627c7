"""What a dashboard of the project shows: a section for each experiment, from what it declares, and its trainings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from diffstab.experiments import experiment_class, listed
from diffstab.experiments.unit import Experiment
from diffstab.results.schema import INITIAL, describe
from diffstab.tracking.content import PICTURES, TRAINING, curves_of

_HALF = {"w": 12, "h": 8}
_FITS = "trainer/global_step"
"""What Lightning's own logger draws a single fit against."""
_FOLLOWED = {
    "flow_time": ("loss", "margin_share"),
    "steps": ("loss", "objective", "train_loss", "imbalance", "attraction", "repulsion"),
}
"""What runs of a grid tell during a training."""
_FORCES = ("imbalance", "attraction", "repulsion")
"""Those that each layer has."""
_SEVERAL = (1, 2, 3)
"""Layers, and pictures of one figure, that are looked for."""


class Part(NamedTuple):
    """A section of a workspace, and of a report.

    Attributes:
        name: Its heading.
        text: What to read off it.
        panels: Of wandb_workspaces.
    """

    name: str
    text: str
    panels: Sequence[Any]


def parts() -> list[Part]:
    """Return the sections of the project's dashboard, their panels made anew."""
    classes = {experiment_class(name): one.summary for name, one in listed().items()}
    found = [_experiment(experiment, summary) for experiment, summary in classes.items() if experiment.curve]
    return [*found, _training(), _pictures()]


def _experiment(experiment: type[Experiment], summary: str) -> Part:
    text = f"{summary}. Means over draws, band: standard error."
    return Part(experiment.kind.replace("_", " ").capitalize(), text, list(_panels(experiment)))


def _panels(experiment: type[Experiment]) -> Iterator[Any]:
    curves, x = curves_of(experiment), describe(experiment.curve).noun
    first = curves.measures[0]
    if curves.best:
        yield _curve(f"Least {describe(first).noun} against {x}", curves.best, curves.axis, first)
    for name in curves.measures:
        if not name.startswith(INITIAL):
            yield _curve(f"{_label(name)} against {x}", curves.prefix, curves.axis, name)
        if not experiment.axes:  # a single fit has a logger of its own
            yield _line(f"{_label(name)} of single fits", _FITS, [name])
    if any(axis.name == "method" for axis in experiment.axes):
        title = f"{_label(first)} against {x}, by regime"
        yield _curve(title, curves.prefix, curves.axis, first, group="regime")
    for ratio, error in (("R", "test_error"), ("val_R", "val_error")):
        if {ratio, error} <= set(curves.measures):
            yield _scatter(f"{_label(error)} against R", ratio, error)


def _label(name: str) -> str:
    """Return the name of a column; of one that is logged for a part of the data, with that part."""
    for prefix, part in (("train_", "training"), ("val_", "validation")):
        if describe(name).label == name and name.startswith(prefix):
            return f"{describe(name.removeprefix(prefix)).label}, {part}"
    return describe(name).label


def _training() -> Part:
    drawn = []
    for axis, name in ((axis, name) for axis, names in _FOLLOWED.items() for name in names):
        ends = [f"_{layer}" for layer in _SEVERAL] if name in _FORCES else [""]
        title = f"{_label(name)} against {describe(axis).noun}"
        drawn.append(_line(title, TRAINING + axis, [TRAINING + name + end for end in ends]))
    return Part("Training", "A line per run of a grid, and per layer.", drawn)


def _pictures() -> Part:
    import wandb_workspaces.reports.v2 as wr

    from diffstab.report.pages import figures

    ends = ["", *(f"_{number}" for number in _SEVERAL[1:])]
    drawn = [
        wr.MediaBrowser(title=figure.title, media_keys=[PICTURES + name + end for end in ends])
        for name, (_, figure) in figures().items()
        if figure.of_a_run
    ]
    return Part("Pictures", "Deformed samples, neurons before and after, predictors and forces.", drawn)


def _curve(title: str, prefix: str, axis: str, name: str, *, group: str = "line") -> Any:
    """Return means over runs against the axis of an experiment."""
    import wandb_workspaces.reports.v2 as wr

    return wr.LinePlot(
        title=title,
        x=prefix + axis,
        y=[prefix + name],
        log_x=True,
        log_y=True,
        groupby=wr.Config(group),
        groupby_aggfunc="mean",
        groupby_rangefunc="stderr",
    )


def _line(title: str, x: str, y: list[str]) -> Any:
    """Return a line per run; shares on a linear scale."""
    import wandb_workspaces.reports.v2 as wr

    is_share = describe(y[0].rpartition("/")[2]).share
    return wr.LinePlot(title=title, x=x, y=y, log_x=not is_share, log_y=not is_share)


def _scatter(title: str, x: str, y: str) -> Any:
    import wandb_workspaces.reports.v2 as wr

    return wr.ScatterPlot(title=title, x=wr.SummaryMetric(x), y=wr.SummaryMetric(y))


def laid_out(panels: Sequence[Any]) -> list[Any]:
    """Place the panels of a report two in a row; returns them."""
    import wandb_workspaces.reports.v2 as wr

    for index, panel in enumerate(panels):
        row, column = divmod(index, 2)
        panel.layout = wr.Layout(x=column * _HALF["w"], y=row * _HALF["h"], **_HALF)
    return list(panels)
