"""The pictures of the page of forces: each figure drawn, named, captioned and put into words."""

from collections.abc import Mapping
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from diffstab.errors import ResultsError
from diffstab.report.document import Picture
from diffstab.report.l2 import forces_figures as figures
from diffstab.report.l2.forces_figures import ATTRACTION, LAYERS, REPULSION, Snapshot
from diffstab.report.numbers import number_text
from diffstab.report.rendering import render
from diffstab.report.style import Look

_PANEL = (4.0, 3.4)
_TITLES = {1: ("End",), 2: ("Start", "End"), 3: ("Start", "Middle", "End")}
_ARROWS = "blue arrows: attraction, red: repulsion, black: their sum, at one scale in each panel."


def read_snapshots(path: Path) -> tuple[dict[int, list[Snapshot]], np.ndarray | None]:
    """Return the kept states of each hidden layer, by its number l = 1 ... L - 1, and the classes of the points.

    Args:
        path: File of arrays of one seed as written by `diffstab forces`.

    Raises:
        ResultsError: If the file is missing or damaged.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        steps = sorted({int(name.split("_")[0].removeprefix("step")) for name in arrays if "_" in name})
        layers = sorted({int(name.split("_z")[1]) for name in arrays if "_z" in name})
        found = {
            layer: [
                Snapshot(
                    step, *(arrays[f"step{step}_{what}{layer}"] for what in ("z", "attraction", "repulsion"))
                )
                for step in steps
            ]
            for layer in layers
        }
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        message = f"{path} does not hold the layers of a run ({error})."
        raise ResultsError(f"{message} Remove its record and start the same command again.") from error
    return found, arrays.get("labels")


def layer_picture(layer: int, states: list[Snapshot], *, labels: np.ndarray | None, alt: str) -> Picture:
    """Data points, then neurons, of a hidden layer from the start to the end of training.

    Args:
        layer: Its number.
        states: Its kept states.
        labels: Class of each point.
        alt: What the picture says.
    """
    titles = _TITLES.get(len(states), ("",) * len(states))

    def draw(axes: np.ndarray) -> None:
        for column, (title, state) in zip(axes.T, zip(titles, states, strict=True), strict=True):
            figures.points_and_forces(column[0], state, labels=labels).set_title(
                f"{title}, step {state.step}"
            )
            figures.neurons_and_forces(column[1], state)
        axes[0, 0].set_ylabel("Data points")
        axes[1, 0].set_ylabel("Neurons")

    stem = f"layer{layer}-forces"
    size = (_PANEL[0] * len(states), 2 * _PANEL[1])
    rendered = render(draw, name=stem, size_inches=size, rows=2, columns=len(states))
    points = "discs" if labels is None else "numerals of their class"
    caption = (
        f"Layer {layer}. Above: data points (columns of Z), as {points}, on two principal components about their mean; "
        f"forces on 25 of them. Below: neurons (rows of Z) as rays from the origin; {_ARROWS} Each panel has its own "
        "components."
    )
    return Picture(stem, rendered, caption, alt, as_png=True, wide=True)


def sizes_picture(frame: pd.DataFrame, *, layers: int) -> Picture:
    """The sizes of the two forces against the step, a panel per layer."""

    def draw(axes: np.ndarray) -> None:
        for layer, ax in enumerate(axes[0], start=1):
            lines = {
                f"attraction_{layer}": ("attraction", Look(ATTRACTION, "o", "-")),
                f"repulsion_{layer}": ("repulsion", Look(REPULSION, "s", (0, (5, 2)))),
            }
            figures.trace(ax, frame, lines)
            ax.set_title(f"Layer {layer}" + (" (output)" if layer == layers else ""), loc="right")
        axes[0, 0].set_ylabel("Size of the force, Frobenius norm")

    caption = (
        "Sizes of attraction and repulsion. In the output layer the gradient of the cost takes the part of the "
        "repulsion. Dashed: gradient descent ends and Adam begins, Adam ends and the finish begins."
    )
    ends = [
        f"layer {layer}: {_ends(frame, f'attraction_{layer}')} and {_ends(frame, f'repulsion_{layer}')}"
        for layer in range(1, layers + 1)
    ]
    alt = f"Attraction and repulsion from start to end: {'; '.join(ends)}."
    size = (_PANEL[0] * layers, _PANEL[1])
    rendered = render(draw, name="sizes", size_inches=size, columns=layers)
    return Picture("sizes", rendered, caption, alt, wide=True)


def cancellation_picture(frame: pd.DataFrame, *, layers: int) -> Picture:
    """The imbalance of each layer, and the loss, against the step."""
    lines: dict[str, tuple[str, Look]] = {}
    for layer in range(1, layers + 1):
        look = LAYERS[(layer - 1) % len(LAYERS)]
        lines[f"imbalance_{layer}"] = (f"layer {layer}", look)
        if layer < layers:
            lines[f"fixed_imbalance_{layer}"] = (f"layer {layer}, slope 0", Look(look.colour, "", ":"))

    def draw(axes: np.ndarray) -> None:
        figures.trace(axes[0, 0], frame, lines).set_ylabel("Imbalance")
        loss = {"loss": ("regularised loss", Look("#000000", "o", "-"))}
        figures.trace(axes[0, 1], frame, loss).set_ylabel("Loss")

    caption = (
        "Left: |attraction + repulsion| / (|attraction| + |repulsion|) of each layer: 0 where they cancel. Dotted: "
        "with slope 0 of relu at its kink; a minimum may need another slope between 0 and 1, which the solid lines "
        "take. Right: the loss."
    )
    ends = [f"layer {layer}: {_ends(frame, f'imbalance_{layer}')}" for layer in range(1, layers + 1)]
    alt = f"Imbalance from start to end: {'; '.join(ends)}. Loss: {_ends(frame, 'loss')}."
    rendered = render(draw, name="cancellation", size_inches=(2.3 * _PANEL[0], 1.25 * _PANEL[1]), columns=2)
    return Picture("cancellation", rendered, caption, alt, wide=True)


def structure_picture(frame: pd.DataFrame, *, layers: int) -> Picture:
    """Separation of the classes, aligned neurons, rays and rank against the step."""
    hidden = range(1, layers)
    panels: list[tuple[str, Mapping[str, str]]] = [
        ("Aligned neurons, share", {"aligned_share": "-"}),
        ("Rays, and rank of Z", {"groups": "-", "rank": ":"}),
    ]
    separated = bool(np.isfinite(frame["separation_1"]).all())
    if separated:
        panels.insert(0, ("Scatter between classes, share", {"separation": "-"}))

    def draw(axes: np.ndarray) -> None:
        for ax, (title, names) in zip(axes[0], panels, strict=True):
            lines = {
                f"{name}_{layer}": (_label(name, layer), _look(layer, style))
                for name, style in names.items()
                for layer in hidden
            }
            figures.trace(ax, frame, lines, logarithmic=False).set_ylabel(title)
            ax.set_ylim(bottom=0)

    caption = "Share of live neurons with another within a small angle; number of rays (solid) and rank of Z (dotted)."
    if separated:
        caption = f"Share of the scatter of the data points that lies between classes. {caption}"
    ends = [
        f"layer {layer}: rays {_ends(frame, f'groups_{layer}')}, rank {_ends(frame, f'rank_{layer}')}"
        for layer in hidden
    ]
    rendered = render(
        draw, name="structure", size_inches=(_PANEL[0] * len(panels), _PANEL[1]), columns=len(panels)
    )
    return Picture("structure", rendered, caption, f"From start to end: {'; '.join(ends)}.", wide=True)


def _label(name: str, layer: int) -> str:
    noun = {"groups": "rays, ", "rank": "rank, "}.get(name, "")
    return f"{noun}layer {layer}"


def _look(layer: int, style: str) -> Look:
    look = LAYERS[(layer - 1) % len(LAYERS)]
    return look._replace(linestyle=style, marker=look.marker if style == "-" else "")


def _ends(frame: pd.DataFrame, name: str) -> str:
    """First and last value of a trace, means over the records."""
    first, last = (np.mean([values[index] for values in frame[f"trace_{name}"]]) for index in (0, -1))
    return f"{number_text(float(first))} to {number_text(float(last))}"
