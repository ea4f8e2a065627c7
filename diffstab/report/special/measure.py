"""Pictures of measurements of any models."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from diffstab.measuring.amounts import DIFFEOMORPHISM
from diffstab.measuring.measurement import deformation_text, interval_text, quantities
from diffstab.measuring.pictures import draw_depth, draw_models, draw_plane
from diffstab.measuring.rows import OUTPUT
from diffstab.report.document import Picture
from diffstab.report.pages.measure import first_rows, level
from diffstab.report.rendering import file_stem, render
from diffstab.report.runs import Runs
from diffstab.report.special import read_arrays
from diffstab.report.words import number_text

_MOST_MODELS = 6
_LONGEST_NAME = 11
_DISPLAYED = 160
"""Largest side of a shown image, pixels."""


def depth_pictures(runs: Runs) -> Iterator[Picture]:
    """D, G and R against depth, a panel for each model, under the deformation that stands for all."""
    rows = first_rows(runs.frame)
    if rows["layer"].nunique() == 1:
        yield _outputs_picture(rows)
        return
    models = list(dict.fromkeys(rows["model"]))[:_MOST_MODELS]
    columns = min(len(models), 2)
    lines = -(-len(models) // columns)

    def draw(axes: np.ndarray) -> None:
        for ax, label in zip(axes.ravel(), models):
            draw_depth(ax, rows[rows["model"] == label], quantities(rows))
            ax.set_title(label)
        for ax in axes.ravel()[len(models) :]:
            ax.set_visible(False)
        low = min(ax.get_ylim()[0] for ax in axes.ravel()[: len(models)])
        high = max(ax.get_ylim()[1] for ax in axes.ravel()[: len(models)])
        for ax in axes.ravel():
            ax.set_ylim(low, high)

    size = (5.2 * columns, 4.2 * lines)
    rendered = render(draw, size_inches=size, rows=lines, columns=columns)
    caption = (
        f"The layers in the order in which they run, at {deformation_text(rows.iloc[0])}; bars are {level(rows)} "
        "intervals over images. Where R falls from layer to layer, the layers take away more of the deformation than "
        "of the noise. Floor of D: what the blur by interpolation alone gives."
    )
    if "E" in quantities(rows):
        caption += " E is D without what merely moves with the image."
    yield Picture("measure_depth", rendered, caption, f"{caption} {_ends(rows)}", wide=columns > 1)


def _outputs_picture(rows: pd.DataFrame) -> Picture:
    """D, G and R of the models side by side, where one layer alone was measured."""
    size = (max(4.0, 1.6 + 0.7 * len(rows)), 4.2)
    rendered = render(lambda axes: draw_models(axes[0, 0], rows), size_inches=size)
    caption = (
        f"The {rows['layer'].iloc[0]} of the models, at {deformation_text(rows.iloc[0])}; bars are {level(rows)} "
        "intervals over images. Floor of D: what the blur by interpolation alone gives."
    )
    told = "; ".join(f"{row['model']}: R = {interval_text(row, 'R')}" for row in rows.to_dict("records"))
    return Picture("measure_depth", rendered, caption, f"{caption} {told}.")


def _ends(rows: pd.DataFrame) -> str:
    texts = []
    for label, part in rows.groupby("model", sort=False):
        first, last = part.iloc[0], part.iloc[-1]
        values = (
            f"{interval_text(first, 'R')} at {first['layer']}, {interval_text(last, 'R')} at {last['layer']}"
        )
        texts.append(f"{label}: R is {values}.")
    return " ".join(texts)


def plane_pictures(runs: Runs) -> Iterator[Picture]:
    """R of each output over displacement and cut-off, where several were measured."""
    rows = runs.frame[(runs.frame["layer"] == OUTPUT) & (runs.frame["deformation_kind"] == DIFFEOMORPHISM)]
    for label, part in rows.groupby("model", sort=False):
        if len(part) < 2:
            continue
        stem = f"measure_plane-{file_stem(str(label))}"
        rendered = render(partial(_draw_plane, rows=part), size_inches=(5.4, 3.8))
        caption = f"{label}: R of the output; the strip is that of the admissible temperatures."
        texts = [f"{deformation_text(row)}: {interval_text(row, 'R')}" for row in part.to_dict("records")]
        yield Picture(stem, rendered, caption, f"{caption} {'; '.join(texts)}.")


def amount_pictures(runs: Runs) -> Iterator[Picture]:
    """R of the outputs against the amount of each other kind of deformation."""
    rows = runs.frame[(runs.frame["layer"] == OUTPUT) & (runs.frame["deformation_kind"] != DIFFEOMORPHISM)]
    for kind, part in rows.groupby("deformation_kind", sort=True):
        if part["amount"].nunique() < 2:
            continue
        stem = f"measure_{kind}"
        rendered = render(partial(_draw_amounts, rows=part, kind=str(kind)))
        caption = f"R of the output against the {kind}; bars are {level(part)} intervals over images."
        yield Picture(stem, rendered, caption, caption)


def _draw_plane(axes: np.ndarray, rows: pd.DataFrame) -> None:
    draw_plane(axes[0, 0], rows)


def _draw_amounts(axes: np.ndarray, rows: pd.DataFrame, kind: str) -> None:
    ax = axes[0, 0]
    units = {"rotation": "degrees", "translation": "px or %", "scaling": "%"}
    for label, part in rows.groupby("model", sort=False):
        ordered = part.sort_values("amount")
        ends = [ordered["R"] - ordered["R_low"], ordered["R_high"] - ordered["R"]]
        ax.errorbar(ordered["amount"], ordered["R"], yerr=ends, marker="o", markersize=4, label=label)
    ax.set_xlabel(f"{kind.capitalize()} ({units.get(kind, '')})")
    ax.set_ylabel("R")
    ax.legend(frameon=False)


def image_pictures(runs: Runs) -> Iterator[Picture]:
    """The least and the most stable images of each model, as they are and as they were deformed."""
    for label, path in _example_files(runs):
        stem = f"measure_images-{file_stem(label)}"
        way_out = "Remove it to report without examples."
        stored = read_arrays(path, dict, what="the images that were measured", way_out=way_out)
        count = len(stored["images"])
        if not count:
            continue
        rendered = render(
            partial(_draw_images, stored=stored),
            size_inches=(1.35 * count + 0.4, 3.3),
            rows=2,
            columns=count,
        )
        half = count // 2
        caption = (
            f"{label}: the {half} images that add most to D, then the {count - half} that add least, above their "
            "deformed versions. Titles: what the image adds; its class, and the prediction where it is another."
        )
        yield Picture(stem, rendered, caption, caption, as_png=True, wide=True)


def _example_files(runs: Runs) -> list[tuple[str, Path]]:
    """The files of images by their model, in the order of the records."""
    paths = [path for folder in runs.folders for path in sorted((folder / "examples").glob("*.npz"))]
    order = {file_stem(str(label)): place for place, label in enumerate(dict.fromkeys(runs.frame["model"]))}
    found = [(path.name.split(".")[1], path) for path in paths]
    return sorted(found, key=lambda one: order.get(one[0], len(order)))


def _draw_images(axes: np.ndarray, stored: dict[str, np.ndarray]) -> None:
    for index in range(len(stored["images"])):
        for ax, name in zip(axes[:, index], ("images", "deformed"), strict=True):
            ax.imshow(_displayed(stored[name][index]), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            ax.set(xticks=[], yticks=[])
            ax.grid(False)
        known, predicted = str(stored["class"][index]), str(stored["predicted_class"][index])
        names = [name[:_LONGEST_NAME] for name in dict.fromkeys([known, predicted]) if name]
        title = "\n".join([number_text(float(stored["D_i"][index])), " → ".join(names)])
        axes[0, index].set_title(title, loc="center", fontsize=8)
    for ax, name in zip(axes[:, 0], ("Image", "Deformed"), strict=True):
        ax.set_ylabel(name)


def _displayed(image: np.ndarray) -> np.ndarray:
    step = -(-max(image.shape[1:]) // _DISPLAYED)
    small = image[:, ::step, ::step]
    return small.transpose(1, 2, 0) if len(small) == 3 else small[0]
