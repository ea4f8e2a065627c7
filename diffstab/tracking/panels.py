"""What a dashboard of the project shows, section by section, on what runs log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from diffstab.tracking.content import BEST

_HALF = {"w": 12, "h": 8}
_IMAGES = (
    *("neurons", "deformations", "circle-constant", "neurons-d2-constant", "neurons-d3-constant"),
    *("layer1-forces", "layer2-forces", "force_sizes", "imbalance", "structure"),
    *("loss_vs_width", "norm_vs_width", "error_vs_width", "neurons_left"),
)


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
    return [_errors(), _stability(), _training(), _fits(), _sphere(), _plateau(), _forces(), _pictures()]


def _errors() -> Part:
    drawn = [
        _curve("Test error against n, by regime", "image/n_train", ["image/test_error"], group="regime"),
        _curve("Test error against n, by method", "image/n_train", ["image/test_error"], group="line"),
    ]
    return Part("Test error", "Images: mean over draws, band: standard error.", drawn)


def _stability() -> Part:
    names = {"D": "sensitivity to deformations", "G": "sensitivity to noise", "R": "D / G"}
    drawn = [
        _curve(f"{name} against n: {text}", "image/n_train", [f"image/{name}"], group="regime")
        for name, text in names.items()
    ]
    drawn.append(_scatter("Test error against R", "R", "test_error"))
    return Part("Stability", "Small means stable. The initial values are logged as image/init_*.", drawn)


def _training() -> Part:
    drawn = [
        _line("Loss against flow time", "train/flow_time", ["train/loss"], logarithmic=True),
        _line("Share with margin 1 against flow time", "train/flow_time", ["train/margin_share"]),
        _line("Loss against steps", "train/steps", ["train/loss"], logarithmic=True),
        _line("Objective on the sphere against steps", "train/steps", ["train/objective"], logarithmic=True),
    ]
    return Part("Training", "A line per run of a grid.", drawn)


def _fits() -> Part:
    step = "trainer/global_step"
    drawn = [
        _line("Training loss", step, ["train_loss"], logarithmic=True),
        _line("Error", step, ["train_error", "val_error"]),
        _line("D and G", step, ["val_D", "val_G"], logarithmic=True),
        _line("R", step, ["val_R"]),
        _line("Training loss of fits in a grid", "train/steps", ["train/train_loss"], logarithmic=True),
        _scatter("Validation error against R", "val_R", "val_error"),
    ]
    return Part("Fits", "One net under Lightning: a line per run against its own steps.", drawn)


def _sphere() -> Part:
    x = "sphere/n_train"
    drawn = [
        _curve("Mean square error against n", x, ["sphere/test_error"], group="line", both=True),
        _curve("Error in theory (lazy)", x, ["sphere/theory_error"], group="line", both=True),
        _curve("Sensitivity to rotations", x, ["sphere/D_rotation"], group="line", both=True),
        _curve("Atoms of the feature predictor", x, ["sphere/n_atoms"], group="line", both=True),
    ]
    return Part("Sphere", "Slopes of the first panel are minus the exponents of the learning curves.", drawn)


def _plateau() -> Part:
    drawn = [
        _curve("Least loss against width", f"{BEST}width", [f"{BEST}loss"], group="line", both=True),
        _curve("Loss of every start", "plateau/width", ["plateau/loss"], group="line", both=True),
        _curve("Test error against width", "plateau/width", ["plateau/test_error"], group="line"),
    ]
    return Part("Plateau", "L2-regularised nets: from some width on more neurons gain nothing.", drawn)


def _forces() -> Part:
    layers = (1, 2, 3)
    drawn = [
        _line(title, "forces/steps", [f"forces/{name}_{layer}" for layer in layers], logarithmic=True)
        for title, name in (
            ("Imbalance: 0 where attraction and repulsion cancel", "imbalance"),
            ("Attraction", "attraction"),
            ("Repulsion", "repulsion"),
        )
    ]
    drawn.append(_line("Loss", "forces/steps", ["forces/loss"], logarithmic=True))
    return Part("Forces", "Sizes of the forces on the representations of each layer.", drawn)


def _pictures() -> Part:
    import wandb_workspaces.reports.v2 as wr

    drawn = [
        wr.MediaBrowser(
            title=name.replace("_", " ").replace("-", " ").capitalize(), media_keys=[f"images/{name}"]
        )
        for name in _IMAGES
    ]
    return Part("Images", "Deformed samples, neurons before and after, predictors and forces.", drawn)


def _curve(title: str, x: str, y: list[str], *, group: str, both: bool = False) -> Any:
    """Return means over runs against a place in the grid, on a log axis, or on two."""
    import wandb_workspaces.reports.v2 as wr

    return wr.LinePlot(
        title=title,
        x=x,
        y=y,
        log_x=True,
        log_y=both,
        groupby=wr.Config(group),
        groupby_aggfunc="mean",
        groupby_rangefunc="stderr",
    )


def _line(title: str, x: str, y: list[str], *, logarithmic: bool = False) -> Any:
    """Return a line per run."""
    import wandb_workspaces.reports.v2 as wr

    return wr.LinePlot(title=title, x=x, y=y, log_x=logarithmic, log_y=logarithmic)


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
